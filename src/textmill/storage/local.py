"""A folder of this machine as a `Store`."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from textmill.errors import OutputError
from textmill.storage.atomic import AtomicFile, appear, refuse_special, sync_folder, write_atomic
from textmill.storage.base import Entry, Stream, input_errors, output_errors

_sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


class LocalStore:
    """The files below a folder, which has to exist before anything is written."""

    sync_seconds = 1.0
    writes_late = False

    def __init__(self, root: Path) -> None:
        self.root = root
        self._held: set[str] = set()
        self._kept: set[Path] = set()
        """Folders whose names this run has synced: the one that made them may have been killed."""

    def path(self, name: str) -> Path:
        """Where the file is."""
        return self.root / name

    def label(self, name: str) -> str:
        """Its path."""
        return str(self.path(name))

    def stat(self, name: str) -> Entry | None:
        """The file, links followed, or None."""
        with input_errors(self.label(name)):
            try:
                status = self.path(name).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        version = f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
        return Entry(name=name, size_bytes=status.st_size, version=version)

    def names(self, prefix: str) -> list[str]:
        """All files whose names begin with `prefix`, sorted. Links to folders are not followed."""
        folder = self.path(prefix.rpartition("/")[0])
        found = (
            (Path(top) / file).relative_to(self.root).as_posix()
            for top, _, files in os.walk(folder, onerror=_refuse_unlisted)
            for file in files
        )
        with input_errors(str(folder)):
            return sorted(name for name in found if name.startswith(prefix))

    def open(self, name: str) -> Stream:
        """Read a file."""
        return open_local(self.label(name))

    def read(self, name: str) -> bytes | None:
        """All of a small file; None if it is not there."""
        if self.stat(name) is None:
            return None
        with input_errors(self.label(name)):
            return self.path(name).read_bytes()

    def replace(self, name: str, data: bytes) -> None:
        """Write a file beside its place, sync it, rename it, sync the folder."""
        self._make_folder(name)
        write_atomic(self.label(name), data)

    def create(self, name: str, data: bytes) -> bool:
        """The same, but the last step is a hard link, which never replaces a file."""
        self._make_folder(name)
        path = _followed(self.path(name))
        new = path.with_name(f"{path.name}.new")
        write_atomic(str(new), data)
        with output_errors(self.label(name)):
            try:
                appear(new, path)
            except FileExistsError:
                return False
            finally:
                _remove_surely(new)
            sync_folder(str(path.parent))
        return True

    def remove(self, name: str) -> None:
        """Remove a file. A symbolic link stays, without the file that it led to: what is written
        under this name will be there again."""
        with output_errors(self.label(name)):
            path = self.path(name)
            if path.is_symlink():
                refuse_special(str(path), os.path.realpath(path))
            _followed(path).unlink(missing_ok=True)

    def clear(self, prefix: str) -> None:
        """Remove files by prefix, symbolic links as such; and their folders, if the prefix ends
        with `/` and they are empty. A lock that this store holds stays: `Lock.release` removes
        it."""
        for name in self.names(prefix):
            if name not in self._held:
                with output_errors(self.label(name)):
                    self.path(name).unlink(missing_ok=True)
        if not prefix.endswith("/"):
            return
        for top, _, _ in os.walk(self.path(prefix), topdown=False):
            _remove_if_empty(Path(top))

    def target(self, name: str) -> AtomicFile:
        """A file that is renamed into its place."""
        self._make_folder(name)
        return AtomicFile(self.label(name))

    def log(self, name: str) -> LocalLog:
        """A file that is appended to."""
        return LocalLog(self, name)

    def lock(self, name: str) -> LocalLock:
        """An advisory lock (flock), which ends with the process that holds it."""
        self._make_folder(name)
        lock = LocalLock(self.path(name), on_release=lambda: self._held.discard(name))
        self._held.add(name)
        return lock

    def hurry(self) -> None:
        """Nothing here is waited for."""

    def _make_folder(self, name: str) -> None:
        """Make the folders within the root that the name goes through, to survive a power cut."""
        for folder in reversed(Path(name).parents):
            path = self.root / folder
            if folder == Path() or (path in self._kept and path.exists()):
                continue
            with output_errors(str(path.parent)):
                _make(path)
                sync_folder(str(path.parent))
                self._kept.add(path)


class _LocalFile:
    """A file being read, whose errors name it."""

    def __init__(self, path: str) -> None:
        self._path = path
        with input_errors(path):
            self._file: IO[bytes] = Path(path).open("rb")  # noqa: SIM115  closed by `close`

    def read(self, size: int = -1, /) -> bytes:
        with input_errors(self._path):
            return self._file.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        with input_errors(self._path):
            return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        with suppress(OSError):  # what was read stays read
            self._file.close()


def open_local(path: str) -> Stream:
    """A file of this machine. Raises `InputError`."""
    return _LocalFile(path)


class LocalLog:
    """A file that grows; an `append` is one write, so a kill tears at most the last."""

    def __init__(self, store: LocalStore, name: str) -> None:
        self._store, self._name = store, name
        self._path = store.path(name)
        self._file: IO[bytes] | None = None
        self._is_named = False

    def read(self) -> bytes:
        """Everything that is in it."""
        return self._store.read(self._name) or b""

    def append(self, data: bytes, /) -> None:
        """Add bytes at the end; they survive the death of this process."""
        with output_errors(str(self._path)):
            if self._file is None:
                self._store._make_folder(self._name)
                self._file = self._path.open("ab", buffering=0)
            left = memoryview(data)
            while left:  # a disk that fills up takes a part and refuses the rest
                left = left[self._file.write(left) :]

    def sync(self) -> None:
        """Have the disk keep what was appended, and at first the file's name: the run that made it
        may have been killed before it came to that."""
        if self._file is None:
            return
        with output_errors(str(self._path)):
            _sync(self._file.fileno())
            if not self._is_named:
                sync_folder(str(self._path.parent))
                self._is_named = True

    def cut(self, size: int) -> None:
        """Forget all bytes from `size` on."""
        with output_errors(str(self._path)):
            if self._path.exists() and self._path.stat().st_size > size:
                os.truncate(self._path, size)

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None


class LocalLock:
    """Held while its file is open and still at its path."""

    def __init__(self, path: Path, *, on_release: Callable[[], None]) -> None:
        self._path, self._on_release = path, on_release
        self._file: IO[bytes] | None = None
        while self._file is None:
            with output_errors(str(path)):
                file = _opened(path)
            _flock(file, path)
            # The run before may have ended, and removed the file, between open and flock.
            if _is_at(file, path):
                self._file = file
            else:
                file.close()

    def check(self) -> None:
        """The lock of a living process can be lost only with its file. Raises `OutputError`."""
        if self._file is not None and not _is_at(self._file, self._path):
            raise OutputError(
                f"{self._path.parent} was removed, or moved, while a run was at work on it",
                hint="run the same line again: what is no longer there is computed again",
            )

    def release(self) -> None:
        """Let another process have it, and leave nothing behind: its file, its folder if empty.

        The file goes while the lock is held, so whoever waits for it sees that it is no more.
        """
        if self._file is not None:
            with suppress(OSError):
                if _is_at(self._file, self._path):  # else it is another run's by now
                    self._path.unlink(missing_ok=True)
            _remove_if_empty(self._path.parent)
            self._file.close()
            self._file = None
            self._on_release()


def _refuse_unlisted(error: OSError) -> None:
    """A folder that is not there has no files; of one that cannot be listed nobody knows."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _followed(path: Path) -> Path:
    """Where a symbolic link leads; any other path as it is, and so as the user knows it."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _remove_surely(path: Path) -> None:
    """Remove a file, though Ctrl-C comes meanwhile: nobody else would."""
    try:
        path.unlink(missing_ok=True)
    except KeyboardInterrupt:
        path.unlink(missing_ok=True)
        raise


def _make(folder: Path) -> None:
    """Make a folder unless it is there."""
    try:
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)
    except FileExistsError:
        raise OutputError(
            f"{folder} is a file, and a folder of that name is needed",
            hint="move it away, or choose another output",
        ) from None
    except FileNotFoundError:
        raise OutputError(
            f"there is no folder {folder.parent}",
            hint="make it first (mkdir -p), or choose another",
        ) from None


def _remove_if_empty(folder: Path) -> None:
    """Remove a folder, unless somebody has put something there meanwhile."""
    with suppress(OSError):
        folder.rmdir()
        sync_folder(str(folder.parent))


def _opened(path: Path) -> IO[bytes]:
    """The lock's file, made if it is not there; a run that ends may remove its folder meanwhile."""
    while True:
        path.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):
            return path.open("ab")


def _flock(file: IO[bytes], path: Path) -> None:
    try:
        with output_errors(str(path)):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OutputError as error:
        file.close()
        if not isinstance(error.__cause__, BlockingIOError):
            raise
        raise OutputError(
            f"{path.parent}: another run is working on this output",
            hint="wait for it to end, or choose another output",
        ) from None


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False
