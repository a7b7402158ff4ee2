"""The inputs of a job on this machine: which files, their bytes, their digests, their identity."""

from __future__ import annotations

import difflib
import glob
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Self

from textmill.errors import InputError
from textmill.storage.base import STANDARD_INPUT, InputFile, digest_of_stream, input_errors
from textmill.storage.decompress import Stored, decompressed
from textmill.storage.local import open_local
from textmill.words import written

_STREAMS = ("/dev/std", "/dev/fd/", "/proc/")


class LocalInput:
    """A file's text, decompressed: bytes from front to end. Every failure is an `InputError`."""

    def __init__(self, path: str, label: str) -> None:
        self._path, self._label = path, label
        with input_errors(label):
            self._file = _open(path)
            try:
                self._reader = decompressed(Stored(self._file), label)
            except BaseException:
                self.close()
                raise

    def read(self, size: int) -> bytes:
        """At most `size` bytes; empty at the end only. Raises `InputError`."""
        with input_errors(self._label):
            return self._reader.read(size)

    def close(self) -> None:
        """Give the file back. Idempotent. Standard input stays open."""
        if self._path != STANDARD_INPUT:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(path: str) -> BinaryIO:
    if path != STANDARD_INPUT:
        return Path(path).open("rb")
    return standard_input()


def standard_input() -> BinaryIO:
    """The bytes of standard input. Raises `InputError` where it is closed."""
    if sys.stdin is None:
        raise InputError("standard input is closed", hint="give it a file: - < FILE")
    return sys.stdin.buffer


def open_input(path: str, label: str | None = None) -> LocalInput:
    """A stream of the file's text; gzip and zstd are recognised by content, not by name.

    `-` is standard input. label: what messages call it, by default its path. Raises
    `InputError` when the file cannot be opened; reading raises it when the file is cut off or
    damaged.
    """
    return LocalInput(path, label or path)


def expand_inputs(patterns: Sequence[str]) -> tuple[InputFile, ...]:
    """The files that `patterns` name, in the order given, those of one glob sorted by name.

    A pattern is a path, a glob (`**` goes into folders), or `-`. A file whose name looks like a
    glob is found by its name first. Raises `InputError` for what is missing, unreadable or a
    folder, for a glob without a match, and for one file named twice.
    """
    if not patterns:
        raise InputError("no input was given")
    files = tuple(_described(path) for pattern in patterns for path in _matches(pattern))
    refuse_repeats(files)
    return files


def _matches(pattern: str) -> list[str]:
    if pattern == STANDARD_INPUT or not glob.has_magic(pattern) or os.path.lexists(pattern):
        return [pattern]
    found = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207  Path.glob refuses absolute ones
    if not found:
        raise InputError(
            f"no file matches {pattern}", hint="check the pattern and the current folder"
        )
    return found


def _described(path: str) -> InputFile:
    if path == STANDARD_INPUT:
        return InputFile(path=path, size_bytes=None)
    if not path or "\0" in path:
        raise InputError(f"{written(path)} is not the name of a file")
    with input_errors(path):
        if not os.path.lexists(path):
            raise InputError(f"there is no file {path}", hint=_similar_hint(path))
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(
                f"{path} is a folder", hint=f"give its files: '{path.rstrip('/')}/*.jsonl'"
            )
        if not stat.S_ISREG(status.st_mode):
            return InputFile(path=path, size_bytes=None)
        Path(path).open("rb").close()  # unreadable files are refused before any work
        return InputFile(path=path, size_bytes=status.st_size)


def _similar_hint(path: str) -> str:
    folder = Path(path).parent
    try:
        close = difflib.get_close_matches(
            Path(path).name, [entry.name for entry in folder.iterdir() if entry.is_file()], n=1
        )
    except OSError:
        return f"there is no readable folder {folder}"
    return f"did you mean {folder / close[0]}?" if close else f"looked in {folder.absolute()}"


def refuse_repeats(files: Sequence[InputFile]) -> None:
    """Raise `InputError` if a file of this machine is there twice, by whatever name."""
    seen: dict[tuple[int, int], str] = {}
    for file in files:
        with input_errors(file.path):
            status = _status(file.path)
        identity = (status.st_dev, status.st_ino)
        if identity in seen:
            raise InputError(
                f"{file.path} and {seen[identity]} are the same file",
                hint="name it once; every record would be read twice",
            )
        seen[identity] = file.path


def _status(path: str) -> os.stat_result:
    return os.fstat(0) if path == STANDARD_INPUT else Path(path).stat()


def same_file(a: str, b: str) -> bool:
    """Whether both names lead to one file, through links or not. A missing file is no other's.

    `-` is the file that standard input comes from.
    """
    try:
        return os.path.samestat(_status(a), _status(b))
    except (OSError, ValueError):
        return False


def is_device(path: str) -> bool:
    """Whether it names a device, a pipe or a socket, neither a file nor a folder; a stream of this
    process is one, even where it leads to a file."""
    if path.startswith(_STREAMS):
        return True
    try:
        mode = _status(path).st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def digest(path: str) -> str:
    """SHA-256 of the file as it is stored, in hex. Raises `InputError`."""
    return digest_of_stream(open_local(path))
