"""A store in memory, for tests: it can die at any call, lose its power, and fail as disks do.

Public, so that whoever builds on textmill can test against it.
"""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from io import BytesIO

from msgspec import Struct

from textmill.errors import InputError, OutputError
from textmill.storage.base import Entry, input_errors, output_errors


class Killed(BaseException):  # no Exception: nothing may catch the death of its own process
    """The process that used the store is dead: every further call of its ends in this as well."""


class When(Enum):
    """Where within its call a failure strikes."""

    BEFORE = "before"
    """Nothing of the call was done."""
    HALF = "half"
    """An append has written half its bytes, `clear` has removed half the files; else as BEFORE."""
    AFTER = "after"
    """All of it was done, and the caller does not know."""


class Failure(Struct, frozen=True):
    """What happens at the `at`-th call, counted from 1.

    error: makes what is raised: `Killed`, or an `OSError`, which comes out as the `InputError` or
        `OutputError` that a disk's would become.
    """

    at: int
    error: Callable[[], BaseException] = Killed
    when: When = When.BEFORE


class _File(Struct):
    """`durable`: so many bytes are on the disk; the others a power cut may take."""

    data: bytes
    durable: int


class MemoryStore:
    """Files in a dict. `calls` counts what was asked of it, so that a test can fail each call."""

    sync_seconds = 1.0
    writes_late = False

    def __init__(
        self, files: Mapping[str, bytes] | None = None, *, failure: Failure | None = None
    ) -> None:
        self.calls = 0
        self.failure = failure
        self._dead = False
        self._files: dict[str, _File] = {}
        self._locks: set[str] = set()
        self._mutex = threading.RLock()
        for name, data in (files or {}).items():
            self._write(name, data)

    @property
    def files(self) -> dict[str, bytes]:
        """Everything in it, as it would be read now."""
        return {name: file.data for name, file in sorted(self._files.items())}

    def crash(self) -> MemoryStore:
        """What is left when the process has died: every file, no lock. The old store is dead."""
        self._dead = True
        return MemoryStore(self.files)

    def power_cut(self, rng: random.Random) -> MemoryStore:
        """What is left when the power was cut: unsynced ends of logs are lost or torn anywhere."""
        self._dead = True
        left = {}
        for name, file in self._files.items():
            size = rng.randint(file.durable, len(file.data))
            if size or not file.data:
                left[name] = file.data[:size]
        return MemoryStore(left)

    def label(self, name: str) -> str:
        """`memory:NAME`."""
        return f"memory:{name}"

    def stat(self, name: str) -> Entry | None:
        """The file, or None."""
        with self._reading(name):
            file = self._files.get(name)
            if file is None:
                return None
            version = hashlib.sha256(file.data).hexdigest()  # as lasting as an ETag
            return Entry(name=name, size_bytes=len(file.data), version=version)

    def names(self, prefix: str) -> list[str]:
        """All files whose names begin with `prefix`, sorted."""
        with self._reading(prefix):
            return sorted(name for name in self._files if name.startswith(prefix))

    def open(self, name: str) -> MemoryStream:
        """Read a file, as it is now."""
        data = self.read(name)
        if data is None:
            raise InputError(f"there is no file {self.label(name)}")
        return MemoryStream(self, name, data)

    def read(self, name: str) -> bytes | None:
        """All of it; None if it is not there."""
        with self._reading(name):
            file = self._files.get(name)
            return None if file is None else file.data

    def replace(self, name: str, data: bytes) -> None:
        """Write a file over whatever has its name."""
        with self._writing(name):
            self._write(name, data)

    def create(self, name: str, data: bytes) -> bool:
        """Write a file if its name is free."""
        with self._writing(name):
            if name in self._files:
                return False
            self._write(name, data)
            return True

    def remove(self, name: str) -> None:
        """Remove a file."""
        with self._writing(name):
            self._files.pop(name, None)

    def clear(self, prefix: str) -> None:
        """Remove all files whose names begin with `prefix`."""
        with self._writing(prefix) as halfway:
            names = [name for name in sorted(self._files) if name.startswith(prefix)]
            for name in names[: len(names) // 2] if halfway else names:
                del self._files[name]

    def target(self, name: str) -> MemoryTarget:
        """A file in the making."""
        with self._writing(name):
            return MemoryTarget(self, name)

    def log(self, name: str) -> MemoryLog:
        """A file that grows."""
        return MemoryLog(self, name)

    def lock(self, name: str) -> MemoryLock:
        """A lock that only `release`, or the death of the process, gives back."""
        with self._writing(name):
            if name in self._locks:
                raise OutputError(
                    f"{self.label(name)}: another run is working on this output",
                    hint="wait for it to end, or choose another output",
                )
        self._locks.add(name)  # not if the call failed: its caller holds nothing to release
        return MemoryLock(self, name)

    def hurry(self) -> None:
        """Nothing here is waited for."""

    def _write(self, name: str, data: bytes, durable: int | None = None) -> None:
        whole = len(data) if durable is None else durable
        self._files[name] = _File(bytes(data), whole)

    @contextmanager
    def _reading(self, name: str) -> Iterator[bool]:
        with input_errors(self.label(name)), self._call() as halfway:
            yield halfway

    @contextmanager
    def _writing(self, name: str) -> Iterator[bool]:
        with output_errors(self.label(name)), self._call() as halfway:
            yield halfway

    @contextmanager
    def _call(self) -> Iterator[bool]:
        """One call, counted. Yields whether it is to be left half done."""
        with self._mutex:
            self.calls += 1
            failure = self.failure if self.failure and self.failure.at == self.calls else None
            if self._dead:
                raise Killed
            if failure and failure.when is When.BEFORE:
                self._fail(failure)
            yield failure is not None and failure.when is When.HALF
            if failure:
                self._fail(failure)

    def _fail(self, failure: Failure) -> None:
        error = failure.error()
        self._dead = isinstance(error, Killed)
        raise error


class MemoryStream:
    """A file being read."""

    def __init__(self, store: MemoryStore, name: str, data: bytes) -> None:
        self._store, self._name, self._stream = store, name, BytesIO(data)

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes."""
        with self._store._reading(self._name):
            return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """The position in bytes."""
        return self._stream.tell()

    def close(self) -> None:
        """Give it back."""
        self._stream.close()


class MemoryTarget:
    """A file in the making."""

    def __init__(self, store: MemoryStore, name: str) -> None:
        self._store, self._name, self._data = store, name, bytearray()

    def write(self, data: bytes, /) -> None:
        """Append."""
        with self._store._writing(self._name):
            self._data += data

    def commit(self, *, replace: bool = True) -> bool:
        """Make it appear."""
        if not replace:
            return self._store.create(self._name, bytes(self._data))
        self._store.replace(self._name, bytes(self._data))
        return True

    def discard(self) -> None:
        """Forget it."""
        self._data.clear()


class MemoryLog:
    """A file that grows."""

    def __init__(self, store: MemoryStore, name: str) -> None:
        self._store, self._name = store, name

    def read(self) -> bytes:
        """Everything in it."""
        return self._store.read(self._name) or b""

    def append(self, data: bytes, /) -> None:
        """Add bytes, which a power cut may take or tear before `sync`."""
        with self._store._writing(self._name) as halfway:
            stored, durable = self._state()
            added = data[: len(data) // 2] if halfway else data
            self._store._write(self._name, stored + added, durable)

    def sync(self) -> None:
        """Make everything durable."""
        with self._store._writing(self._name):
            if self._name in self._store._files:
                self._store._write(self._name, self._state()[0])

    def cut(self, size: int) -> None:
        """Forget all bytes from `size` on."""
        with self._store._writing(self._name):
            stored, durable = self._state()
            if size < len(stored):
                self._store._write(self._name, stored[:size], min(size, durable))

    def close(self) -> None:
        """Give it back."""

    def _state(self) -> tuple[bytes, int]:
        file = self._store._files.get(self._name)
        return (file.data, file.durable) if file else (b"", 0)


class MemoryLock:
    """The right to write."""

    def __init__(self, store: MemoryStore, name: str) -> None:
        self._store, self._name, self._held = store, name, True

    def check(self) -> None:
        """Nobody can take it over."""

    def release(self) -> None:
        """Give it back; a dead process gives nothing back."""
        if self._held and not self._store._dead:
            self._store._locks.discard(self._name)
        self._held = False
