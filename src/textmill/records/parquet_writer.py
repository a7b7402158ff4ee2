"""Result lines to Parquet: `id`, the kept columns, `generated_texts` as a list of strings.

The same lines give the same bytes, however they are cut into calls of `encode` (and with the same
release of pyarrow, whose name and number stand in the file). Pages are compressed with zstd.

Needs the extra `textmill[parquet]`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from textmill.core import JsonText
from textmill.errors import OutputError
from textmill.records.parquet_columns import TEXTS, ParquetColumns, unpacked
from textmill.records.unfit import quoted

GROUP_ROWS = 16_384
GROUP_BYTES = 16 << 20
"""A row group ends when it has so many rows, or so many bytes of result lines."""

_decode_columns = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_texts = msgspec.json.Decoder(list[str]).decode


class ParquetWriter:
    """Writes one file. Holds one row group in memory."""

    def __init__(self, columns: ParquetColumns) -> None:
        """Raises `UsageError` without pyarrow."""
        from textmill.records.parquet import pyarrow_parquet

        parquet = pyarrow_parquet()
        self._schema = _output_schema(columns)
        self._parsers = _parsers(self._schema)
        self._sink = _Sink()
        self._writer = parquet.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._lines: list[JsonText] = []
        self._bytes = 0

    def encode(self, lines: Sequence[JsonText]) -> bytes:
        """Bytes to append for these result lines, once they fill a row group; else none.

        Raises `OutputError` for a line whose values are not of the columns' types.
        """
        for line in lines:
            self._lines.append(line)
            self._bytes += len(line)
            if len(self._lines) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
                self._write_group()
        return self._sink.drain()

    def finish(self) -> bytes:
        """Bytes that end the file. Called once, last."""
        if self._lines:
            self._write_group()
        self._writer.close()
        return self._sink.drain()

    def _write_group(self) -> None:
        import pyarrow as pa

        rows = [_decode_columns(line) for line in self._lines]
        names = set(self._schema.names)
        for row in rows:
            if not row.keys() <= names:
                raise OutputError(
                    f"a result has the column {quoted(min(row.keys() - names))}, "
                    "which the Parquet output has not"
                )
        arrays = [self._array(field, rows) for field in self._schema]
        table = pa.Table.from_arrays(arrays, schema=self._schema)
        self._writer.write_table(table, row_group_size=len(rows))
        self._lines, self._bytes = [], 0

    def _array(self, field: Any, rows: Sequence[dict[str, Raw]]) -> Any:
        import pyarrow as pa

        parse = self._parsers[field.name]
        try:
            cells = (row.get(field.name) for row in rows)
            values = [None if cell is None else parse(bytes(cell)) for cell in cells]
            return pa.array(values, field.type)
        except (pa.ArrowException, ValueError, ArithmeticError, LookupError, TypeError) as error:
            raise OutputError(
                f"the column {quoted(field.name)} of the Parquet output is of type {field.type}, "
                f"and a value is not: {error}",
                hint="write JSON Lines, or make the input's columns of one type",
            ) from error


def _output_schema(columns: ParquetColumns) -> Any:
    import pyarrow as pa

    fields = [
        (field.name, pa.string() if field.type == pa.null() else field.type)
        for field in unpacked(columns)
    ]
    return pa.schema([*fields, (TEXTS, pa.list_(pa.string()))])


def _parsers(schema: Any) -> dict[str, Any]:
    from textmill.records.arrow_values import or_null, parser_of

    parsers = {field.name: or_null(parser_of(field.type)) for field in schema}
    return {**parsers, TEXTS: _decode_texts}


def table_bytes(schema: Any, batches: Iterable[Any]) -> Iterator[bytes]:
    """Arrow's record batches as the bytes of a Parquet file, a piece at a time.

    Raises what pyarrow raises.
    """
    from textmill.records.parquet import pyarrow_parquet

    sink = _Sink()
    writer = pyarrow_parquet().ParquetWriter(sink, schema, compression="zstd")
    for batch in batches:
        writer.write_batch(batch, row_group_size=GROUP_ROWS)
        yield sink.drain()
    writer.close()
    yield sink.drain()


class _Sink:
    """A file that pyarrow writes to, emptied from time to time."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._position = 0

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def drain(self) -> bytes:
        data, self._pieces = b"".join(self._pieces), []
        return data
