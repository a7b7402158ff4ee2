"""What a folder of this machine keeps through a power cut, and what it says when it cannot."""

from __future__ import annotations

import os
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
