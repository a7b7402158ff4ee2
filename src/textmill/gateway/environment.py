"""What a notebook's environment must say, so that it finds the gateway."""

from __future__ import annotations

import shlex
from pathlib import Path

SHIM = Path(__file__).parent / "shim"
"""A folder with a `sitecustomize.py`, for PYTHONPATH."""


def exports(url: str, region: str, *, with_keys: bool) -> str:
    """Lines for a POSIX shell.

    with_keys: also set credentials, which nobody checks; without, those of the user stay.
    """
    said = {
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": region,
        **({"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"} if with_keys else {}),
        "AWS_EC2_METADATA_DISABLED": "true",
        "SAGEMAKER_SUPPRESS_V2_WARNING": "1",
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in said.items()]
    lines.append(f'export PYTHONPATH={shlex.quote(str(SHIM))}"${{PYTHONPATH:+:$PYTHONPATH}}"')
    lines.append("unset AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
    return "".join(f"{line}\n" for line in lines)
