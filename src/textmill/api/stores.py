"""How the public verbs reach object stores."""

from __future__ import annotations

from urllib.parse import urlsplit

from msgspec.structs import replace

from textmill.errors import UsageError
from textmill.settings import read_settings
from textmill.storage.bucket import StoreOptions


def store_options(endpoint_url: str | None) -> StoreOptions:
    """The endpoint that was given, and the environment's region. Raises `UsageError`."""
    if endpoint_url is not None:
        _check_address(endpoint_url)
    region = read_settings().s3_region
    options = StoreOptions(endpoint_url=endpoint_url)
    return options if region is None else replace(options, region=region)


def _check_address(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise UsageError(
            f"--endpoint-url {url!r}: not the address of an object store",
            hint="write it like https://objects.example.com or http://127.0.0.1:9000",
        )
