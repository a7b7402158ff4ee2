"""What a folder of this machine keeps through a power cut, and what it says when it cannot."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from support.permissions import ordinary_user
from textmill.errors import InputError, OutputError
from textmill.storage.local import LocalStore


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The inodes of what is synced."""
    found: list[int] = []

    def recorded(real: Callable[[int], None]) -> Callable[[int], None]:
        def sync(descriptor: int) -> None:
            found.append(os.fstat(descriptor).st_ino)
            real(descriptor)

        return sync

    monkeypatch.setattr(os, "fsync", recorded(os.fsync))
    return found


def test_the_name_of_a_log_is_kept_though_the_run_that_made_it_never_came_to_that(
    tmp_path: Path, synced: list[int]
) -> None:
    """Its folders' names as well: that run may have been killed after any call."""
    killed = LocalStore(tmp_path).log("job/rows/0")
    killed.append(b"not synced, ")
    killed.close()
    synced.clear()
    log = LocalStore(tmp_path).log("job/rows/0")
    log.append(b"synced")
    log.sync()
    folders = (tmp_path, tmp_path / "job", tmp_path / "job" / "rows")
    assert {folder.stat().st_ino for folder in folders} <= set(synced)
    synced.clear()
    log.append(b", and more")
    log.sync()
    log.close()
    assert synced == [], "once is enough"


WAYS: dict[str, Callable[[LocalStore], object]] = {
    "replaced": lambda store: store.replace("job/file", b"new"),
    "created": lambda store: store.create("job/file", b"new"),
    "committed": lambda store: committed(store, replace=True),
    "committed unless taken": lambda store: committed(store, replace=False),
}


def committed(store: LocalStore, *, replace: bool) -> None:
    target = store.target("job/file")
    target.write(b"n")
    target.write(b"ew")
    target.commit(replace=replace)


@pytest.mark.parametrize("way", WAYS)
def test_what_appears_is_on_the_disk_before_it_has_its_name_and_its_name_right_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """A power cut would else leave a name that leads to nothing, or, after the job's folder has
    gone, neither a job nor an output."""
    path = tmp_path / "job" / "file"
    path.parent.mkdir()
    if way in ("replaced", "committed"):
        path.write_bytes(b"old")
    seen: list[tuple[int, bytes | None]] = []

    def recorded(descriptor: int) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            assert status.st_size == len(b"new"), "all of it was written"
        seen.append((status.st_ino, path.read_bytes() if path.exists() else None))

    monkeypatch.setattr(os, "fsync", recorded)
    WAYS[way](LocalStore(tmp_path))
    before = b"old" if way in ("replaced", "committed") else None
    assert path.read_bytes() == b"new"
    assert (path.stat().st_ino, before) in seen
    assert seen[-1] == (path.parent.stat().st_ino, b"new")


def test_a_log_is_on_the_disk_once_it_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[tuple[int, int]] = []

    def recorded(descriptor: int) -> None:
        status = os.fstat(descriptor)
        kept.append((status.st_ino, status.st_size))

    monkeypatch.setattr("textmill.storage.local._sync", recorded)
    log = LocalStore(tmp_path).log("rows")
    for number in (1, 2, 3):
        log.append(b"some rows\n")
        assert len(kept) == number - 1, "not before it is asked for"
        log.sync()
        assert kept[-1] == ((tmp_path / "rows").stat().st_ino, 10 * number)
    log.close()


def test_a_missing_folder_is_named_and_not_what_would_be_in_it(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "missing")
    for work in (store.lock, store.target):
        with pytest.raises(OutputError) as caught:
            work("out.jsonl.job/lock")
        assert caught.value.message == f"there is no folder {tmp_path / 'missing'}"


def test_links_are_followed_to_files_of_the_user_but_not_where_a_folder_is_cleared(
    tmp_path: Path,
) -> None:
    (tmp_path / "far").mkdir()
    for name in ("result", "precious"):
        (tmp_path / "far" / name).write_text("there")
    store = LocalStore(tmp_path)
    store.replace("job/rows", b"x")
    (tmp_path / "out").symlink_to("far/result")
    (tmp_path / "job" / "link").symlink_to("../far/precious")
    assert not store.create("out", b"new"), "there is a file"
    store.remove("out")
    assert not (tmp_path / "far" / "result").exists()
    assert store.create("out", b"new")
    assert (tmp_path / "far" / "result").read_bytes() == b"new"
    assert sorted(path.name for path in (tmp_path / "far").iterdir()) == ["precious", "result"]
    store.clear("job/")
    assert not (tmp_path / "job").exists()
    assert (tmp_path / "far" / "precious").read_text() == "there"


def test_a_folder_that_cannot_be_listed_is_not_taken_for_an_empty_one() -> None:
    """Rows that an unlisted folder holds would be taken for none, and their job for nothing."""
    with ordinary_user() as folder:
        store = LocalStore(folder)
        store.replace("job/rows/0", b"x")
        (folder / "job" / "rows").chmod(0)
        try:
            for look in (store.names, store.clear):
                with pytest.raises(InputError, match="permission denied"):
                    look("job/")
        finally:
            (folder / "job" / "rows").chmod(0o700)
        assert store.names("job/") == ["job/rows/0"]
        assert store.names("missing/") == store.names("job/rows/0/") == []
