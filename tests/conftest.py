"""Every test starts from the same place: no user settings, no thread oversubscription."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from support.s3_server import Proxy

# The machine may be busy, and no test asserts a time.
settings.register_profile("textmill", deadline=None)
settings.load_profile("textmill")

USERS = ("HF_", "TEXTMILL_", "AWS_", "GOOGLE_", "AZURE_")
for name in [name for name in os.environ if name.startswith(USERS)]:
    del os.environ[name]
for name in ("HYPER_PARAMS", "OPENAI_API_KEY"):
    os.environ.pop(name, None)
os.environ.setdefault("OMP_NUM_THREADS", "1")
_home = tempfile.TemporaryDirectory(prefix="textmill-tests-", ignore_cleanup_errors=True)
os.environ["TEXTMILL_HOME"] = _home.name  # never the user's cache; removed when Python ends

# A shell has what it runs in the background ignore Ctrl-C, and the processes that tests start would
# inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Processes of `--numprocesses=auto`: one more than cores, as many tests mostly wait.

    Four at most: each comes to hold a gigabyte, with torch and the models it has loaded.
    """
    return min(_cores() + 1, 4)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """An S3 server with one empty bucket."""
    from support.s3_server import s3_server
    from support.stores import make_bucket

    with s3_server() as url:
        make_bucket(url)
        yield url


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of nobody, in the environment, where processes that a test starts find them too."""
    from support.s3_server import CREDENTIALS

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def proxy(s3_url: str, credentials: None) -> Iterator[Proxy]:
    """A network of the test's own before that server."""
    from support.s3_server import proxy_before

    with proxy_before(s3_url) as proxy:
        yield proxy
