r"""A stream of bytes cut into rows of cells, some of them quoted, with a limit on a row's size.

This knows where rows end (RFC 4180): at `\n`, `\r\n` or `\r` outside quotes. A quote opens a quoted
cell only as the cell's first character; anywhere else in an unquoted cell it is a character like
any other. What the cells hold is for `records.delimited`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto

from msgspec import Struct

from textmill.records.base import ByteStream
from textmill.records.lines import (
    BLOCK_BYTES,
    HEAD_BYTES,
    MAX_LINE_BYTES,
    Unfinished,
    read_blocks,
)

QUOTED = rb'"[^"]*+(?:""[^"]*+)*+"'
"""Pattern of a quoted cell, quotes included."""

_QUOTE = ord('"')
_INSIDE = re.compile(rb'[^"]*+(?:""[^"]*+)*+')


class Rows(Struct, frozen=True):
    """Rows that follow each other, without their line ends, and the 1-based line of each."""

    lines: range | list[int]
    rows: list[bytes]


class BrokenRow(Struct, frozen=True):
    """A row over the limit, or one whose quote the end of the file finds open.

    line: where it begins. head: its first bytes.
    opened: the line of the quote that is never closed; None when the row is just too long.
    taken: the lines after that one, to the end of the file.
    """

    line: int
    size_bytes: int
    head: bytes
    too_long: bool
    opened: int | None
    taken: int


class _State(Enum):
    """Where in a row the next byte stands."""

    START = auto()
    """At the start of a cell."""
    PLAIN = auto()
    """In an unquoted cell, or after a closing quote."""
    QUOTED = auto()
    """Within quotes."""
    CLOSING = auto()
    """After a quote within quotes: it closes the cell, or is the first of a pair."""


def cut_rows(
    source: ByteStream, delimiter: bytes, *, max_row_bytes: int = MAX_LINE_BYTES
) -> Iterator[Rows | BrokenRow]:
    """All rows of `source`, blank lines included, in order, a block at a time.

    Holds one block (256 KiB) and one unfinished row of at most `max_row_bytes`.
    """
    cutter = _Cutter(delimiter, max_row_bytes)
    for data in _whole_line_ends(read_blocks(source, min(BLOCK_BYTES, max_row_bytes))):
        yield from cutter.feed(data)
    yield from cutter.finish()


def _whole_line_ends(blocks: Iterator[bytes]) -> Iterator[bytes]:
    r"""The same bytes, with no `\r\n` cut in two."""
    held = b""
    for block in blocks:
        data = held + block
        held = b"\r" if data.endswith(b"\r") else b""
        yield data.removesuffix(held)
    yield held


def count_line_ends(text: bytes) -> int:
    """How many lines end within `text`."""
    if b"\r" not in text:
        return text.count(b"\n")
    return text.count(b"\n") + text.count(b"\r") - text.count(b"\r\n")


class _Cutter:
    """Takes blocks, gives rows. A row that crosses blocks is scanned on, never again."""

    def __init__(self, delimiter: bytes, max_row_bytes: int) -> None:
        self._delimiter = delimiter[0]
        self._max_row_bytes = max_row_bytes
        end = re.escape(delimiter) + rb"\r\n"
        cell = rb'(?:%b|[^"%b][^%b]*+|)' % (QUOTED, end, end)
        self._row = re.compile(
            rb"(%b(?:%b%b)*+)(?:\r\n|[\r\n])" % (cell, re.escape(delimiter), cell)
        )
        unquoted = rb"[^%b]*+" % end
        # Looks ahead first: before Python 3.11.5 a repetition that fails midway keeps what it read.
        self._plain = re.compile(
            rb'%b(?:(?=%b[^"])%b%b)*+' % (unquoted, *[re.escape(delimiter)] * 2, unquoted)
        )
        self._line = 1
        self._begin_row()

    def _begin_row(self) -> None:
        self._unfinished = Unfinished(self._max_row_bytes)
        self._state = _State.START
        self._line_ends = 0
        self._opened = 0

    def feed(self, data: bytes) -> Iterator[Rows | BrokenRow]:
        """The rows that end in `data`."""
        at = 0
        if self._unfinished.size_bytes:
            end = self._scan(data, 0)
            self._unfinished.add(data[:end])
            if end is None:
                return
            yield self._end_row()
            at = end + _line_end_size(data, end)
        rows, at = self._quoted_rows(data, at) if b'"' in data else self._plain_rows(data, at)
        if rows.rows:
            yield rows
        self._scan(data, at)
        self._unfinished.add(data[at:])

    def finish(self) -> Iterator[Rows | BrokenRow]:
        """The last row, when no line end follows it."""
        if self._unfinished.size_bytes:
            yield self._end_row()

    def _end_row(self) -> Rows | BrokenRow:
        """The unfinished row, which ends here."""
        unfinished, line, line_ends = self._unfinished, self._line, self._line_ends
        opened = self._opened if self._state is _State.QUOTED else None
        self._line += line_ends + 1
        self._begin_row()
        if opened is None and not unfinished.too_long:
            return Rows([line], [unfinished.text()])
        return BrokenRow(
            line=line,
            size_bytes=unfinished.size_bytes,
            head=unfinished.text()[:HEAD_BYTES],
            too_long=unfinished.too_long,
            opened=opened,
            taken=0 if opened is None else line + line_ends - opened - unfinished.ends_line,
        )

    def _plain_rows(self, data: bytes, at: int) -> tuple[Rows, int]:
        """The rows of a block without quotes, and where the unfinished one begins."""
        stop = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        rows = data[at:stop].splitlines()
        first = self._line
        self._line += len(rows)
        return Rows(range(first, self._line), rows), max(at, stop)

    def _quoted_rows(self, data: bytes, at: int) -> tuple[Rows, int]:
        """The rows from `at` on, and where the unfinished one begins."""
        lines: list[int] = []
        rows: list[bytes] = []
        match_row = self._row.match
        while True:
            if match := match_row(data, at):
                row, at = match[1], match.end()
            else:  # the row is malformed, or does not end here
                end = self._scan(data, at)
                self._begin_row()
                if end is None:
                    return Rows(lines, rows), at
                row, at = data[at:end], end + _line_end_size(data, end)
            lines.append(self._line)
            rows.append(row)
            self._line += 1
            if b"\n" in row or b"\r" in row:
                self._line += count_line_ends(row)

    def _scan(self, data: bytes, at: int) -> int | None:
        """Go on to the row's end: the place of its line end in `data`, or None."""
        while at < len(data):
            if self._state is _State.START:
                if data[at] == _QUOTE:
                    self._state = _State.QUOTED
                    self._opened = self._line + self._line_ends
                    at += 1
                else:
                    self._state = _State.PLAIN
            elif self._state is _State.PLAIN:
                at = self._end_of(self._plain, data, at)
                if at < len(data) and data[at] != self._delimiter:
                    return at
                self._state = _State.START if at < len(data) else _State.PLAIN
                at += 1
            elif self._state is _State.QUOTED:
                end = self._end_of(_INSIDE, data, at)
                self._line_ends += count_line_ends(data[at:end])
                self._state = _State.CLOSING if end < len(data) else _State.QUOTED
                at = end + 1
            elif data[at] == _QUOTE:
                self._state = _State.QUOTED
                at += 1
            else:
                self._state = _State.PLAIN
        return None

    @staticmethod
    def _end_of(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
        """Where the match at `at` ends. The pattern matches everywhere, if only nothing."""
        match = pattern.match(data, at)
        return match.end() if match else at


def _line_end_size(data: bytes, at: int) -> int:
    return 2 if data[at : at + 2] == b"\r\n" else 1
