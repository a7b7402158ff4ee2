"""Arrow's tables in all their shapes, from Python: as the bytes of one Parquet file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from textmill.errors import InputError
from textmill.records.parquet import pyarrow_parquet
from textmill.records.parquet_writer import table_bytes
from textmill.words import kind_of


def is_table(value: object) -> bool:
    """Whether rows of Arrow are in it: tables, record batches, readers of them, data sets, and
    tables of other libraries that speak Arrow's interface."""
    return any(
        hasattr(value, name) for name in ("to_batches", "__arrow_c_stream__", "__arrow_c_array__")
    )


def bytes_of_tables(tables: Iterable[Any]) -> Iterator[bytes]:
    """The rows of tables (`is_table`) of the same columns, one after the other.

    Raises `InputError` for columns that are not the same, or of a type that Parquet has not;
    `UsageError` without pyarrow.
    """
    pyarrow_parquet()
    import pyarrow as pa

    try:
        readers = map(_reader, _only_tables(tables))
        first = next(readers)
        yield from table_bytes(first.schema, _batches(first, readers))
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise InputError(
            f"the Arrow table cannot be read as Parquet: {_first_line(error)}",
            hint="leave that column out, or cast it",
        ) from error


def _only_tables(items: Iterable[Any]) -> Iterator[Any]:
    for place, item in enumerate(items, 1):
        if not is_table(item):
            raise mixed(f"item {place} is {kind_of(item)}, and those before it are tables")
        yield item


def mixed(what: str) -> InputError:
    """Tables and rows in one input, which nothing says how to read together."""
    hint = "give tables only, or rows only: [*table.to_pylist(), …]"
    return InputError(what, hint=hint)


def _batches(first: Any, others: Iterable[Any]) -> Iterator[Any]:
    yield from first
    for reader in others:
        if reader.schema != first.schema:
            raise InputError(
                "the Arrow tables have not the same columns:"
                f" {_columns(first)}; then {_columns(reader)}",
                hint="give them the same columns in the same order, or run them as jobs of their"
                " own",
            )
        yield from reader


def _columns(reader: Any) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in reader.schema)


def _reader(table: Any) -> Any:
    """A reader of the table's batches."""
    import pyarrow as pa

    if hasattr(table, "scanner"):  # a data set
        return table.scanner().to_reader()
    if hasattr(table, "to_reader"):
        return table.to_reader()
    if hasattr(table, "__arrow_c_stream__"):
        return pa.RecordBatchReader.from_stream(table)
    batch = pa.record_batch(table)
    return pa.RecordBatchReader.from_batches(batch.schema, [batch])


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
