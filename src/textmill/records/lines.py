"""A stream of bytes cut into lines, with a limit on how long a line may be.

A line ends with `\\n`; a `\\r` before it stays, being white space to JSON. A byte order mark at the
start of the stream is dropped. The last line needs no end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

from textmill.records.base import ByteStream

MAX_LINE_BYTES = 16 * 1024 * 1024
"""A longer line is not held in memory but reported as a `LongLine`."""

HEAD_BYTES = 4096
"""How much of a line that is too long is kept, to find its id."""

BLOCK_BYTES = 256 * 1024
"""How much of a stream is read at once."""

_BOM = b"\xef\xbb\xbf"
_WHITE = b" \t\r"
_BLANK_STARTS = (b"\n\n", b"\n ", b"\n\t", b"\n\r")
_BLANK = re.compile(rb"\n[ \t\r]*+(?=\n)")


class Lines(Struct, frozen=True):
    """Lines that follow each other. `first` is the 1-based number of the first."""

    first: int
    lines: list[bytes]


class LongLine(Struct, frozen=True):
    """A line over the limit: its 1-based number, its size, its first `HEAD_BYTES` bytes."""

    number: int
    size_bytes: int
    head: bytes


def read_lines(
    source: ByteStream, *, max_line_bytes: int = MAX_LINE_BYTES
) -> Iterator[Lines | LongLine]:
    """All lines of `source`, in order, a block at a time.

    Holds one block (256 KiB) and one unfinished line of at most `max_line_bytes`.
    """
    number = 1
    unfinished = Unfinished(max_line_bytes)
    for data in read_blocks(source, min(BLOCK_BYTES, max_line_bytes)):
        end = data.find(b"\n")
        unfinished.add(data[:end] if end >= 0 else data)
        if end < 0:
            continue
        last = data.rfind(b"\n")
        if unfinished.too_long:
            yield unfinished.long_line(number)
            lines = data[end + 1 : last].split(b"\n") if last > end else []
            number += 1
        else:
            lines = (unfinished.text() + data[end:last]).split(b"\n")
        if lines:
            yield Lines(number, lines)
        number += len(lines)
        unfinished = Unfinished(max_line_bytes)
        unfinished.add(data[last + 1 :])
    if unfinished.too_long:
        yield unfinished.long_line(number)
    elif unfinished.size_bytes:
        yield Lines(number, [unfinished.text()])


def read_blocks(source: ByteStream, size: int) -> Iterator[bytes]:
    """The stream's bytes in blocks of at most `size`, without a byte order mark at its start."""
    start = b""
    while len(start) < len(_BOM) and (data := source.read(size)):
        start += data
    start = start.removeprefix(_BOM)
    for at in range(0, len(start), size):
        yield start[at : at + size]
    while data := source.read(size):
        yield data


class Unfinished:
    """A line whose end was not met yet; only its head once it is over the limit."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._parts: list[bytes] = []
        self._last = b""
        self.size_bytes = 0

    def add(self, data: bytes) -> None:
        """Append."""
        if not data:
            return
        self._last = data[-1:]
        if not self.too_long:
            self._parts.append(data)
        self.size_bytes += len(data)
        if self.too_long:
            self._parts = [self.text()[:HEAD_BYTES]]

    @property
    def too_long(self) -> bool:
        """Whether it is over the limit."""
        return self.size_bytes > self._max_bytes

    @property
    def ends_line(self) -> bool:
        """Whether a line end is the last of it."""
        return self._last in {b"\n", b"\r"}

    def text(self) -> bytes:
        """What is held of it."""
        return b"".join(self._parts)

    def long_line(self, number: int) -> LongLine:
        """The report of a line that is too long."""
        return LongLine(number, self.size_bytes, self.text())


def count_rows(source: ByteStream) -> int:
    """How many lines `source` has that are not blank; the last needs no end."""
    rows, blank = 0, True
    for data in read_blocks(source, BLOCK_BYTES):
        first, last = data.find(b"\n"), data.rfind(b"\n")
        if first < 0:
            blank = blank and not data.strip(_WHITE)
            continue
        rows += not (blank and not data[:first].strip(_WHITE))
        whole = data[first : last + 1]
        rows += whole.count(b"\n") - 1
        if any(start in whole for start in _BLANK_STARTS):
            rows -= len(_BLANK.findall(whole))
        blank = not data[last + 1 :].strip(_WHITE)
    return rows + (not blank)
