"""The keys of a bucket under a prefix as a `Store`: whole, immutable objects, and nothing else.

Logs are the one thing that grows, so they are kept as segments: objects `NAME/segment-N-W`, where
N counts the log's segments from 0 and W the writers it has had. A writer that has lost its lease
may still have a segment on its way, and no request can be called back; but its number W is lower
than that of the run that took over, and `segments_in_force` lets the higher writer decide.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from textmill.errors import InputError, OutputError
from textmill.storage.base import Entry
from textmill.storage.bucket import Bucket, Found, shared_bucket
from textmill.storage.connecting import Address, StoreOptions
from textmill.storage.lease import Lease
from textmill.storage.uploads import Upload

_SEGMENT_BYTES = 4 << 20
_LEAST_READ_BYTES, _MOST_READ_BYTES = 256 << 10, 8 << 20
_READS_AT_ONCE = 8
_DELETES_AT_ONCE = 1000
_SEGMENT = re.compile(r"(.*)/segment-(\d{6,})-(\d{6,})", re.DOTALL)


class ObjectStore:
    """Objects whose keys begin with `prefix`, which is empty or ends with `/`.

    While a lock of it is held, everything that writes checks that first.
    """

    writes_late = True

    def __init__(self, address: Address, prefix: str, options: StoreOptions) -> None:
        self.options, self.sync_seconds = options, options.sync_seconds
        self._prefix = prefix
        self._bucket = shared_bucket(address, options)
        self._leases: dict[str, Lease] = {}

    def label(self, name: str) -> str:
        """Its URL."""
        return self._bucket.url(self._prefix + name)

    def stat(self, name: str) -> Entry | None:
        """The object, or None. Logs are not objects: open them with `log`."""
        found = self._bucket.head(self._key(name, InputError))
        return None if found is None else _entry(name, found)

    def names(self, prefix: str) -> list[str]:
        """All objects and logs whose names begin with `prefix`, sorted."""
        names = {_log_of(name) or name for name, _ in self.listing(prefix)}
        return sorted(names)

    def listing(self, prefix: str) -> list[tuple[str, int]]:
        """All objects whose names begin with `prefix`, and their sizes, sorted by name."""
        start = self._prefix + prefix
        found = self._bucket.list(start.rpartition("/")[0])
        skip = len(self._prefix)
        return [(key[skip:], size) for key, size in found if key.startswith(start)]

    def open(self, name: str) -> ObjectStream:
        """Read an object by ranges, as it is now: a change meanwhile is an `InputError`."""
        return ObjectStream(self._bucket, self._key(name, InputError))

    def read(self, name: str) -> bytes | None:
        """All of a small object; None if it is not there."""
        return self._bucket.get(self._key(name, InputError))

    def replace(self, name: str, data: bytes) -> None:
        """Put an object."""
        self._bucket.put(self._key(name, OutputError), data, self.check_lease)

    def create(self, name: str, data: bytes) -> bool:
        """Put an object if its key is free."""
        key = self._key(name, OutputError)
        return self._bucket.create(key, data, self.check_lease) is not None

    def remove(self, name: str) -> None:
        """Delete an object, or a log's segments."""
        self.check_lease()
        key = self._key(name, OutputError)
        self._delete([key, *(self._prefix + found for found, _ in self._segments(name))])

    def clear(self, prefix: str) -> None:
        """Delete all objects whose names begin with `prefix`, except locks that are held."""
        self.check_lease()
        names = [name for name, _ in self.listing(prefix) if name not in self._leases]
        self._delete([self._prefix + name for name in names])

    def target(self, name: str) -> Upload:
        """A multipart upload, completed by `commit`, which checks the lock as well."""
        return Upload(self._bucket, self._key(name, OutputError), self.check_lease)

    def log(self, name: str) -> ObjectLog:
        """A log of segments."""
        self._key(name, OutputError)
        return ObjectLog(self, name)

    def lock(self, name: str) -> ObjectLock:
        """A lease. Waits for its time to pass if the last holder has died without a word."""
        seconds = self.options.lease_seconds
        patience = min(seconds / 2, self.options.retry_seconds)
        options = msgspec.structs.replace(self.options, retry_seconds=patience)
        quick = Bucket(self._bucket.address, options, request_seconds=seconds / 2)
        key = self._key(name, OutputError)
        lease = Lease(
            self._bucket,
            quick,
            key,
            self.label(name),
            seconds=seconds,
            patience=self.options.retry_seconds,
        )
        self._leases[name] = lease
        return ObjectLock(self, name, lease)

    def check_lease(self) -> None:
        """Raise `OutputError` if a lock was taken and has been lost."""
        for lease in self._leases.values():
            lease.check()

    def _segments(self, log: str) -> list[tuple[str, int]]:
        return [entry for entry in self.listing(f"{log}/segment-") if _log_of(entry[0]) == log]

    def _read_all(self, names: list[str]) -> list[bytes]:
        with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
            found = list(pool.map(self.read, names))
        for name, data in zip(names, found, strict=True):
            if data is None:
                raise InputError(f"{self.label(name)} cannot be read: it has gone meanwhile")
        return [data for data in found if data is not None]

    def _delete(self, keys: list[str]) -> None:
        for start in range(0, len(keys), _DELETES_AT_ONCE):
            self._bucket.delete(*keys[start : start + _DELETES_AT_ONCE], guard=self.check_lease)

    def _key(self, name: str, error: type[InputError | OutputError]) -> str:
        if not name.strip("/") or name.endswith("/"):
            raise error(f"{self.label(name)} does not name an object", hint="give its whole name")
        return self._prefix + name


