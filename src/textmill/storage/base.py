"""What every storage offers: files by name, streams of bytes, and the errors they end in."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from textmill.errors import InputError, OutputError

STANDARD_INPUT = "-"


class InputFile(Struct, frozen=True, kw_only=True):
    """One input of a job.

    path: as it was given, or as a glob found it; `-` is standard input.
    size_bytes: the size as stored, compressed or not; None when it can be read only once
        (standard input, a pipe).
    """

    path: str
    size_bytes: int | None


_OUTPUT_HINTS = {
    errno.ENOSPC: "free some space there, or write to another disk",
    errno.EDQUOT: "your quota there is used up: free some space, or write to another disk",
    errno.EFBIG: "the file would pass the size limit set for this process (ulimit -f)",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder on a disk that is not read-only",
    errno.ENOENT: "make its folder first (mkdir -p), or choose another",
    errno.ENOTDIR: "a part of this path is a file, not a folder",
    errno.EISDIR: "give the name of a file, not of a folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}
_INPUT_HINTS = {
    errno.ENOENT: "check the spelling and the current folder",
    errno.EACCES: "you may not read it: check its permissions (ls -l)",
    errno.EPERM: "you may not read it: check its permissions (ls -l)",
    errno.EISDIR: "give files, or a glob such as 'folder/*.jsonl'",
}


def _reason(error: OSError) -> str:
    """The operating system's words for it, beginning in lower case."""
    text = error.strerror or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]


@contextmanager
def input_errors(path: str) -> Iterator[None]:
    """Turn an `OSError` of reading `path` into an `InputError` that names it."""
    try:
        yield
    except OSError as error:
        hint = _INPUT_HINTS.get(error.errno or 0)
        raise InputError(f"{path} cannot be read: {_reason(error)}", hint=hint) from error


@contextmanager
def output_errors(path: str) -> Iterator[None]:
    """Turn an `OSError` of writing `path` into an `OutputError` that names it."""
    try:
        yield
    except OSError as error:
        hint = _OUTPUT_HINTS.get(error.errno or 0)
        raise OutputError(f"{path} cannot be written: {_reason(error)}", hint=hint) from error
