r"""Plain lines to records: every line that is not blank is a text.

The text is the column `text_inputs`, for prompts as for everything else, without its line end (`\n`
or `\r\n`) and otherwise untouched. The lines have no ids, so each gets its ordinal: a number, from
0 over all inputs.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from textmill.core import Record, Rejected
from textmill.errors import ErrorCode, UsageError
from textmill.records.base import ByteStream
from textmill.records.builder import RecordBuilder, rejected
from textmill.records.lines import MAX_LINE_BYTES, LongLine, count_rows, read_lines
from textmill.records.shape import ORDINAL_ID, TEXT_FIELD
from textmill.records.strict import is_blank
from textmill.records.unfit import Unfit, not_utf8, quoted

ID_FIELD = "id"
"""The column that the ordinal appears as."""

_encode = msgspec.json.Encoder().encode


class LinesReader:
    """Reads files of plain lines. What was noticed about the rows is in the builder."""

    def __init__(self, builder: RecordBuilder, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        """Raises `UsageError` if another column than `id` or `@ordinal` is to be the id."""
        if builder.shape.id_field not in (ID_FIELD, ORDINAL_ID):
            raise UsageError(
                f"plain lines have no column {quoted(builder.shape.id_field)} to be the id",
                hint="leave --id out: lines are numbered",
            )
        self.builder = builder
        self._max_line_bytes = max_line_bytes

    def read(
        self, source: ByteStream, file: str, first_ordinal: int = 0
    ) -> Iterator[list[Record | Rejected]]:
        """All rows of one file, in order, a block at a time (256 KiB of input)."""
        ordinal = first_ordinal
        for block in read_lines(source, max_line_bytes=self._max_line_bytes):
            rows: list[Record | Rejected] = []
            if isinstance(block, LongLine):
                rows.append(self._too_long(block, ordinal, file))
            else:
                for number, line in enumerate(block.lines, block.first):
                    if is_blank(line):
                        self.builder.blank_lines += 1
                    else:
                        rows.append(self._row(line, ordinal + len(rows), file, number))
            ordinal += len(rows)
            if rows:
                yield rows

    def count(self, source: ByteStream, file: str = "the input") -> int:  # noqa: ARG002  such a file is never damaged
        """How many rows `read` yields."""
        return count_rows(source)

    def _row(self, line: bytes, ordinal: int, file: str, number: int) -> Record | Rejected:
        id_ = str(ordinal).encode()
        try:
            text = line.removesuffix(b"\r").decode()
        except UnicodeDecodeError as error:
            unfit = Unfit(ErrorCode.BAD_RECORD, not_utf8(line, error.start, "line"))
            return rejected(unfit, id_, ordinal, file, number)
        fields = {TEXT_FIELD: _encode(text)}
        if self.builder.shape.id_field == ID_FIELD:
            fields[ID_FIELD] = id_
        return self.builder.build(fields, ordinal, file, number)

    def _too_long(self, line: LongLine, ordinal: int, file: str) -> Rejected:
        error = Unfit(
            ErrorCode.TOO_LONG,
            f"the line has {line.size_bytes:,} bytes; the limit is {self._max_line_bytes:,}",
        )
        return rejected(error, str(ordinal).encode(), ordinal, file, line.number)
