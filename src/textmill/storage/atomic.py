"""Files that appear whole or not at all: written beside their place, synced, then renamed."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from textmill.errors import OutputError
from textmill.storage.base import output_errors

UNFINISHED_SUFFIX = ".unfinished"
"""Ending of the file that is being written. The name is the same every time, so what a killed
process left behind is overwritten by the next one and never piles up."""

_BUFFER_BYTES = 1 << 20
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class AtomicFile:
    """A file that takes its place at `commit` and leaves no trace before.

    As a context manager it commits at the end of the block and discards when the block raises.
    A symbolic link at `path` is followed: the file it leads to is replaced. Only one writer may
    hold a path. Every failure is an `OutputError`, after which nothing is left behind.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._target = os.path.realpath(path)
        self._unfinished = self._target + UNFINISHED_SUFFIX
        with output_errors(path):
            refuse_special(path, self._target)
            _part_from_committed(Path(self._unfinished))
            descriptor = os.open(self._unfinished, _NEW_FILE, 0o666)
            self._file = os.fdopen(descriptor, "wb", buffering=_BUFFER_BYTES)

    def write(self, data: bytes) -> None:
        """Append. Raises `OutputError`."""
        try:
            self._file.write(data)
        except OSError:
            with output_errors(self._path):
                self.discard()
                raise

    def commit(self, *, replace: bool = True) -> bool:
        """Make the file appear, on the disk and not only in memory. Raises `OutputError`.

        Returns False, and discards it, if it may not `replace` a file that is there.
        """
        with output_errors(self._path):
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                self._appear(replace=replace)
            except FileExistsError:
                self.discard()
                return False
            except BaseException:
                self.discard()
                raise
            sync_folder(str(Path(self._target).parent))
        return True

    def _appear(self, *, replace: bool) -> None:
        unfinished, target = Path(self._unfinished), Path(self._target)
        if replace:
            unfinished.replace(target)
        else:
            appear(unfinished, target)
            unfinished.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove what was written. Idempotent; does nothing after `commit`.

        Raises `OutputError` if that cannot be done.
        """
        with suppress(OSError):  # closing flushes, which fails again on a full disk
            self._file.close()
        with output_errors(self._path), suppress(FileNotFoundError):
            Path(self._unfinished).unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()


def write_atomic(path: str, data: bytes) -> None:
    """Replace the file by `data`, whole or not at all. Raises `OutputError`."""
    with AtomicFile(path) as file:
        file.write(data)


def appear(new: Path, path: Path) -> None:
    """Give the file the name `path` as well. Raises `FileExistsError` if that is taken.

    File systems without links (exFAT, some network ones) get a rename, which is as good while the
    caller holds the lock of the only other writer.
    """
    try:
        path.hardlink_to(new)
    except FileExistsError:
        raise
    except OSError:
        if path.exists():
            raise FileExistsError(path) from None
        new.rename(path)


def sync_folder(folder: str) -> None:
    """Make the names in `folder` survive a power cut. Raises `OSError`."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # file systems that cannot sync folders say so
            raise
    finally:
        os.close(descriptor)


def _part_from_committed(unfinished: Path) -> None:
    """A run killed between link and unlink left both names of one file: writing to the one would
    write to the other."""
    with suppress(FileNotFoundError):
        if unfinished.lstat().st_nlink > 1:
            unfinished.unlink()


def refuse_special(path: str, target: str) -> None:
    """Refuse a folder, a device and a write-protected file, which a rename would replace."""
    try:
        mode = Path(target).stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise OutputError(f"{path} is a folder", hint="give the name of a file in it")
    if not stat.S_ISREG(mode):
        raise OutputError(
            f"{path} is not an ordinary file, so a result cannot appear there whole",
            hint="write to a file and copy it there",
        )
    if not os.access(target, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise OutputError(
            f"{path} is write-protected", hint="choose another name, or allow it with chmod u+w"
        )
