"""The keys of a bucket under a prefix as a `Store`: whole, immutable objects, and nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from msgspec.structs import replace

from textmill.errors import InputError, OutputError
from textmill.storage.base import Entry
from textmill.storage.bucket import Bucket, Found
from textmill.storage.connecting import Address, StoreOptions
from textmill.storage.lease import Lease
from textmill.storage.object_stream import ObjectStream
from textmill.storage.segments import ObjectLog, Segment, Segments, log_of
from textmill.storage.uploads import Upload

_READS_AT_ONCE = 8
_DELETES_AT_ONCE = 1000


class ObjectStore:
    """Objects whose keys begin with `prefix`, which is empty or ends with `/`.

    While a lock of it is held, everything that writes checks that first, and the segments below
    the lock's folder are listed once: there is no other writer.
    """

    writes_late = True

    def __init__(self, address: Address, prefix: str, options: StoreOptions) -> None:
        self.options, self.sync_seconds = options, options.sync_seconds
        self._prefix = prefix
        self._bucket = Bucket(address, options)
        self._locks: dict[str, ObjectLock] = {}

    def label(self, name: str) -> str:
        """Its URL."""
        return self._bucket.url(self._prefix + name)

    def stat(self, name: str) -> Entry | None:
        """The object, or None. Logs are not objects: open them with `log`."""
        found = self._bucket.head(self._key(name, InputError))
        return None if found is None else _entry(name, found)

    def names(self, prefix: str) -> list[str]:
        """All objects and logs whose names begin with `prefix`, sorted."""
        names = {log_of(name) or name for name, _ in self.listing(prefix)}
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
        self._bucket.put(self._key(name, OutputError), data, self.check_locks)

    def create(self, name: str, data: bytes) -> bool:
        """Put an object if its key is free."""
        key = self._key(name, OutputError)
        return self._bucket.create(key, data, self.check_locks) is not None

    def remove(self, name: str) -> None:
        """Delete an object."""
        self._bucket.delete(self._key(name, OutputError), guard=self.check_locks)

    def clear(self, prefix: str) -> None:
        """Delete all objects whose names begin with `prefix`, except locks that are held."""
        self.check_locks()
        keys = [self._prefix + name for name, _ in self.listing(prefix) if name not in self._locks]
        for start in range(0, len(keys), _DELETES_AT_ONCE):
            self._bucket.delete(*keys[start : start + _DELETES_AT_ONCE], guard=self.check_locks)
        for lock in self._locks.values():
            lock.forget(prefix)

    def target(self, name: str) -> Upload:
        """A multipart upload, completed by `commit`, which checks the lock as well."""
        return Upload(self._bucket, self._key(name, OutputError), self.check_locks)

    def log(self, name: str) -> ObjectLog:
        """A log of segments."""
        self._key(name, OutputError)
        return ObjectLog(self, name)

    def lock(self, name: str) -> ObjectLock:
        """A lease. Waits for its time to pass if the last holder has died without a word."""
        seconds = self.options.lease_seconds
        patience = min(seconds / 2, self.options.retry_seconds)
        quick_options = replace(self.options, retry_seconds=patience)
        quick = Bucket(self._bucket.address, quick_options, request_seconds=seconds / 2)
        lease = Lease(
            self._bucket,
            quick,
            self._key(name, OutputError),
            self.label(name),
            seconds=seconds,
            patience=self.options.retry_seconds,
        )
        self._locks[name] = ObjectLock(self, name, lease, quick)
        return self._locks[name]

    def hurry(self) -> None:
        """Wait for nothing any more."""
        self._bucket.patience.hurry()
        for lock in self._locks.values():
            lock.hurry()

    def check_locks(self) -> None:
        """Raise `OutputError` if a lock was taken and has been lost."""
        for lock in self._locks.values():
            lock.check()

    def segments(self, log: str) -> Segments:
        """Those of a log: known if its folder is locked, else listed."""
        for lock in self._locks.values():
            if log.startswith(lock.folder):
                return lock.segments
        return Segments(self.listing(f"{log}/segment-"))

    def put_segment(self, log: str, segment: Segment, data: bytes) -> bool:
        """Put a segment if its key is free."""
        is_ours = self.create(segment.name(log), data)
        for lock in self._locks.values():
            if is_ours and log.startswith(lock.folder):
                lock.segments.add(log, segment, len(data))
        return is_ours

    def read_all(self, names: list[str]) -> list[bytes]:
        """The contents of objects that must be there."""
        if len(names) < 2:
            return [self._needed(name) for name in names]
        pool = ThreadPoolExecutor(_READS_AT_ONCE)
        try:
            return list(pool.map(self._needed, names))
        finally:  # at Ctrl-C nothing waits for requests that hang
            pool.shutdown(wait=False, cancel_futures=True)

    def _needed(self, name: str) -> bytes:
        data = self.read(name)
        if data is None:
            raise InputError(f"{self.label(name)} cannot be read: it has gone meanwhile")
        return data

    def _key(self, name: str, error: type[InputError | OutputError]) -> str:
        if not name.strip("/") or name.endswith("/"):
            raise error(f"{self.label(name)} does not name an object", hint="give its whole name")
        return self._prefix + name


class ObjectLock:
    """A store's lease; while it is held the store checks it before every write."""

    def __init__(self, store: ObjectStore, name: str, lease: Lease, quick: Bucket) -> None:
        """`quick`: what the lease is renewed through."""
        self._store, self._name, self._lease, self._quick = store, name, lease, quick
        self.folder = name.rpartition("/")[0] + "/"
        self._segments: Segments | None = None

    @property
    def segments(self) -> Segments:
        """Those below the lock's folder. A replaced run's that land later do not count."""
        if self._segments is None:
            self._segments = Segments(self._store.listing(self.folder))
        return self._segments

    def forget(self, prefix: str) -> None:
        """Objects were removed."""
        if self._segments is not None:
            self._segments.forget(prefix)

    def check(self) -> None:
        """Raise `OutputError` if the lease is lost; wait while that cannot be known."""
        self._lease.check()

    def hurry(self) -> None:
        """Wait for nothing any more."""
        self._quick.patience.hurry()
        self._lease.hurry()

    def release(self) -> None:
        """End the lease."""
        if self._store._locks.get(self._name) is self:
            del self._store._locks[self._name]
        self._lease.release()


def _entry(name: str, found: Found) -> Entry:
    version = found.version.e_tag or found.version.generation or ""
    return Entry(name=name, size_bytes=found.size_bytes, version=version)
