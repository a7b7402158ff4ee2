"""Parquet to records, and what a Parquet output takes over from it.

A file is read row group by row group and page by page, only those columns that a record can use.
Values become JSON text (`arrow_json`), so that a Parquet input gives the records that the same
rows as JSON Lines would give. Two things differ, because a table has every column in every row:
null in a column named like a generation parameter means that the row does not set it, and a value
that JSON cannot say (NaN, bytes) spoils its row only if the record needs it, as its id, text or
parameter; in a column that is only copied, it is null, and counted.

Needs the extra `textmill[parquet]`.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from msgspec import Raw

from textmill.core import JsonText, Record, Rejected
from textmill.errors import InputError, TextmillError, UsageError
from textmill.records.base import SeekableStream
from textmill.records.builder import Lost, RecordBuilder
from textmill.records.parquet_columns import ParquetColumns, columns_of_schema
from textmill.records.unfit import listed

if TYPE_CHECKING:
    from textmill.records.arrow_json import Cell

MIN_BATCH_ROWS, MAX_BATCH_ROWS = 16, 512
BATCH_BYTES = 2 << 20
_READ_AHEAD_BYTES = 64 << 10

_NULL = Raw(b"null")
_NO_TEXT = Raw(b'""')


class ParquetReader:
    """Reads Parquet files. What was noticed about the rows is in the builder."""

    def __init__(self, builder: RecordBuilder, *, whole_rows: bool = False) -> None:
        """`whole_rows`: give the builder every column, not only those that its shape reads."""
        self.builder = builder
        self._whole_rows = whole_rows

    def read(
        self, source: SeekableStream, file: str, first_ordinal: int = 0
    ) -> Iterator[list[Record | Rejected]]:
        """All rows of one file, in order, at most `MAX_BATCH_ROWS` at a time; `line` is the row's
        number, from 1.

        Raises `InputError` for a file that is damaged, cut off, encrypted or has two columns of
        one name, and `UsageError` without pyarrow.
        """
        with damage_reported(file):
            table = _Table(source, file)
            names = table.names if self._whole_rows else self._columns_read(table.names)
            maker = _RowMaker(self.builder, table.blanks, names, file)
        done = 0
        for columns, count in table.batches(names):
            with damage_reported(file):
                rows = maker.rows(columns, count, first_ordinal + done, done + 1)
            done += count
            yield rows

    def count(self, source: SeekableStream, file: str = "the input") -> int:
        """How many rows `read` would yield, by the file's own footer. Raises as `read` does."""
        with damage_reported(file):
            return _Table(source, file).row_count

    def columns(self, source: SeekableStream, file: str) -> ParquetColumns:
        """The columns of a Parquet output of this input. Raises as `read` does."""
        with damage_reported(file):
            return columns_of_schema(self.builder.shape, _Table(source, file).schema)

    def _columns_read(self, names: Sequence[str]) -> list[str]:
        shape = self.builder.shape
        read = shape.data_columns | (shape.parameters if shape.record_params else frozenset())
        return [name for name in names if name in read]


def read_parquet_values(
    source: SeekableStream, file: str
) -> Iterator[tuple[int, dict[str, JsonText]]]:
    """Each row's 1-based number and its columns, values as JSON text.

    For files that must be right as a whole, such as references. Raises as `ParquetReader.read`
    does; a column with a value that JSON cannot say is left out of its row.
    """
    with damage_reported(file):
        table = _Table(source, file)
    done = 0
    for columns, count in table.batches(table.names):
        for number, row in enumerate(zip(*columns, strict=True), done + 1):
            cells = zip(table.names, row, strict=True)
            yield number, {name: cell for name, cell in cells if isinstance(cell, bytes)}
        done += count


class _RowMaker:
    """Rows of one file from its columns."""

    def __init__(
        self, builder: RecordBuilder, blanks: Mapping[str, Raw], names: Sequence[str], file: str
    ) -> None:
        """`blanks`: all columns in order, with a value to show where a column is not read."""
        self._builder, self._blanks, self._names, self._file = builder, blanks, names, file
        shape = builder.shape
        known = shape.parameters - shape.data_columns if shape.record_params else frozenset()
        self._parameters = frozenset(names) & known

    def rows(
        self, columns: Sequence[list[Cell]], count: int, ordinal: int, line: int
    ) -> list[Record | Rejected]:
        """The rows of a batch, the first of which has this ordinal and line."""
        by_row = zip(*columns, strict=True) if columns else iter([()] * count)
        return [
            self._row(cells, ordinal + index, line + index) for index, cells in enumerate(by_row)
        ]

    def _row(self, cells: Sequence[Cell], ordinal: int, line: int) -> Record | Rejected:
        fields: dict[str, Raw] = dict(self._blanks)
        lost: dict[str, Lost] = {}
        for name, cell in zip(self._names, cells, strict=True):
            if not isinstance(cell, bytes):
                fields[name], lost[name] = _NULL, Lost(cell.reason, cell.refused)
            elif cell == b"null" and name in self._parameters:
                del fields[name]
            else:
                fields[name] = Raw(cell)
        return self._builder.build(fields, ordinal, self._file, line, lost=lost)


