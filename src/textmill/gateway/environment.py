"""What a notebook's environment must say, so that it finds the gateway."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from textmill.errors import OutputError

SHIM = Path(__file__).parent / "shim"
"""A folder with a `sitecustomize.py`, for PYTHONPATH."""

METADATA = Path("/opt/ml/metadata/resource-metadata.json")
"""Where the SDK looks whether it is on a notebook instance of SageMaker. No variable moves it."""

_CONFIG = """\
# The SageMaker SDK's, by `textmill gateway env`: it asks nobody for its default bucket's name.
SchemaVersion: "1.0"
SageMaker:
  PythonSDK:
    Modules:
      # Without the shim on PYTHONPATH, newer SDKs report deploys to Amazon unless this stands here;
      # SDK 2.165 refuses a file with it:
      # TelemetryOptOut: true
      Session:
        DefaultS3Bucket: sagemaker-{region}-000000000000
"""


def exports(url: str, region: str, *, with_keys: bool, config: Path | None = None) -> str:
    """Lines for a POSIX shell.

    with_keys: also set credentials, which nobody checks; without, those of the user stay. config:
    the SDK's, in place of the user's own.
    """
    said = {
        "AWS_ENDPOINT_URL": url,
        "AWS_DEFAULT_REGION": region,
        **({"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"} if with_keys else {}),
        "AWS_EC2_METADATA_DISABLED": "true",
        "SAGEMAKER_SUPPRESS_V2_WARNING": "1",
        **({} if config is None else {"SAGEMAKER_USER_CONFIG_OVERRIDE": str(config)}),
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in said.items()]
    lines.append(f'export PYTHONPATH={shlex.quote(str(SHIM))}"${{PYTHONPATH:+:$PYTHONPATH}}"')
    lines.append("unset AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
    return "".join(f"{line}\n" for line in lines)


def write_config(folder: Path, region: str) -> Path:
    """FOLDER/config.yaml, which tells the SDK its default bucket; its absolute path.

    Raises `OutputError` if there is one that says anything else, and if it cannot be written.
    """
    path = folder.absolute() / "config.yaml"
    way_out = (
        "name another folder; or add SageMaker.PythonSDK.Modules.Session.DefaultS3Bucket to it"
        " yourself, and have SAGEMAKER_USER_CONFIG_OVERRIDE name it"
    )
    _write(path, _CONFIG.format(region=region), way_out)
    return path


def write_metadata(path: Path = METADATA) -> None:
    """The file by which the SDK asks SageMaker, and not STS, for its role.

    Raises `OutputError` if there is one that says anything else, and if it cannot be written.
    """
    way_out = (
        "it may be SageMaker's own: move it away if this is no notebook instance; the shim on"
        " PYTHONPATH does without it"
    )
    _write(path, json.dumps({"ResourceName": "textmill"}) + "\n", way_out)


def _write(path: Path, text: str, way_out: str) -> None:
    """Write a file that is not there; one with just this text may be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        if not path.is_file() or path.read_bytes() != text.encode():
            raise OutputError(f"{path} is there, and is left as it is", hint=way_out) from error
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror}",
            hint="choose a folder that is yours, or run the line as a user who may write there",
        ) from error
