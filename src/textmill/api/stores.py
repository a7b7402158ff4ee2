"""How the public verbs reach object stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec.structs import replace

from textmill.errors import UsageError
from textmill.settings import read_settings
from textmill.storage.connecting import StoreOptions
from textmill.storage.opening import MANIFEST_SUFFIX, is_url
from textmill.words import written


def store_options(endpoint_url: str | None, *places: Any) -> StoreOptions:
    """The endpoint that was given, and the environment's region.

    places: inputs and outputs as they were given, if they are known. Raises `UsageError` for an
    endpoint that is no address, and for one where nothing is in an object store.
    """
    if endpoint_url is not None:
        _check_address(endpoint_url)
        if places and not any(map(_may_be_remote, places)):
            raise UsageError(
                "--endpoint-url is for object stores, and no input or output is in one",
                hint="leave it out, or write an address like s3://BUCKET/NAME",
            )
    region = read_settings().s3_region
    options = StoreOptions(endpoint_url=endpoint_url)
    return options if region is None else replace(options, region=region)


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise UsageError(
            f"--endpoint-url {written(url)}: not the address of an object store",
            hint="write it like https://objects.example.com or http://127.0.0.1:9000",
        )


def _may_be_remote(place: Any) -> bool:
    """Whether it is in an object store, or a manifest that may name what is."""
    if isinstance(place, list | tuple):
        return any(map(_may_be_remote, place))
    return isinstance(place, str | Path) and (
        is_url(str(place)) or str(place).endswith(MANIFEST_SUFFIX)
    )
