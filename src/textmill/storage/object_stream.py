"""An object that is read by ranges."""

from __future__ import annotations

from textmill.errors import InputError
from textmill.storage.bucket import Bucket

_LEAST_READ_BYTES, _MOST_READ_BYTES = 256 << 10, 8 << 20


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
