"""Read shards as a job would, and count what it costs."""

from __future__ import annotations

import io

from textmill.records.split import Shard, ShardStream, shard_range


class CountingStream:
    """A file that counts the bytes read from it, and may give few at a time."""

    def __init__(self, data: bytes, at_once: int | None = None) -> None:
        self._file, self._at_once = io.BytesIO(data), at_once
        self.bytes_read = 0

    def read(self, size: int = -1, /) -> bytes:
        assert size >= 0, "a shard never reads all that is left"
        data = self._file.read(size if self._at_once is None else min(size, self._at_once))
        self.bytes_read += len(data)
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)


def read_shard(data: bytes, shard: Shard, *, at_once: int | None = None) -> bytes:
    stream = CountingStream(data, at_once)
    return ShardStream(stream, *shard_range(len(data), shard)).read()
