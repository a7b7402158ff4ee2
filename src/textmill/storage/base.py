"""What every storage offers: files by name, streams of bytes, and the errors they end in.

A `Store` is one place (a folder, the keys of a bucket under a prefix) that holds files by name;
`/` in a name goes into folders. Jobs know nothing but this protocol, so a job on S3 is the same
job. `tests/contract/test_stores.py` holds every implementation to the same suite.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Protocol

from msgspec import Struct

from textmill.errors import InputError, OutputError

STANDARD_INPUT = "-"
CHUNK_BYTES = 1 << 20
"""How much of a file is read at once."""


class InputFile(Struct, frozen=True, kw_only=True):
    """One input of a job.

    path: as it was given, or as a glob found it; `-` is standard input.
    size_bytes: the size as stored, compressed or not; None when it can be read only once
        (standard input, a pipe).
    """

    path: str
    size_bytes: int | None


class Entry(Struct, frozen=True, kw_only=True):
    """A file as it stands in a store.

    version: changes whenever the file's content does (inode, size and time; or an ETag).
    """

    name: str
    size_bytes: int
    version: str


class Stream(Protocol):
    """A file being read. Seekable, as Parquet needs it. Reading raises `InputError`."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, all that is left if negative; empty at the end only."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move, as `io.IOBase.seek` does."""

    def tell(self) -> int:
        """The position in bytes."""

    def close(self) -> None:
        """Give it back. Idempotent."""


class Target(Protocol):
    """A file in the making: nobody sees it before `commit`, and then all of it."""

    def write(self, data: bytes, /) -> None:
        """Append. Raises `OutputError`, after which nothing is left behind."""

    def commit(self, *, replace: bool = True) -> bool:
        """Make it appear, replacing what had its name; it survives a power cut.

        replace: if not, and there is a file of that name already, return False: that file is
        unchanged, and what was written is discarded. Stores that write a large file in parts may
        look just before they complete it, instead of asking for both at once.
        """

    def discard(self) -> None:
        """Forget what was written. Idempotent; does nothing after `commit`. Raises `OutputError`
        if something of it stays."""


class Log(Protocol):
    """A file that only grows. One writer at a time, which holds the store's `Lock`."""

    def read(self) -> bytes:
        """Everything that is in it; empty when there is none."""

    def append(self, data: bytes, /) -> None:
        """Add bytes. They are safe once `sync` has returned; on local disks they survive the
        death of this process at once. Raises `OutputError`."""

    def sync(self) -> None:
        """Make everything appended survive a power cut. Raises `OutputError`."""

    def cut(self, size: int) -> None:
        """Forget all bytes from `size` on: a torn tail. Before the first `append` only."""

    def close(self) -> None:
        """Give it back, synced or not. Idempotent; never raises."""


class Lock(Protocol):
    """The right to write a job, held by one process at a time."""

    def check(self) -> None:
        """Raise `OutputError` if another process has taken it over (a lease can be lost)."""

    def release(self) -> None:
        """Give it back. Idempotent; never raises."""


class Store(Protocol):
    """Files by name in one place. Every failure is an `InputError` or `OutputError` that names
    the file as the user knows it."""

    sync_seconds: float
    """How often logs are worth syncing: what a power cut, or on object stores a kill, may cost."""

    writes_late: bool
    """Whether what a process has sent may take effect after another has its lock: a request on its
    way cannot be called back."""

    def label(self, name: str) -> str:
        """The name as the user knows it: a path or a URL."""

    def stat(self, name: str) -> Entry | None:
        """The file, or None."""

    def names(self, prefix: str) -> list[str]:
        """All files whose names begin with `prefix`, at any depth, sorted; each as it would be
        given to `open`."""

    def open(self, name: str) -> Stream:
        """Read a file. Raises `InputError` if it is not there."""

    def read(self, name: str) -> bytes | None:
        """All of a small file; None if it is not there."""

    def replace(self, name: str, data: bytes) -> None:
        """Write a small file whole or not at all, over whatever has its name. Durable."""

    def create(self, name: str, data: bytes) -> bool:
        """The same, but False, and nothing changed, if there is a file of that name already."""

    def remove(self, name: str) -> None:
        """Remove a file; logs go with `clear`. Idempotent."""

    def clear(self, prefix: str) -> None:
        """Remove all files whose names begin with `prefix`, and folders that this empties."""

    def target(self, name: str) -> Target:
        """Begin a file of any size. Raises `OutputError` if it could not appear there.

        Until it is committed or discarded, nobody else may write a file of that name.
        """

    def log(self, name: str) -> Log:
        """Open a log; it begins to exist with its first bytes."""

    def lock(self, name: str) -> Lock:
        """Take the lock of that name: while it is held, no other process writes in its folder.
        Raises `OutputError` if another process has it."""

    def hurry(self) -> None:
        """The user wants to stop: whoever is out of reach is no longer waited for."""


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
    errno.EISDIR: "name a file in it",
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


def digest_of(store: Store, name: str) -> str:
    """SHA-256 of a file as it is stored, in hex. Raises `InputError`."""
    return digest_of_stream(store.open(name))


def digest_of_stream(stream: Stream) -> str:
    """SHA-256 of a stream from where it stands, in hex; closes it. Raises `InputError`."""
    sha256 = hashlib.sha256()
    with closing(stream):
        while data := stream.read(CHUNK_BYTES):
            sha256.update(data)
    return sha256.hexdigest()
