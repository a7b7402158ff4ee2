r"""CSV and TSV to records.

The first row that is not blank names the columns; every further one becomes one row, a `Record` or
a `Rejected`, with the next ordinal. Quoting is that of RFC 4180 for both: a cell that begins with a
quote ends at the next quote that is not doubled, and may hold delimiters and line ends.

Cells are texts. Only a cell of a generation parameter is read as the JSON value it spells (`50`,
`0.9`, `true`, also `True` and `TRUE`), and says nothing when it is empty.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from itertools import islice

import msgspec
from msgspec import Struct

from textmill.core import JsonText, Record, Rejected
from textmill.errors import ErrorCode, InputError
from textmill.records.base import ByteStream
from textmill.records.builder import RecordBuilder, rejected
from textmill.records.lines import MAX_LINE_BYTES
from textmill.records.quoted import QUOTED, BrokenRow, Rows, cut_rows
from textmill.records.shape import ORDINAL_ID, Shape, plan_columns
from textmill.records.strict import decode_string
from textmill.records.unfit import Unfit, listed, not_utf8, quoted
from textmill.words import counted

COMMA = b","
TAB = b"\t"

MAX_HEADER_BYTES = 1024 * 1024
"""A longer first row names no columns: the file is something else."""

_CONVERT = "write it with commas, for example with csvformat -d '{}'"
_OTHER_MARKS = {
    ",": ("commas", "read it as CSV (--input-format csv)"),
    "\t": ("tabs", "read it as TSV (--input-format tsv)"),
    ";": ("semicolons", _CONVERT.format(";")),
    "|": ("bars", _CONVERT.format("|")),
}

_encode = msgspec.json.Encoder().encode
_decode_any = msgspec.json.Decoder().decode
_LONG_BYTES = 65536
_FLAGS = {"true": b"true", "false": b"false"}


class Columns(Struct, frozen=True):
    """A file's columns. params: those whose cells are parameters."""

    names: tuple[str, ...]
    params: tuple[str, ...]


def other_mark(
    header: str, wanted: Collection[str] | None = None, *, besides: str = ""
) -> tuple[str, str] | None:
    """What may separate the columns of a header, and what to do about it.

    wanted: one of these must be among the columns. besides: a mark that was looked for already.
    """
    for mark, said in _OTHER_MARKS.items():
        if mark == besides:
            continue
        names = [name.strip().strip('"') for name in header.split(mark)]
        if len(names) > 1 and (wanted is None or not set(wanted).isdisjoint(names)):
            return said
    return None


