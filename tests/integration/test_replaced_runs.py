"""What a run that was replaced still has on its way to an object store counts in no other job."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from support.jobs import OUTPUT, spec
from support.s3_server import Fault, Proxy, always, proxy_before
from support.stores import BUCKET
from textmill.storage.connecting import Address, StoreOptions
from textmill.storage.objects import ObjectStore
from textmill.transform.job import JobFolder
from textmill.transform.journal import JobJournal


@pytest.fixture
def other_proxy(s3_url: str, credentials: None) -> Iterator[Proxy]:
    with proxy_before(s3_url) as proxy:
        yield proxy


def run_through(proxy: Proxy, prefix: str) -> JobFolder:
    """The job as one run sees it, through a network of its own."""
    options = StoreOptions(endpoint_url=proxy.url, retry_seconds=2, lease_seconds=1)
    return JobFolder(ObjectStore(Address("s3", BUCKET), f"{prefix}/", options), OUTPUT)


def write(folder: JobFolder, window: int, data: bytes) -> None:
    log = folder.part(window)
    log.append(data)
    log.sync()


def begun(folder: JobFolder, *, fresh: bool = False) -> JobFolder:
    folder.lock()
    folder.begin(spec(), fresh=fresh)
    JobJournal(*folder.journal())
    return folder


@pytest.fixture
def old(proxy: Proxy, request: pytest.FixtureRequest) -> JobFolder:
    """A run that has finished some rows."""
    folder = begun(run_through(proxy, request.node.name))
    write(folder, 0, b"old ")
    return folder


def held(proxy: Proxy, folder: JobFolder, window: int) -> threading.Thread:
    """A segment of the window on its way; the run that has sent it hears no more of its lease."""
    proxy.hold = lambda call: call.method == "PUT" and f"/{window:05d}.jsonl/" in call.path
    proxy.rule = always(Fault.RESET_REQUEST, lambda call: "lock" in call.path)
    log = folder.part(window)
    log.append(b"late ")
    late = threading.Thread(target=log.sync)
    late.start()
    assert proxy.held.wait(60)
    return late


def test_nothing_of_it_counts_in_a_job_that_was_started_over(
    old: JobFolder, proxy: Proxy, other_proxy: Proxy, request: pytest.FixtureRequest
) -> None:
    """However its segments are numbered: they would go on with those of the new job."""
    late = held(proxy, old, window=0)
    new = begun(run_through(other_proxy, request.node.name), fresh=True)
    write(new, 0, b"new")
    proxy.go_on.set()
    late.join()
    landed = [name for name, _ in new.store.listing("") if "/00000.jsonl/" in name]
    assert len(landed) == 2, "it has landed"
    for store in (new.store, run_through(other_proxy, request.node.name).store):
        assert JobFolder(store, OUTPUT).part(0).read() == b"new"
    new.remove()
    new.leave()
    assert new.store.names("") == [], "and is swept away with the job"


def test_the_run_that_resumes_writes_the_same_window_all_the_same(
    old: JobFolder, proxy: Proxy, other_proxy: Proxy, request: pytest.FixtureRequest
) -> None:
    """The late segment is the first of its log and comes before the new run's own."""
    late = held(proxy, old, window=1)
    new = begun(run_through(other_proxy, request.node.name))
    assert new.part(0).read() == b"old "
    proxy.go_on.set()
    late.join()
    write(new, 1, b"new")
    again = run_through(other_proxy, request.node.name)
    assert again.part(1).read() == new.part(1).read() == b"new"
    new.leave()
