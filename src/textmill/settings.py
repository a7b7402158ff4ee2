"""What the environment says, read once at the entry point.

This is the only module of the package that reads environment variables; everything below the
command line gets plain arguments. Three libraries read their own: huggingface_hub its token
(`HF_TOKEN`, `HF_TOKEN_PATH`, …), obstore the credentials of clouds, rich its terminal settings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from msgspec import Struct

from textmill.errors import UsageError
from textmill.words import written

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"", "0", "false", "no", "off"})


class Secret(str):
    """A text that is not shown by accident: its `repr`, and that of what holds it, leave it out."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret(…)"


class Settings(Struct, frozen=True, kw_only=True):
    """The environment, checked.

    home: absolute folder of the cache (`TEXTMILL_HOME`, else `$XDG_CACHE_HOME/textmill`, else
        `~/.cache/textmill`). It need not exist.
    offline: never use the network (`TEXTMILL_OFFLINE`, `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`).
    hub_endpoint: base URL of the model hub (`HF_ENDPOINT`); None means huggingface_hub's own.
    hyper_params: the text of `HYPER_PARAMS`, not yet parsed; None when unset or blank.
    api_key: `OPENAI_API_KEY`, for servers; None when unset or blank.
    s3_region: of S3 buckets (`AWS_REGION`, else `AWS_DEFAULT_REGION`); None when unset or blank.
    """

    home: Path
    offline: bool = False
    hub_endpoint: str | None = None
    hyper_params: str | None = None
    api_key: Secret | None = None
    s3_region: str | None = None


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ` (default: the process's own).

    Raises `UsageError` that names the variable when a value cannot be used.
    """
    env = os.environ if environ is None else environ
    offline = [
        _flag(env, name) for name in ("TEXTMILL_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    ]
    return Settings(
        home=_home(env),
        offline=any(offline),
        hub_endpoint=_endpoint(env, "HF_ENDPOINT"),
        hyper_params=env.get("HYPER_PARAMS", "").strip() or None,
        api_key=Secret(env.get("OPENAI_API_KEY", "").strip()) or None,
        s3_region=_region(env, "AWS_REGION") or _region(env, "AWS_DEFAULT_REGION"),
    )


def find_api_key(given: str | None) -> Secret | None:
    """The key that was given, else the environment's."""
    return read_settings().api_key if given is None else Secret(given)


def _home(env: Mapping[str, str]) -> Path:
    given = env.get("TEXTMILL_HOME", "")
    if given:
        home = Path(given).expanduser()
        if home.exists() and not home.is_dir():
            raise UsageError(
                f"TEXTMILL_HOME={written(given)}: this is a file, not a folder",
                hint="Set it to a folder, which is made when needed, or unset it.",
            )
        return home.absolute()
    cache = env.get("XDG_CACHE_HOME", "")
    # The XDG standard says that a relative value is to be ignored.
    root = Path(cache) if Path(cache).is_absolute() else Path("~/.cache").expanduser()
    return root / "textmill"


def _flag(env: Mapping[str, str], name: str) -> bool:
    value = env.get(name, "").strip().lower()
    if value in TRUE:
        return True
    if value in FALSE:
        return False
    raise UsageError(
        f"{name}={written(env[name])}: not a yes or no",
        hint=f"Set {name} to 1 or 0, or unset it.",
    )


def _endpoint(env: Mapping[str, str], name: str) -> str | None:
    value = env.get(name, "").strip().rstrip("/")
    if not value:
        return None
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise UsageError(
            f"{name}={written(value)}: not the address of a model hub",
            hint=f"Set {name} to an address like https://hub.example.com, or unset it.",
        )
    return value


def _region(env: Mapping[str, str], name: str) -> str | None:
    """A region becomes part of a host's name, so it must not be able to name another host."""
    value = env.get(name, "").strip()
    if value and not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", value):
        raise UsageError(
            f"{name}={written(value)}: not the name of a region",
            hint=f"Set {name} to a region like eu-central-1, or unset it.",
        )
    return value or None