class DelimitedReader:
    """Reads CSV or TSV files. What was noticed about the rows is in the builder."""

    def __init__(
        self, builder: RecordBuilder, delimiter: bytes, *, max_row_bytes: int = MAX_LINE_BYTES
    ) -> None:
        """`delimiter`: one ASCII character, `COMMA` or `TAB`."""
        self.builder = builder
        self._delimiter = delimiter
        self._max_row_bytes = max_row_bytes
        self._white = b" \t".replace(delimiter, b"")
        self.cells = _Cells(delimiter)

    def read(
        self, source: ByteStream, file: str, first_ordinal: int = 0
    ) -> Iterator[list[Record | Rejected]]:
        """All rows of one file, in order, a block at a time (256 KiB of input).

        A file without any row has no records. Raises `InputError` for a header that cannot be one:
        a name that is empty or there twice, text that is not UTF-8, a quote out of place.
        """
        ordinal = first_ordinal
        columns = None
        for block in cut_rows(source, self._delimiter, max_row_bytes=self._max_row_bytes):
            if isinstance(block, BrokenRow):
                if columns is None:
                    raise _bad_header(file, _broken(block, self._max_row_bytes).message)
                rows: list[Record | Rejected] = [self._broken_row(block, columns, file, ordinal)]
            else:
                numbered = zip(block.lines, block.rows, strict=True)
                columns = columns or self.header(numbered, file)
                rows = self._read_rows(numbered, columns, file, ordinal) if columns else []
            ordinal += len(rows)
            if rows:
                yield rows

    def count(self, source: ByteStream, file: str = "the input") -> int:
        """How many rows `read` yields.

        Raises `InputError` as `read` does for a header that cannot be one.
        """
        found = 0
        header = None
        for block in cut_rows(source, self._delimiter, max_row_bytes=self._max_row_bytes):
            header = header or self._first_row(block, file)
            if isinstance(block, Rows):
                found += sum([1 for row in block.rows if row.strip(self._white)])
            else:
                found += 1
        return max(found - 1, 0)

    def _first_row(self, block: Rows | BrokenRow, file: str) -> Columns | None:
        """The columns by the first row that is not blank; None if all of `block` is."""
        if isinstance(block, BrokenRow):
            raise _bad_header(file, _broken(block, self._max_row_bytes).message)
        row = next((row for row in block.rows if row.strip(self._white)), None)
        return None if row is None else self._columns(row, file)

    def header(self, rows: Iterator[tuple[int, bytes]], file: str) -> Columns | None:
        """The columns, or None if all of `rows` are blank. Takes the header from `rows`."""
        for _, row in rows:
            if not self.is_blank(row):
                return self._columns(row, file)
        return None

    def _columns(self, row: bytes, file: str) -> Columns:
        if len(row) > MAX_HEADER_BYTES:
            raise _bad_header(file, f"it has {len(row):,} bytes")
        try:
            names = tuple(map(decode_string, self.cells.json(row, None)))
        except Unfit as error:
            raise _bad_header(file, error.message) from error
        except UnicodeDecodeError as error:
            raise _bad_header(file, not_utf8(row, error.start, "row")) from error
        _check_names(names, file)
        if len(names) == 1:
            self._check_delimiter(names[0], file)
        return Columns(names, plan_columns(self.builder.shape, names).params)

    def _check_delimiter(self, header: str, file: str) -> None:
        """Raise `InputError` if the only column is surely several with something else between."""
        wanted = self.builder.shape.data_columns
        own = self._delimiter.decode()
        found = None if header in wanted else other_mark(header, wanted, besides=own)
        if found is not None:
            raise InputError(f"{file}: its columns are separated by {found[0]}", hint=found[1])

    def is_blank(self, row: bytes) -> bool:
        """Whether a row holds white space only; it is counted."""
        if row.strip(self._white):
            return False
        self.builder.blank_lines += 1
        return True

    def _read_rows(
        self, rows: Iterator[tuple[int, bytes]], columns: Columns, file: str, ordinal: int
    ) -> list[Record | Rejected]:
        read: list[Record | Rejected] = []
        for line, row in rows:
            if not self.is_blank(row):
                read.append(self._row(row, columns, ordinal, file, line))
                ordinal += 1
        return read

    def _row(
        self, row: bytes, columns: Columns, ordinal: int, file: str, line: int
    ) -> Record | Rejected:
        try:
            cells = self.cells.json(row, columns.names)
        except Unfit as error:  # which cell is the id is not certain
            id_ = self._leading_id(b"", columns, ordinal)
            return rejected(error, id_, ordinal, file, line)
        except UnicodeDecodeError as error:
            unfit = Unfit(ErrorCode.BAD_RECORD, not_utf8(row, error.start, "row"))
            return rejected(unfit, self._leading_id(row, columns, ordinal), ordinal, file, line)
        fields = dict(zip(columns.names, cells))  # noqa: B905  as many; the check takes 0.15 µs
        for name in columns.params:
            _read_parameter(fields, name)
        return self.builder.build(fields, ordinal, file, line)

    def _broken_row(self, row: BrokenRow, columns: Columns, file: str, ordinal: int) -> Rejected:
        error = _broken(row, self._max_row_bytes)
        id_ = self._leading_id(row.head, columns, ordinal)
        return rejected(error, id_, ordinal, file, row.line)

    def _leading_id(self, row: bytes, columns: Columns, ordinal: int) -> JsonText | None:
        """The id of a row that cannot be read whole, if it is the first cell and that is whole."""
        id_field = self.builder.shape.id_field
        if id_field == ORDINAL_ID:
            return str(ordinal).encode()
        return self.cells.leading(row) if columns.names[0] == id_field else None


def read_table_values(
    source: ByteStream, delimiter: bytes, file: str, *, max_row_bytes: int = MAX_LINE_BYTES
) -> Iterator[tuple[int, dict[str, JsonText]]]:
    """Each row's 1-based line and its cells by column, as JSON strings.

    For files that must be right as a whole, such as references. Raises `InputError` for a header
    that cannot be one, and for the first row that cannot be read.
    """
    reader = DelimitedReader(RecordBuilder(Shape(id_field=ORDINAL_ID)), delimiter)
    columns = None
    for block in cut_rows(source, delimiter, max_row_bytes=max_row_bytes):
        if isinstance(block, BrokenRow):
            raise _bad_row(file, block.line, _broken(block, max_row_bytes).message)
        numbered = zip(block.lines, block.rows, strict=True)
        columns = columns or reader.header(numbered, file)
        for line, row in numbered:
            if columns and not reader.is_blank(row):
                try:
                    cells = reader.cells.json(row, columns.names)
                except Unfit as error:
                    raise _bad_row(file, line, error.message) from error
                except UnicodeDecodeError as error:
                    raise _bad_row(file, line, not_utf8(row, error.start, "row")) from error
                yield line, dict(zip(columns.names, cells, strict=True))


def _bad_row(file: str, line: int, message: str) -> InputError:
    return InputError(f"{file}, line {line}: {message}")


