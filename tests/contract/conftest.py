from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from support.s3_server import CREDENTIALS, Proxy, proxy_before, s3_server
from support.stores import make_bucket


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    with s3_server() as url:
        make_bucket(url)
        yield url


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of nobody, and nothing else that the environment says about clouds."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "AZURE_"))]:
        monkeypatch.delenv(name)
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def proxy(s3_url: str, credentials: None) -> Iterator[Proxy]:
    with proxy_before(s3_url) as proxy:
        yield proxy
