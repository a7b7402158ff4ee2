"""What every store does, and therefore what a job may rely on. One suite for all of them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.stores import Place, place_of
from textmill.errors import InputError, OutputError
from textmill.storage.base import Store, digest_of
from textmill.storage.local import LocalStore

KINDS = ("local", "memory", "s3", "s3-faults")
NAMES = (
    "a",
    "sp ace.jsonl",
    "ünï/日本.jsonl",
    "100%",
    "a%20b",
    "a+b",
    "d/e/f",
    "a#b?c=d&e",
    "'q\"",
)
MIB = 1 << 20


@pytest.fixture(params=KINDS)
def place(
    request: pytest.FixtureRequest, tmp_path: Path, s3_url: str, credentials: None
) -> Iterator[Place]:
    with place_of(request.param, tmp_path, s3_url, seed=request.node.name) as place:
        yield place


@pytest.fixture
def store(place: Place) -> Store:
    return place.open()


def content(store: Store, name: str) -> bytes | None:
    """Through `open`, which is not the way that `read` goes."""
    if store.stat(name) is None:
        return None
    stream = store.open(name)
    try:
        return stream.read()
    finally:
        stream.close()


# --- one file ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_what_was_written_is_read_under_the_same_name(store: Store, name: str) -> None:
    store.replace(name, b"one")
    assert store.create(f"{name}.new", b"two")
    assert store.read(name) == content(store, name) == b"one"
    assert store.read(f"{name}.new") == b"two"
    assert store.names("") == sorted([name, f"{name}.new"])


def test_what_is_not_there_is_none_and_cannot_be_opened(store: Store) -> None:
    store.replace("there", b"")
    assert store.stat("missing") is None
    assert store.read("missing") is None
    assert store.stat("there/below") is None
    with pytest.raises(InputError) as caught:
        store.open("missing")
    assert store.label("missing") in caught.value.message


def test_an_empty_file_is_a_file(store: Store) -> None:
    store.replace("empty", b"")
    entry = store.stat("empty")
    assert entry is not None
    assert entry.size_bytes == 0
    assert store.read("empty") == content(store, "empty") == b""
    assert store.names("") == ["empty"]


def test_stat_tells_size_and_a_version_that_changes_with_the_content(store: Store) -> None:
    store.replace("file", b"12345")
    first = store.stat("file")
    assert first == store.stat("file")
    store.replace("file", b"54321")
    second = store.stat("file")
    assert first is not None
    assert second is not None
    assert first.size_bytes == second.size_bytes == 5
    assert first.version != second.version


def test_replace_takes_the_place_of_a_file(store: Store) -> None:
    store.replace("file", b"first, and longer")
    store.replace("file", b"second")
    assert store.read("file") == b"second"
    assert store.names("") == ["file"]


def test_create_never_changes_a_file(store: Store) -> None:
    assert store.create("deep/file", b"first") is True
    assert store.create("deep/file", b"second") is False
    assert store.create("deep/file", b"first") is False, "the same bytes are another's as well"
    assert store.read("deep/file") == b"first"
    assert store.names("") == ["deep/file"]


def test_of_two_runs_that_create_a_file_one_succeeds(place: Place) -> None:
    results = [place.open().create("manifest", f"run {n}".encode()) for n in range(3)]
    assert results == [True, False, False]
    assert place.open().read("manifest") == b"run 0"


def test_remove_is_idempotent(store: Store) -> None:
    store.replace("a/file", b"1")
    store.remove("a/file")
    store.remove("a/file")
    store.remove("never/was")
    assert store.stat("a/file") is None
    assert store.names("") == []


def test_large_content_in_small_calls(store: Store) -> None:
    data = os.urandom(11 * MIB + 17)
    store.replace("large", data)
    assert store.read("large") == data
    assert store.create("large too", data)
    stream = store.open("large too")
    parts = list(iter(lambda: stream.read(700_001), b""))
    stream.close()
    assert b"".join(parts) == data


# --- many files -------------------------------------------------------------------------------


def test_names_are_sorted_and_go_by_any_prefix(store: Store) -> None:
    files = ["b", "job/parts/00001", "job/parts/00000", "job/lock", "job.json", "jobs", "é"]
    for name in files:
        store.replace(name, b"x")
    assert store.names("") == sorted(files)
    assert store.names("job/") == ["job/lock", "job/parts/00000", "job/parts/00001"]
    assert store.names("job") == [
        "job.json",
        "job/lock",
        "job/parts/00000",
        "job/parts/00001",
        "jobs",
    ]
    assert store.names("job/parts/0000") == ["job/parts/00000", "job/parts/00001"]
    assert store.names("nothing/") == []


def test_clear_removes_what_begins_with_the_prefix_and_nothing_else(store: Store) -> None:
    for name in ("job/a", "job/b/c", "job2", "jo", "x/job/a"):
        store.replace(name, b"x")
    store.clear("job/")
    assert store.names("") == ["jo", "job2", "x/job/a"]
    store.clear("job/")
    store.clear("jo")
    assert store.names("") == ["x/job/a"]


def test_folders_that_clear_empties_do_not_stand_in_the_way(store: Store) -> None:
    store.replace("job/a/b", b"x")
    store.clear("job/")
    store.replace("job", b"a file now")
    assert store.read("job") == b"a file now"


# --- streams ----------------------------------------------------------------------------------


def test_a_stream_seeks_as_files_do(store: Store) -> None:
    data = os.urandom(3 * MIB)
    store.replace("file", data)
    stream = store.open("file")
    assert stream.seek(-8, os.SEEK_END) == len(data) - 8
    assert stream.read() == data[-8:]
    assert stream.read(1) == b""
    assert stream.seek(1000) == stream.tell() == 1000
    assert stream.read(5) == data[1000:1005]
    assert stream.seek(100, os.SEEK_CUR) == 1105
    assert stream.read(2 * MIB) == data[1105 : 1105 + 2 * MIB]
    assert stream.seek(3) == 3
    assert stream.read(0) == b""
    assert stream.read(1) == data[3:4]
    assert stream.tell() == 4
    assert stream.seek(len(data) + 5) == len(data) + 5
    assert stream.read() == b""
    stream.close()
    stream.close()


def test_digests_are_of_the_bytes(store: Store) -> None:
    import hashlib

    data = os.urandom(MIB + 3)
    store.replace("file", data)
    assert digest_of(store, "file") == hashlib.sha256(data).hexdigest()


# --- targets ----------------------------------------------------------------------------------


def test_a_target_appears_at_commit_and_only_then(store: Store) -> None:
    target = store.target("out/file")
    target.write(b"first ")
    target.write(b"")
    target.write(b"second")
    assert store.stat("out/file") is None
    target.commit()
    target.discard()
    assert store.read("out/file") == b"first second"


def test_a_target_replaces_what_had_its_name(store: Store) -> None:
    store.replace("file", b"before")
    target = store.target("file")
    target.write(b"after")
    assert store.read("file") == b"before"
    target.commit()
    assert store.read("file") == b"after"
    assert store.names("") == ["file"]


@pytest.mark.parametrize("size", [4, 20 * MIB], ids=["small", "in parts"])
def test_a_target_that_may_not_replace_leaves_what_is_there(store: Store, size: int) -> None:
    """Though it came after the target was begun."""
    data = os.urandom(size)
    first, late = store.target("file"), store.target("other")
    first.write(data)
    assert first.commit(replace=False)
    late.write(data)
    assert store.create("other", b"somebody's")
    assert not late.commit(replace=False)
    late.discard()
    assert content(store, "file") == data
    assert store.read("other") == b"somebody's"
    assert store.names("") == ["file", "other"]


def test_a_discarded_target_leaves_nothing(store: Store) -> None:
    store.replace("file", b"before")
    target = store.target("file")
    target.write(os.urandom(20 * MIB))
    target.discard()
    target.discard()
    store.target("other").discard()
    assert store.read("file") == b"before"
    assert store.names("") == ["file"]


def test_an_empty_target_is_an_empty_file(store: Store) -> None:
    store.target("empty").commit()
    assert store.read("empty") == b""


def test_a_target_of_several_parts_is_whole(store: Store) -> None:
    data = os.urandom(1 * MIB)
    target = store.target("large")
    for number in range(36):
        target.write(data[number:])
    target.commit()
    assert content(store, "large") == b"".join(data[number:] for number in range(36))


# --- logs -------------------------------------------------------------------------------------


def test_a_log_does_not_exist_before_its_first_bytes(store: Store) -> None:
    log = store.log("parts/0")
    assert log.read() == b""
    log.sync()
    log.close()
    assert store.names("") == []


def test_a_log_grows_over_several_runs(place: Place) -> None:
    expected = b""
    for run in range(3):
        log = place.open().log("job/parts/0")
        assert log.read() == expected
        for number in range(3):
            line = f"run {run}, line {number}\n".encode()
            log.append(line)
            expected += line
            assert log.read() == expected
            if number < 2:
                log.sync()
        log.sync()
        log.sync()
        log.close()
        log.close()
    store = place.open()
    assert store.log("job/parts/0").read() == expected
    assert store.names("job/") == ["job/parts/0"]


def test_what_was_synced_outlives_the_run_and_what_was_not_is_a_beginning(place: Place) -> None:
    log = place.open().log("log")
    log.append(b"synced ")
    log.sync()
    log.append(b"not synced")
    log.close()
    expected = b"synced not synced" if place.keeps_unsynced else b"synced "
    assert place.open().log("log").read() == expected


def test_a_log_takes_large_appends_without_a_sync_between(place: Place) -> None:
    chunks = [os.urandom(n) for n in (3 * MIB, 3 * MIB, 9 * MIB, 1)]
    log = place.open().log("log")
    for chunk in chunks:
        log.append(chunk)
    log.sync()
    log.close()
    assert place.open().log("log").read() == b"".join(chunks)


def test_the_end_of_a_log_can_be_cut_where_it_is(place: Place) -> None:
    log = place.open().log("log")
    log.append(b"whole")
    log.sync()
    log.close()
    log = place.open().log("log")
    log.cut(5)
    log.cut(100)
    log.append(b", and more")
    log.sync()
    log.close()
    assert place.open().log("log").read() == b"whole, and more"


def test_a_torn_tail_is_cut_or_refused(place: Place) -> None:
    """Objects are whole, so a tail that nobody can read is damage there."""
    log = place.open().log("log")
    log.append(b"whole, torn")
    log.sync()
    log.close()
    log = place.open().log("log")
    if place.keeps_unsynced:
        log.cut(5)
        log.append(b"!")
        log.sync()
        log.close()
        assert place.open().log("log").read() == b"whole!"
    else:
        with pytest.raises(InputError, match="damaged"):
            log.cut(5)
        assert place.open().log("log").read() == b"whole, torn"


def test_logs_are_named_and_cleared_as_files_are(store: Store) -> None:
    for name in ("job/journal", "job/parts/0", "job/parts/1"):
        log = store.log(name)
        for _ in range(2):
            log.append(name.encode())
            log.sync()
        log.close()
    assert store.names("job/") == ["job/journal", "job/parts/0", "job/parts/1"]
    store.clear("job/journal")
    assert store.names("job/") == ["job/parts/0", "job/parts/1"]
    assert store.log("job/journal").read() == b""
    store.clear("job/parts/")
    assert store.names("") == []


# --- locks ------------------------------------------------------------------------------------


def test_a_lock_has_one_holder(place: Place) -> None:
    first = place.open()
    lock = first.lock("job/lock")
    with pytest.raises(OutputError, match="another run is working on this output"):
        place.open().lock("job/lock")
    lock.check()
    other = first.lock("job2/lock")
    other.release()
    lock.release()
    lock.release()
    again = place.open().lock("job/lock")
    again.check()
    again.release()


def test_the_holder_of_a_lock_can_do_everything(store: Store) -> None:
    lock = store.lock("job/lock")
    store.replace("job/a", b"1")
    assert store.create("job/b", b"2")
    log = store.log("job/parts/0")
    log.append(b"3")
    log.sync()
    log.close()
    target = store.target("out")
    target.write(b"4")
    target.commit()
    store.remove("job/a")
    lock.check()
    store.clear("job/")
    lock.check()
    lock.release()
    assert [name for name in store.names("") if name != "job/lock"] == ["out"]


# --- errors -----------------------------------------------------------------------------------


def test_errors_name_the_file_as_the_user_knows_it(place: Place) -> None:
    store = place.open()
    label = store.label("deep/file.jsonl")
    assert label.endswith("deep/file.jsonl")
    with pytest.raises(InputError) as caught:
        store.open("deep/file.jsonl")
    assert label in str(caught.value)
    assert "Debug" not in str(caught.value)


def test_a_disk_without_links_can_create(tmp_path, monkeypatch):
    """exFAT and some network disks have none; the reply is that of a disk that has."""

    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    store = LocalStore(tmp_path)
    assert store.create("a", b"1")
    assert not store.create("a", b"2")
    assert store.read("a") == b"1"
    assert store.names("") == ["a"]