class ObjectStream:
    """An object being read. Requests grow while it is read in order, so that few are made."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        found = bucket.head(key)
        if found is None:
            raise InputError(f"there is no object {bucket.url(key)}", hint="check the spelling")
        self._bucket, self._key, self._found = bucket, key, found
        self._position = 0
        self._start, self._buffer = 0, b""
        self._ahead = _LEAST_READ_BYTES

    def read(self, size: int = -1, /) -> bytes:
        """`size` bytes, fewer only at the end."""
        left = max(0, self._found.size_bytes - self._position)
        wanted = left if size < 0 else min(size, left)
        parts = []
        while wanted:
            if not self._buffered:
                self._fetch(wanted)
            part = self._buffered[:wanted]
            parts.append(part)
            wanted -= len(part)
            self._position += len(part)
        return b"".join(parts)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move; no request is made."""
        base = (0, self._position, self._found.size_bytes)[whence]
        if base + offset < 0:
            raise InputError(f"{self._bucket.url(self._key)}: there is no byte {base + offset}")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The position in bytes."""
        return self._position

    def close(self) -> None:
        """Forget what was buffered."""
        self._buffer = b""

    @property
    def _buffered(self) -> memoryview:
        """What is at hand from the position on."""
        offset = self._position - self._start
        return memoryview(self._buffer)[offset:] if offset >= 0 else memoryview(b"")

    def _fetch(self, wanted: int) -> None:
        in_order = self._position == self._start + len(self._buffer)
        self._ahead = min(2 * self._ahead, _MOST_READ_BYTES) if in_order else _LEAST_READ_BYTES
        end = min(self._position + max(wanted, self._ahead), self._found.size_bytes)
        self._buffer = self._bucket.get_range(self._key, self._position, end, self._found.version)
        self._start = self._position


class ObjectLock:
    """A store's lease; while it is held the store checks it before every write."""

    def __init__(self, store: ObjectStore, name: str, lease: Lease) -> None:
        self._store, self._name, self._lease = store, name, lease

    def check(self) -> None:
        """Raise `OutputError` if the lease is lost; wait while that cannot be known."""
        self._lease.check()

    def release(self) -> None:
        """End the lease."""
        if self._store._leases.get(self._name) is self._lease:
            del self._store._leases[self._name]
        self._lease.release()


class Segment(NamedTuple):
    """One object of a log."""

    number: int
    writer: int


def segments_in_force(segments: list[Segment], label: str) -> list[Segment]:
    """The segments that are the log: one for each index from 0 on.

    Where a writer begins at an index, nothing that lower writers put there or later counts.
    Raises `InputError` that names `label` if one is missing.
    """
    chosen: list[Segment] = []
    for segment in sorted(segments, key=lambda s: (s.writer, s.number)):
        if segment.number > len(chosen):
            raise InputError(
                f"{label} is damaged: its segment {len(chosen)} is missing",
                hint="it was removed after it was written; start over with --fresh",
            )
        del chosen[segment.number :]
        chosen.append(segment)
    return chosen


class ObjectLog:
    """A log kept as segments. What was appended is at risk until `sync`."""

    def __init__(self, store: ObjectStore, name: str) -> None:
        self._store, self._name = store, name
        self._next: Segment | None = None
        self._buffer = bytearray()

    def read(self) -> bytes:
        """All segments that count, joined, and what this writer has not yet synced."""
        in_force = self._in_force(self._segments())
        stored = self._store._read_all([self._segment_name(s) for s in in_force])
        return b"".join([*stored, self._buffer])

    def append(self, data: bytes, /) -> None:
        """Add bytes; they become a segment at `sync`, or when there are enough of them."""
        self._buffer += data
        if len(self._buffer) >= _SEGMENT_BYTES:
            self.sync()

    def sync(self) -> None:
        """Put what was appended as one segment."""
        if not self._buffer:
            return
        self._store.check_lease()
        segment = self._next or self._first()
        name = self._segment_name(segment)
        if not self._store.create(name, bytes(self._buffer)):
            raise OutputError(
                f"{self._store.label(self._name)}: another run is writing to it",
                hint="let one of the two finish, and run the same line again",
            )
        self._next = Segment(segment.number + 1, segment.writer)
        self._buffer.clear()

    def cut(self, size: int) -> None:
        """Segments are whole, so there is no torn tail; anything else is damage."""
        stored = len(self.read())
        if size < stored:
            raise InputError(
                f"{self._store.label(self._name)} is damaged: only {size:,} of its {stored:,}"
                " bytes can be read",
                hint="it was changed after it was written; start over with --fresh",
            )

    def close(self) -> None:
        """Forget what was not synced."""
        self._buffer.clear()

    def _first(self) -> Segment:
        """The first that this writer puts: after all that count, with a number of its own."""
        try:
            segments = self._segments()
            end = len(self._in_force(segments))
        except InputError as error:
            raise OutputError(error.message, hint=error.hint) from error
        return Segment(end, max((segment.writer for segment in segments), default=0) + 1)

    def _in_force(self, segments: list[Segment]) -> list[Segment]:
        return segments_in_force(segments, self._store.label(self._name))

    def _segments(self) -> list[Segment]:
        names = (name for name, _ in self._store._segments(self._name))
        matches = (_SEGMENT.fullmatch(name) for name in names)
        return [Segment(int(m[2]), int(m[3])) for m in matches if m]

    def _segment_name(self, segment: Segment) -> str:
        return f"{self._name}/segment-{segment.number:06d}-{segment.writer:06d}"


def _log_of(name: str) -> str | None:
    """The log of which an object is a segment."""
    match = _SEGMENT.fullmatch(name)
    return match[1] if match else None


def _entry(name: str, found: Found) -> Entry:
    version = found.version.e_tag or found.version.generation or ""
    return Entry(name=name, size_bytes=found.size_bytes, version=version)