class _Table:
    """An open Parquet file."""

    def __init__(self, source: SeekableStream, file: str) -> None:
        parquet = pyarrow_parquet()
        self._file_name = file
        # Page by page: without this, a whole column of a row group is in memory at once.
        self._file = parquet.ParquetFile(
            _WholeReads(source),
            buffer_size=_READ_AHEAD_BYTES,
            pre_buffer=False,
            page_checksum_verification=True,
        )
        self.schema = self._file.schema_arrow
        self.names: list[str] = self.schema.names
        self.row_count: int = self._file.metadata.num_rows
        _refuse_repeats(self.names, file)

    @property
    def blanks(self) -> dict[str, Raw]:
        """A stand-in for the value of each column: an empty text, or null."""
        texts = {"string", "large_string", "string_view"}
        return {f.name: _NO_TEXT if str(f.type) in texts else _NULL for f in self.schema}

    def batches(self, names: Sequence[str]) -> Iterator[tuple[list[list[Cell]], int]]:
        """The columns of these names, and how many rows they have, a few rows at a time."""
        from textmill.records.arrow_json import json_texts

        wanted = list(names) or self.names[:1]  # rows cannot be counted on without a column
        rows = 0
        for index in range(self._file.num_row_groups):
            place = self._place(index, rows)
            for batch in self._row_group(index, wanted, place):
                with damage_reported(place):
                    columns = [json_texts(batch.column(name)) for name in names]
                rows += batch.num_rows
                yield columns, batch.num_rows
        if rows != self.row_count:
            raise _damaged(
                self._file_name, f"it has {rows:,} rows, and by its footer {self.row_count:,}"
            )

    def _place(self, index: int, before: int) -> str:
        """A row group as messages name it. `before`: the rows that stand before it."""
        with damage_reported(self._file_name):
            count = self._file.metadata.row_group(index).num_rows
        return (
            f"{self._file_name}, row group {index + 1:,} of {self._file.num_row_groups:,}"
            f" (rows {before + 1:,} to {before + count:,})"
        )

    def _row_group(self, index: int, names: Sequence[str], place: str) -> Iterator[Any]:
        with damage_reported(place):
            batches = self._file.iter_batches(
                batch_size=_batch_rows(self._file.metadata.row_group(index)),
                row_groups=[index],
                columns=list(names),
                use_threads=False,
            )
        while (batch := self._next(batches, place)) is not None:
            yield batch

    def _next(self, batches: Iterator[Any], place: str) -> Any:
        with damage_reported(place):
            return next(batches, None)


def _batch_rows(group: Any) -> int:
    """How many rows take about `BATCH_BYTES`, by what the file says about its row group.

    By all its columns, also those that are not read: to ask about a single one kills the process
    (pyarrow 26) when that one is encrypted.
    """
    size_bytes = group.total_byte_size
    if size_bytes <= 0:
        return MAX_BATCH_ROWS
    rows: int = BATCH_BYTES * group.num_rows // size_bytes
    return max(MIN_BATCH_ROWS, min(MAX_BATCH_ROWS, rows))


class _WholeReads(io.RawIOBase):
    """The source as Arrow wants it: a short read would mean the end of the file."""

    def __init__(self, source: SeekableStream) -> None:
        self._source = source

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return self._source.read()
        pieces = []
        while size > 0 and (data := self._source.read(size)):
            pieces.append(data)
            size -= len(data)
        return b"".join(pieces)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def pyarrow_parquet() -> Any:
    """pyarrow's module for Parquet. Raises `UsageError` where it is not installed."""
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise UsageError(
            f"Parquet needs a library that is not installed ({error.name})",
            hint="pip install 'textmill[parquet]'",
        ) from error
    return pyarrow.parquet


def _refuse_repeats(names: Sequence[str], file: str) -> None:
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise InputError(
            f"{file} has several columns of the name {listed(twice)}",
            hint="rename all but one; nobody could say which is meant",
        )


@contextmanager
def damage_reported(file: str) -> Iterator[None]:
    """Turn what pyarrow raises for a file that it cannot read into `InputError`.

    file: its name, and where in it, for the message.
    """
    pyarrow_parquet()
    import pyarrow

    try:
        yield
    except TextmillError:
        raise
    except (
        pyarrow.ArrowException,
        ArithmeticError,
        LookupError,
        MemoryError,
        OSError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise _damaged(file, str(error)) from error


def _damaged(file: str, reason: str) -> InputError:
    """What to say about a file that pyarrow refused for this reason."""
    reason = (reason.strip().splitlines() or ["nothing more is known"])[0]
    if "crypt" in reason:
        return InputError(
            f"{file} is encrypted", hint="textmill has no keys: decrypt it into another file"
        )
    if "magic bytes" in reason or "footer" in reason:
        return InputError(
            f"{file} is no whole Parquet file: {reason}",
            hint="it was not copied or written to its end, or is of another format",
        )
    return InputError(
        f"{file} is damaged, or uses a feature of Parquet that is not supported: {reason}",
        hint="fetch or make it again; with a mended file it is another job (--fresh)",
    )
