"""Where a bucket is and how to reach it: addresses, options, and a client of obstore for both."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec import Struct

from textmill.errors import UsageError
from textmill.storage.cloud_errors import login_reason_and_hint

_PROVIDERS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
}
SCHEMES = tuple(_PROVIDERS)

BACKOFF_SECONDS = (0.05, 10.0)
"""The first pause before something is tried again, and the longest."""


class StoreOptions(Struct, frozen=True, kw_only=True):
    """How to reach object stores.

    endpoint_url: an S3-compatible server instead of the provider's own; the only way to plain
        http, and to any other host. Endpoints named in the environment are not used.
    region: of S3 buckets.
    sync_seconds: how often what a job has finished is written: what a kill may cost.
    retry_seconds: how long a store that is busy or out of reach is asked again.
    lease_seconds: how long a run may be silent before another may take its output over.
    """

    endpoint_url: str | None = None
    region: str = "us-east-1"
    sync_seconds: float = 10.0
    retry_seconds: float = 180.0
    lease_seconds: float = 20.0


class Address(NamedTuple):
    """A bucket as it stands in a URL: `s3://name`, `az://container@account`."""

    scheme: str
    authority: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def provider(self) -> str:
        """`s3`, `gcs` or `azure`."""
        return _PROVIDERS[self.scheme]


class Connection(Struct):
    """obstore's client of one bucket, and whether that has ever answered."""

    client: Any
    has_answered: bool = False


def connect(
    address: Address, options: StoreOptions, retry_seconds: float, request_seconds: float = 120.0
) -> Connection:
    """The one connection for these arguments, and for the credentials in the environment as they
    are now: those of a notebook change while it lives.

    retry_seconds: for how long it asks again by itself. request_seconds: the longest request.
    Raises `UsageError` if the extra is not installed or the address cannot be used.
    """
    return _connected(address, options, retry_seconds, request_seconds, _environment())


@lru_cache(maxsize=64)
def _connected(
    address: Address,
    options: StoreOptions,
    retry_seconds: float,
    request_seconds: float,
    environment: frozenset[tuple[str, str]],  # noqa: ARG001 - a part of the key
) -> Connection:
    try:
        return Connection(_client(address, options, retry_seconds, request_seconds))
    except Exception as error:
        if not type(error).__module__.startswith("obstore"):
            raise
        reason, hint = login_reason_and_hint(error, address.provider)
        raise UsageError(f"{address}: this login cannot be used: {reason}", hint=hint) from error


def _environment() -> frozenset[tuple[str, str]]:
    """The variables that obstore reads when a client is made."""
    named = ("AWS_", "GOOGLE_", "AZURE_")
    return frozenset(item for item in os.environ.items() if item[0].startswith(named))


def _client(
    address: Address, options: StoreOptions, retry_seconds: float, request_seconds: float
) -> Any:
    try:
        from obstore import store
    except ImportError:
        raise UsageError(
            f"{address}: object stores need an extra that is not installed",
            hint="pip install 'textmill[s3]'",
        ) from None
    first, longest = BACKOFF_SECONDS
    common: dict[str, Any] = {
        "client_options": {
            "allow_http": (options.endpoint_url or "").startswith("http://"),
            "allow_invalid_certificates": False,
            "timeout": timedelta(seconds=request_seconds),
            "connect_timeout": timedelta(seconds=5),
        },
        "retry_config": {
            "max_retries": 1000,
            "retry_timeout": timedelta(seconds=retry_seconds),
            "backoff": {
                "init_backoff": timedelta(seconds=first),
                "max_backoff": timedelta(seconds=longest),
            },
        },
    }
    provider = address.provider
    if provider == "s3":
        return store.S3Store(address.authority, config=_s3_config(options), **common)
    if provider == "gcs":
        url = options.endpoint_url or "https://storage.googleapis.com"
        return store.GCSStore(address.authority, config={"base_url": url}, **common)
    container, account = _azure_names(address)
    url = options.endpoint_url or f"https://{account}.blob.core.windows.net"
    config: Any = {"account_name": account, "endpoint": url, "use_emulator": False}
    return store.AzureStore(container, config=config, **common)


def _s3_config(options: StoreOptions) -> Any:
    """Everything that the environment could otherwise turn to another host or protocol."""
    china = ".cn" if options.region.startswith("cn-") else ""
    url = options.endpoint_url or f"https://s3.{options.region}.amazonaws.com{china}"
    return {
        "region": options.region,
        "default_region": options.region,
        "endpoint": url,
        "aws_endpoint_url_s3": url,
        "virtual_hosted_style_request": False,
        "s3_express": False,
        "conditional_put": "etag",
    }


def _azure_names(address: Address) -> tuple[str, str]:
    """`container@account` or `container@account.dfs.core.windows.net`."""
    container, _, host = address.authority.partition("@")
    if not host:
        raise UsageError(
            f"{address}: the storage account is missing",
            hint=f"write {address}@ACCOUNT/…",
        )
    return container, host.partition(".")[0]
