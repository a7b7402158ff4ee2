"""How the public verbs reach object stores."""

from __future__ import annotations

from msgspec.structs import replace

from textmill.settings import read_settings
from textmill.storage.connect import StoreOptions


def store_options(endpoint_url: str | None) -> StoreOptions:
    """The endpoint that was given, and the environment's region. Raises `UsageError`."""
    region = read_settings().s3_region
    options = StoreOptions(endpoint_url=endpoint_url)
    return options if region is None else replace(options, region=region)
