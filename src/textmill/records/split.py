"""One large file as several shards of whole records, none of which reads the others' bytes.

Shard n of N is the n-th of N equal stretches of bytes, moved to the records: a record belongs to
the shard in whose stretch its first byte lies. So the shards' bytes, one after the other, are the
file, and each record is in one shard; where a record is longer than a stretch, shards are empty.

This holds for formats whose records are lines, and for files stored as they are: in a compressed
file no one knows where a record begins without reading all that stands before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain

from msgspec import Struct

from textmill.errors import UsageError
from textmill.records.base import SeekableStream
from textmill.words import written

_SHARD = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_BLOCK_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"


class Shard(Struct, frozen=True):
    """Shard `number` of `count`; the first is 1."""

    number: int
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def parse_shard(text: str) -> Shard:
    """A shard from `2/8`. Raises `UsageError`."""
    match = _SHARD.fullmatch(text)
    if match is None:
        raise UsageError(f"{written(text)} is not a shard", hint="write the second of eight as 2/8")
    shard = Shard(int(match[1]), int(match[2]))
    if not 1 <= shard.number <= shard.count:
        raise UsageError(
            f"there is no shard {text}",
            hint=f"the shards of {shard.count} are 1/{shard.count} to {shard.count}/{shard.count}"
            if shard.count
            else "a file has at least one shard, 1/1",
        )
    return shard


def shard_range(size_bytes: int, shard: Shard) -> tuple[int, int]:
    """The stretch of a file's bytes, its end not included, in which the shard's records begin."""
    before = shard.number - 1
    return size_bytes * before // shard.count, size_bytes * shard.number // shard.count


def check_splittable(name: str, *, lines: bool, compressed: bool) -> None:
    """Raise `UsageError` for a file that cannot be cut into shards.

    lines: whether each line of its format is a record. compressed: whether it is stored so.
    """
    if compressed:
        raise UsageError(
            f"{name} is compressed, so it cannot be read from the middle",
            hint="decompress it, or store it as several files and give each run some of them",
        )
    if not lines:
        raise UsageError(
            f"{name} cannot be cut into shards: its records are not lines",
            hint="use JSON Lines, or give each run some of several files",
        )


def shard_name(name: str, shard: Shard, first_byte: int) -> str:
    """A shard as messages name it: line numbers in it count from the byte it tells, from 1.

    first_byte: as `ShardStream` has it, from 0.
    """
    return f"{name}[shard {shard}, lines from byte {first_byte + 1:,}]"


class ShardStream:
    """The bytes of the records that begin in a stretch of a file.

    first_byte: where the first of them begins; the stretch's end if none does.

    Reads the stretch, the byte before it, and on to the end of its last record: less than one block
    (64 KiB) too much. `stream` must not be moved meanwhile; it stays its owner's to close.

    Readers drop a byte order mark at the start of a stream. Within a file it is text, so that of
    a record which happens to come first here is given twice.
    """

    def __init__(self, stream: SeekableStream, start: int, end: int) -> None:
        self._stream, self._end = stream, end
        self._position = max(start - 1, 0)
        stream.seek(self._position)
        first = self._first_block() if start else b""
        self.first_byte = min(self._position - len(first), end) if start else 0
        self._blocks = _doubled_mark(self._records(first)) if start else self._records(first)
        self._held = b""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, all that is left if negative; empty at the end only."""
        if size < 0:
            data = b"".join([self._held, *self._blocks])
            self._held = b""
            return data
        if not self._held and size:
            self._held = next(self._blocks, b"")
        data, self._held = self._held[:size], self._held[size:]
        return data

    def _first_block(self) -> bytes:
        """Read on to the first record that begins in the stretch; what was read of it."""
        while data := self._within():
            newline = data.find(b"\n")
            if newline >= 0:
                return data[newline + 1 :]
        self._position = self._end
        return b""

    def _within(self) -> bytes:
        """The next block of the stretch; empty at its end."""
        data = self._stream.read(min(_BLOCK_BYTES, self._end - self._position))
        self._position += len(data)
        return data

    def _records(self, first: bytes) -> Iterator[bytes]:
        """From the first record to the end of the last."""
        last = b""
        for last in chain([first] if first else [], iter(self._within, b"")):
            yield last
        if not last or last.endswith(b"\n"):
            return
        while block := self._stream.read(_BLOCK_BYTES):
            newline = block.find(b"\n")
            if newline >= 0:
                yield block[: newline + 1]
                return
            yield block


def _doubled_mark(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks, with a byte order mark that stands first given twice."""
    start = b""
    for block in blocks:
        start += block
        if len(start) >= len(_BOM):
            break
    if start.startswith(_BOM):
        yield _BOM
    if start:
        yield start
    yield from blocks
