"""How the public verbs reach object stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from textmill.errors import UsageError
from textmill.settings import read_settings
from textmill.storage.connect import StoreOptions
from textmill.storage.opening import MANIFEST_SUFFIX, check_endpoint, is_url
from textmill.transform.inputs import patterns_of


def store_options(endpoint_url: str | None) -> StoreOptions:
    """The endpoint that was given, and the environment's region. Raises `UsageError`."""
    if endpoint_url is not None:
        check_endpoint(endpoint_url)
    region = read_settings().s3_region
    options = StoreOptions(endpoint_url=endpoint_url)
    return options if region is None else replace(options, region=region)


def job_store_options(
    endpoint_url: str | None, inputs: Any, output: str | Path | None
) -> StoreOptions:
    """The same for a job, and `UsageError` for an endpoint that nothing would be asked of."""
    options = store_options(endpoint_url)
    places = [*(patterns_of(inputs) or ()), str(output or "")]
    if endpoint_url is not None and not any(map(_may_be_stored, places)):
        raise UsageError(
            "--endpoint-url is for object stores, and neither an input nor the output is in one",
            hint="leave it out, or write addresses such as s3://BUCKET/NAME",
        )
    return options


def _may_be_stored(place: str) -> bool:
    return is_url(place) or place.endswith(MANIFEST_SUFFIX)
