from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.s3_server import s3_server
from support.stores import make_bucket


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    with s3_server() as url:
        make_bucket(url)
        yield url