class _Cells:
    """Splits rows into cells."""

    def __init__(self, delimiter: bytes) -> None:
        self._delimiter = delimiter
        mark = re.escape(delimiter)
        self._to_escape = bytes(range(32)).replace(delimiter, b"") + b"\\"
        cell = rb'(?:%b(?=%b|\Z)|[^"%b][^%b]*+|(?=%b|\Z))' % (QUOTED, mark, mark, mark, mark)
        self._cell = re.compile(mark + b"(" + cell + b")")
        self._leading = re.compile(rb'(%b|[^"%b\r\n][^%b\r\n]*+)%b' % (QUOTED, mark, mark, mark))

    def json(self, row: bytes, columns: Sequence[str] | None) -> list[JsonText]:
        """The cells as JSON strings.

        Raises `Unfit` (bad_record) when they are not as many as `columns` (None: any number), or
        when something follows a closing quote; `UnicodeDecodeError` for what is not UTF-8.
        """
        if not row.isascii():
            row.decode()
        has_quotes = b'"' in row
        if row.translate(None, self._to_escape) != row or (has_quotes and self._escapes(row)):
            return [_encode(_text(cell)) for cell in self._split(row, columns)]
        if has_quotes:  # as it is, a quoted cell is a JSON string
            cells = self._split(row, columns)
            return [cell if cell[:1] == b'"' else _plain_json(cell) for cell in cells]
        _check_count(row.count(self._delimiter) + 1, columns)
        return (b'"%b"' % row.replace(self._delimiter, b'"\0"')).split(b"\0")

    def _escapes(self, row: bytes) -> bool:
        """Whether something between quotes may not stand so in a JSON string."""
        return b'""' in row or self._delimiter < b" "

    def _split(self, row: bytes, columns: Sequence[str] | None) -> list[bytes]:
        """The cells as they are written. Raises `Unfit`."""
        marked = self._delimiter + row
        if columns is None or len(row) < _LONG_BYTES:
            cells: list[bytes] = self._cell.findall(marked)
        else:  # never hold many more cells than there are columns
            found = self._cell.finditer(marked)
            cells = [match[1] for match in islice(found, len(columns) + 1)]
            if len(cells) > len(columns):
                _check_count(len(cells) + sum(1 for _ in found), columns)
        if self._delimiter.join(cells) != row:
            raise self._stray_quote(marked, columns)
        _check_count(len(cells), columns)
        return cells

    def _stray_quote(self, marked: bytes, columns: Sequence[str] | None) -> Unfit:
        """Says in which cell something follows the closing quote."""
        number = end = 0
        for match in self._cell.finditer(marked):
            if match.start() != end:
                break
            number, end = number + 1, match.end()
        name = f" ({quoted(columns[number])})" if columns and number < len(columns) else ""
        return Unfit(
            ErrorCode.BAD_RECORD,
            f"cell {number + 1}{name} goes on after its closing quote: a quote within a quoted "
            'cell is written twice ("")',
        )

    def leading(self, row: bytes) -> JsonText | None:
        """The first cell of a row as a JSON string, if it is whole and in UTF-8."""
        match = self._leading.match(row)
        if match is None:
            return None
        try:
            return _encode(_text(match[1]))
        except UnicodeDecodeError:
            return None


def _plain_json(cell: bytes) -> JsonText:
    """An unquoted cell that holds nothing to escape, except perhaps quotes."""
    return b'"%b"' % (cell.replace(b'"', b'\\"') if b'"' in cell else cell)


def _text(cell: bytes) -> str:
    """What a cell that is written so holds."""
    text = cell.decode()
    return text[1:-1].replace('""', '"') if text[:1] == '"' else text


def _read_parameter(fields: dict[str, JsonText], name: str) -> None:
    """Put the JSON value that a parameter's cell spells in place of its text, if it does."""
    text = decode_string(fields[name]).strip()
    if not text:
        del fields[name]
        return
    literal = _FLAGS.get(text.lower()) or text.encode()
    with suppress(msgspec.MsgspecError, RecursionError):
        _decode_any(literal)
        fields[name] = literal


def _check_count(found: int, columns: Sequence[str] | None) -> None:
    if columns is None or found == len(columns):
        return
    reason = (
        "a cell that holds the delimiter, a quote or a line end must be in quotes"
        if found > len(columns)
        else "cells may be missing, or a line end in a cell is not in quotes"
    )
    raise Unfit(
        ErrorCode.BAD_RECORD,
        f"the row has {counted(found, 'cell')}, the header {len(columns)} ({listed(columns)}):"
        f" {reason}",
    )


def _broken(row: BrokenRow, max_row_bytes: int) -> Unfit:
    where = f"the quote that opens on line {row.opened} is never closed"
    if row.too_long:
        also = f" ({where})" if row.opened else ""
        message = f"the row has {row.size_bytes:,} bytes{also}; the limit is {max_row_bytes:,}"
        return Unfit(ErrorCode.TOO_LONG, message)
    lines = counted(row.taken, "line")
    taken = f": it takes in the {lines} after it" if row.taken else ""
    return Unfit(ErrorCode.BAD_RECORD, where + taken)


def _check_names(names: Sequence[str], file: str) -> None:
    """Raise `InputError` unless every column has a name of its own."""
    for number, name in enumerate(names, 1):
        if not name.strip():
            at_end = " (a delimiter too many at its end?)" if number == len(names) else ""
            raise _bad_header(file, f"column {number} has no name{at_end}")
    if len(set(names)) < len(names):
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise _bad_header(file, f"the name {quoted(twice)} is there twice")


def _bad_header(file: str, what: str) -> InputError:
    return InputError(
        f"{file}: the first row cannot be the header: {what}",
        hint="the first row names the columns, each once; "
        "pandas writes no unnamed index with to_csv(..., index=False)",
    )
