"""JSON Lines to records.

Every line that is not blank becomes one row, a `Record` or a `Rejected`, with the next ordinal.
Nothing that a file may hold raises an exception.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import msgspec
from msgspec import Raw

from textmill.core import JsonText, Record, Rejected
from textmill.errors import ErrorCode
from textmill.records.base import ByteStream
from textmill.records.builder import RecordBuilder, rejected, writable
from textmill.records.lines import (
    MAX_LINE_BYTES,
    Lines,
    LongLine,
    count_rows,
    read_lines,
)
from textmill.records.shape import ORDINAL_ID
from textmill.records.strict import Fields, is_blank, parse_object, parse_row, repeated_key
from textmill.records.unfit import Unfit, quoted

Rewrite = Callable[[Fields], Fields]


class JsonlReader:
    """Reads files of JSON Lines. What was noticed about the rows is in the builder."""

    def __init__(
        self,
        builder: RecordBuilder,
        *,
        max_line_bytes: int = MAX_LINE_BYTES,
        rewrite: Rewrite | None = None,
        id_key: str | None = None,
    ) -> None:
        """`rewrite`: makes the record's columns of the line's keys, for formats whose lines are
        not records yet; it may raise `Unfit`. `id_key`: where such a line has its id.
        """
        self.builder = builder
        self._max_line_bytes = max_line_bytes
        self._rewrite = rewrite
        self._id_field = id_key or builder.shape.id_field
        self._parse = parse_row if builder.shape.takes_rows else parse_object
        self._leading_id_pattern = _leading_id_pattern(self._id_field)

    def read(
        self, source: ByteStream, file: str, first_ordinal: int = 0
    ) -> Iterator[list[Record | Rejected]]:
        """All rows of one file, in order, a block at a time (256 KiB of input).

        The next file's first ordinal is `first_ordinal` plus the number of rows yielded.
        """
        ordinal = first_ordinal
        for block in read_lines(source, max_line_bytes=self._max_line_bytes):
            if isinstance(block, LongLine):
                rows: list[Record | Rejected] = [self._too_long(block, file, ordinal)]
            else:
                rows = self._read_block(block, file, ordinal)
            ordinal += len(rows)
            if rows:
                yield rows

    def count(self, source: ByteStream, file: str = "the input") -> int:  # noqa: ARG002  such a file is never damaged
        """How many rows `read` yields."""
        return count_rows(source)

    def _read_block(self, block: Lines, file: str, ordinal: int) -> list[Record | Rejected]:
        rows: list[Record | Rejected] = []
        for number, line in enumerate(block.lines, block.first):
            try:
                fields = self._parse(line)
            except Unfit as error:
                if is_blank(line):
                    self.builder.blank_lines += 1
                    continue
                id_ = self._leading_id(line, ordinal)
                row: Record | Rejected = rejected(error, id_, ordinal, file, number)
            else:
                row = self._row(line, fields, ordinal, file, number)
            rows.append(row)
            ordinal += 1
        return rows

    def _row(
        self, line: bytes, fields: Fields, ordinal: int, file: str, number: int
    ) -> Record | Rejected:
        key = repeated_key(line, fields)
        if key is not None:
            error = Unfit(ErrorCode.BAD_JSON, f"the key {quoted(key)} appears twice")
            id_ = None if key == self._id_field else self._id_of(fields, ordinal)
            return rejected(error, id_, ordinal, file, number)
        try:
            columns = self._rewrite(fields) if self._rewrite else fields
        except Unfit as error:
            return rejected(error, self._id_of(fields, ordinal), ordinal, file, number)
        return self.builder.build(columns, ordinal, file, number, line)

    def _id_of(self, fields: Fields, ordinal: int) -> JsonText | None:
        if self._id_field == ORDINAL_ID:
            return str(ordinal).encode()
        return writable(fields.get(self._id_field))

    def _too_long(self, line: LongLine, file: str, ordinal: int) -> Rejected:
        error = Unfit(
            ErrorCode.TOO_LONG,
            f"the line has {line.size_bytes:,} bytes; the limit is {self._max_line_bytes:,}",
        )
        id_ = self._leading_id(line.head, ordinal)
        return rejected(error, id_, ordinal, file, line.number)

    def _leading_id(self, line: bytes, ordinal: int) -> JsonText | None:
        """The id of a row that is not JSON: a string, number or literal that stands first."""
        if self._id_field == ORDINAL_ID:
            return str(ordinal).encode()
        match = self._leading_id_pattern.match(line)
        return _checked(match[1]) if match else None


def _leading_id_pattern(id_field: str) -> re.Pattern[bytes]:
    key = re.escape(msgspec.json.encode(id_field))
    scalar = rb'"(?:[^"\\\x00-\x1f]|\\.){0,1000}"|-?[0-9][0-9.eE+-]{0,100}|true|false|null'
    return re.compile(
        rb"[ \t\r]*\{[ \t\r]*" + key + rb"[ \t\r]*:[ \t\r]*(" + scalar + rb")[ \t\r]*[,}]"
    )


def _checked(value: bytes) -> JsonText | None:
    """The value if it is strict JSON."""
    try:
        value.decode()
        return writable(msgspec.json.decode(value, type=Raw))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
