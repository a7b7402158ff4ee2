"""Outputs appear whole or not at all, and a failure leaves nothing behind."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import textmill
from support.permissions import ordinary_user
from textmill.errors import OutputError
from textmill.storage.atomic import UNFINISHED_SUFFIX, AtomicFile, write_atomic
from textmill.storage.base import input_errors, output_errors

SOURCE = str(Path(textmill.__file__).parent.parent)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )


def test_a_file_appears_at_the_end_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")
    with AtomicFile(str(path)) as file:
        file.write(b"new")
        file.write(b"er")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"newer"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with AtomicFile(str(path)) as file:
            file.write(b"x" * 5_000_000)
            raise error

    with pytest.raises(error):
        interrupted()
    assert (names(tmp_path), path.read_bytes()) == (["out"], b"old")


def test_discarding_after_committing_changes_nothing(tmp_path: Path) -> None:
    file = AtomicFile(str(tmp_path / "out"))
    file.commit()
    file.discard()
    assert names(tmp_path) == ["out"]


def test_what_a_killed_process_left_is_overwritten_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "out"
    script = """
import os, signal, sys
from textmill.storage.atomic import AtomicFile
file = AtomicFile(sys.argv[1])
file.write(b"x" * 5_000_000)
os.kill(os.getpid(), signal.SIGKILL)
"""
    run(script, str(path))
    assert names(tmp_path) == ["out.unfinished"]
    write_atomic(str(path), b"whole")
    assert (names(tmp_path), path.read_bytes()) == (["out"], b"whole")


def test_a_link_is_followed_so_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    link = tmp_path / "out"
    link.symlink_to("far/real")
    write_atomic(str(link), b"x")
    assert link.is_symlink()
    assert names(tmp_path / "far") == ["real"]


def test_a_link_in_the_place_of_the_unfinished_file_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out.unfinished").symlink_to("precious")
    with pytest.raises(OutputError, match="cannot be written"):
        write_atomic(str(tmp_path / "out"), b"x")
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", "folder is a folder\n  give the name of a file in it"),
        ("missing/out", "no such file or directory\n  make its folder first"),
        ("file/out", "not a directory\n  a part of this path is a file"),
        ("x" * 300, "file name too long\n  choose a shorter name"),
        ("pipe", "pipe is not an ordinary file"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused_before_any_work(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    before = names(tmp_path)
    with pytest.raises(OutputError, match=message):
        AtomicFile(str(tmp_path / name))
    assert names(tmp_path) == before


def test_a_device_is_not_replaced_by_a_file() -> None:
    with pytest.raises(OutputError, match="not an ordinary file"):
        AtomicFile("/dev/null")


def test_beginning_and_discarding_leaves_nothing_behind(tmp_path: Path) -> None:
    AtomicFile(str(tmp_path / "out")).discard()
    assert names(tmp_path) == []


def test_what_cannot_be_removed_any_more_is_an_error_that_names_the_file() -> None:
    """A disk that has become read-only: whoever cleans up meets it once more."""
    with ordinary_user() as folder:
        file = AtomicFile(str(folder / "out"))
        folder.chmod(0o500)
        with pytest.raises(OutputError, match="out cannot be written: permission denied"):
            file.discard()
        folder.chmod(0o700)
        file.discard()
        assert names(folder) == []


def test_a_write_protected_file_is_not_replaced() -> None:
    with ordinary_user() as folder:
        path = folder / "out"
        path.write_text("keep")
        path.chmod(0o400)
        with pytest.raises(OutputError, match="write-protected"):
            AtomicFile(str(path))
        assert names(folder) == ["out"]


def test_a_folder_without_permission_is_refused() -> None:
    with ordinary_user() as folder:
        folder.chmod(0o500)
        with pytest.raises(OutputError, match="permission denied\n  choose a folder"):
            AtomicFile(str(folder / "out"))


@pytest.mark.parametrize("size", [10_000, 5_000_000], ids=["at the end", "on the way"])
def test_a_disk_that_fills_up_leaves_nothing_and_says_what_to_do(tmp_path: Path, size: int) -> None:
    """A limit on the file's size stands for the full disk: it needs no special rights."""
    script = """
import resource, sys
from textmill.errors import OutputError
from textmill.storage.atomic import AtomicFile
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    with AtomicFile(sys.argv[1]) as file:
        for _ in range(10):
            file.write(b"x" * int(sys.argv[2]))
except OutputError as error:
    print(error)
"""
    path = tmp_path / "out"
    done = run(script, str(path), str(size))
    assert done.stdout.startswith(f"{path} cannot be written: file too large\n")
    assert done.stderr == ""
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "no space left on device\n  free some space"),
        (errno.EROFS, "read-only file system\n  choose a folder on a disk"),
        (errno.EIO, "input/output error$"),
    ],
)
def test_errors_of_the_system_name_the_path_and_the_way_out(code: int, words: str) -> None:
    with (
        pytest.raises(OutputError, match=f"^out cannot be written: {words}"),
        output_errors("out"),
    ):
        raise OSError(code, os.strerror(code))


def test_the_cause_is_kept() -> None:
    cause = OSError(errno.EIO, "gone")
    with pytest.raises(Exception, match="in cannot be read: gone") as caught, input_errors("in"):
        raise cause
    assert caught.value.__cause__ is cause


def test_a_run_killed_between_link_and_unlink_does_not_empty_what_it_committed(tmp_path):
    output = tmp_path / "out"
    output.write_bytes(b"committed")
    (tmp_path / f"out{UNFINISHED_SUFFIX}").hardlink_to(output)
    file = AtomicFile(str(output))
    assert output.read_bytes() == b"committed"
    file.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
