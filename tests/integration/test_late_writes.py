"""What a run that was replaced still had on its way must not count in the job after it."""

from __future__ import annotations

import pytest

from support.jobs import OUTPUT, Interrupted, rows_of, run_job, spec, texts_of
from support.stores import BUCKET
from textmill.errors import OutputError
from textmill.storage.connecting import Address, StoreOptions
from textmill.storage.objects import ObjectStore
from textmill.transform.job import JobFolder

JOB = f"{OUTPUT}.job/"


@pytest.fixture
def store(s3_url, credentials, request):
    options = StoreOptions(endpoint_url=s3_url, sync_seconds=0.0)
    return ObjectStore(Address("s3", BUCKET), f"{request.node.name}/", options)


def log_segments(store):
    """The keys of all objects that parts and journal consist of, and their bytes."""
    names = [name for name, _ in store.listing(JOB) if "segment-" in name]
    return {name: store.read(name) for name in names}


def test_segments_of_a_replaced_job_that_come_late_do_not_count(store):
    texts = [f"{n} ".ljust(30, "x") for n in range(12)]
    with pytest.raises(KeyboardInterrupt):
        run_job(store, rows_of(texts), Interrupted(5))
    late = log_segments(store)
    assert len(late) > 5
    other = [text.upper() for text in texts]
    with pytest.raises(KeyboardInterrupt):
        run_job(store, rows_of(other), Interrupted(1), job=spec(seed=1), fresh=True)
    for name, data in late.items():
        store.create(name, data)
    run_job(store, rows_of(other), job=spec(seed=1))
    assert texts_of(store) == dict(enumerate(other))
    assert store.names(JOB) == []


def test_a_description_is_written_for_one_job_only(store):
    folder = JobFolder(store, OUTPUT)
    folder.lock()
    folder.begin(spec(), fresh=False)
    with pytest.raises(OutputError, match=r"job\.json has appeared"):
        folder.describe(spec(seed=1))
    folder.remove()
    folder.leave()


class KilledAtItsCommit(ObjectStore):
    """Ctrl-C when the manifest is created: `after` it is there, or before."""

    after = False

    def create(self, name, data):
        if not name.endswith(".manifest.json"):
            return super().create(name, data)
        if self.after:
            super().create(name, data)
        raise KeyboardInterrupt


def test_an_announcement_that_comes_late_undoes_no_other(s3_url, credentials):
    """Each run has a manifest of its own, and the second run's is there when it is killed."""
    options = StoreOptions(endpoint_url=s3_url, sync_seconds=0.0)
    killed = KilledAtItsCommit(Address("s3", BUCKET), "announced-late/", options)
    texts = ["one", "two", "three"]

    def announcements():
        names = [name for name, _ in killed.listing(JOB) if "/commit" in name]
        return {name: killed.read(name) for name in names}

    with pytest.raises(KeyboardInterrupt):
        run_job(killed, rows_of(texts))
    late = announcements()
    assert late
    killed.after = True
    with pytest.raises(KeyboardInterrupt):
        run_job(killed, rows_of(texts))
    assert set(announcements()) > set(late)
    for name, data in late.items():
        killed.replace(name, data)
    store = ObjectStore(Address("s3", BUCKET), "announced-late/", options)
    run_job(store, rows_of(texts))
    assert texts_of(store) == dict(enumerate(texts))
    assert store.names(JOB) == []
