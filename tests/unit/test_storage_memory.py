"""The store in memory fails and dies where it is told to."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable

import pytest

from textmill.errors import InputError, OutputError
from textmill.storage.memory import Failure, Killed, MemoryStore, When


def disk_full() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def job(store: MemoryStore) -> None:
    """Every way of writing, one after the other."""
    lock = store.lock("lock")
    store.replace("job.json", b"{}")
    log = store.log("part")
    log.append(b"first ")
    log.append(b"second")
    log.sync()
    target = store.target("out")
    target.write(b"result")
    target.commit()
    assert store.create("manifest", b"done")
    store.clear("part")
    store.remove("job.json")
    lock.release()


def calls_of(work: Callable[[MemoryStore], None]) -> int:
    store = MemoryStore()
    work(store)
    return store.calls


def test_every_call_can_kill_the_process_before_it_halfway_and_after_it() -> None:
    """Each file is there or not, as of a call before or after; an append may be half done."""
    seen = set()
    for at in range(1, calls_of(job) + 1):
        for when in When:
            store = MemoryStore(failure=Failure(at, when=when))
            with pytest.raises(Killed):
                job(store)
            left = store.crash()
            left.lock("lock").release()
            seen |= {f"{name}={data.decode()}" for name, data in left.files.items()}
    parts = {"part=fir", "part=first ", "part=first sec", "part=first second"}
    assert seen == {"job.json={}", *parts, "out=result", "manifest=done"}


def test_a_dead_process_does_nothing_more() -> None:
    store = MemoryStore(failure=Failure(2))
    lock = store.lock("lock")
    with pytest.raises(Killed):
        store.replace("file", b"x")
    for work in (
        lambda: store.replace("file", b"x"),
        lambda: store.read("file"),
        lambda: store.target("file").commit(),
    ):
        with pytest.raises(Killed):
            work()
    lock.release()
    assert store.files == {}
    with pytest.raises(Killed):
        store.lock("lock")


def test_an_error_of_the_disk_comes_out_as_of_a_disk_and_once() -> None:
    store = MemoryStore({"file": b"before"}, failure=Failure(1, disk_full))
    with pytest.raises(OutputError, match="memory:file cannot be written: no space left"):
        store.replace("file", b"after")
    assert store.read("file") == b"before"
    store.replace("file", b"after")
    store.failure = Failure(store.calls + 1, lambda: OSError(errno.EIO, os.strerror(errno.EIO)))
    with pytest.raises(InputError, match="memory:file cannot be read: input/output error"):
        store.read("file")


def test_a_disk_that_fills_up_takes_half_of_an_append() -> None:
    store = MemoryStore()
    log = store.log("log")
    log.append(b"1234")
    store.failure = Failure(store.calls + 1, disk_full, When.HALF)
    with pytest.raises(OutputError, match="no space left"):
        log.append(b"5678")
    assert log.read() == b"123456"


def test_a_power_cut_takes_or_tears_what_was_not_synced_anywhere_and_nothing_else() -> None:
    left = set()
    for seed in range(200):
        store = MemoryStore()
        store.replace("file", b"whole")
        log = store.log("log")
        log.append(b"ab")
        log.sync()
        log.append(b"cd")
        store.log("new").append(b"xy")
        after = store.power_cut(random.Random(seed))
        assert after.read("file") == b"whole"
        left.add((after.read("log"), after.read("new")))
    logs = {b"ab", b"abc", b"abcd"}
    assert left == {(log, new) for log in logs for new in (None, b"x", b"xy")}


def test_a_crash_takes_nothing_that_was_appended() -> None:
    store = MemoryStore()
    store.log("log").append(b"ab")
    assert store.crash().log("log").read() == b"ab"
