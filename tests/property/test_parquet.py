"""Parquet and back: what pyarrow wrote is what our rows say, and what we write pyarrow reads."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from support.parquet_files import TEXTS, as_json, loads, read_rows, stored, tables
from textmill.core import Record
from textmill.records.arrow_json import json_texts
from textmill.records.arrow_values import or_null, parser_of, storable
from textmill.records.builder import RecordBuilder
from textmill.records.parquet import ParquetReader
from textmill.records.parquet_columns import ParquetColumns
from textmill.records.parquet_writer import ParquetWriter
from textmill.records.results import result_line
from textmill.records.shape import Shape


def keeping(table: pa.Table) -> Shape:
    return Shape(keep=tuple(n for n in table.column_names if n not in {"id", "text_inputs"}))


@settings(max_examples=150)
@given(tables(), st.sampled_from(["none", "zstd"]), st.integers(1, 4), st.booleans())
def test_every_value_of_every_type_is_what_pyarrow_says(
    table: pa.Table, compression: str, group_rows: int, dictionary: bool
) -> None:
    options = {"compression": compression, "use_dictionary": dictionary}
    data = stored(table, row_group_size=group_rows, **options)
    rows = read_rows(data, keeping(table))
    expected = pq.read_table(io.BytesIO(data)).to_pylist()
    assert [row.line for row in rows] == list(range(1, len(expected) + 1))
    for ordinal, (row, values) in enumerate(zip(rows, expected, strict=True)):
        assert isinstance(row, Record), row
        assert row.ordinal == ordinal
        assert loads(row.id) == values.pop("id")
        assert row.texts == (values.pop("text_inputs"),)
        kept = {loads(name): loads(value) for name, value in row.kept}
        assert kept == {name: as_json(value) for name, value in values.items()}


@settings(max_examples=100)
@given(tables())
def test_json_texts_lead_back_to_the_same_values(table: pa.Table) -> None:
    for column in table.columns:
        array = column.combine_chunks() if column.num_chunks else pa.array([], column.type)
        kind = storable(array.type)
        parse = or_null(parser_of(kind))
        back = pa.array([parse(text) for text in json_texts(array)], kind)
        assert json_texts(back) == json_texts(array)
        if kind == array.type:
            assert back.equals(array)


@settings(max_examples=50)
@given(tables(), st.integers(0, 5), st.integers(0, 5))
def test_slices_of_arrays_are_read_within_their_bounds(
    table: pa.Table, start: int, length: int
) -> None:
    for column in table.columns:
        array = column.combine_chunks() if column.num_chunks else pa.array([], column.type)
        assert json_texts(array.slice(start, length)) == json_texts(array)[start : start + length]


def written(columns: ParquetColumns, lines: Sequence[bytes], cuts: Iterator[int]) -> bytes:
    writer = ParquetWriter(columns)
    out, start = b"", 0
    while start < len(lines):
        end = start + next(cuts, len(lines))
        out += writer.encode(lines[start:end])
        start = end
    return out + writer.finish()


@settings(max_examples=100)
@given(tables(), st.data())
def test_a_written_file_holds_ids_kept_columns_and_texts(
    table: pa.Table, data: st.DataObject
) -> None:
    shape = keeping(table)
    stored_table = stored(table)
    reader = ParquetReader(RecordBuilder(shape))
    rows = read_rows(stored_table, shape, reader=reader)
    texts = data.draw(st.lists(st.lists(TEXTS, max_size=2), min_size=len(rows), max_size=len(rows)))
    lines = [result_line(row, text) for row, text in zip(rows, texts, strict=True)]
    columns = reader.columns(io.BytesIO(stored_table), "in.parquet")
    file = written(columns, lines, iter(data.draw(st.lists(st.integers(1, 3)))))
    found = pq.read_table(io.BytesIO(file))
    assert found.column("generated_texts").to_pylist() == texts
    assert found.column("id").equals(table.column("id"))
    for name in shape.keep:
        original = table.column(name)
        if pa.types.is_null(original.type):
            assert found.column(name).null_count == len(rows)
            continue
        assert found.schema.field(name).type == storable(original.type)
        assert json_texts(found.column(name).combine_chunks()) == json_texts(
            original.combine_chunks()
        )
    assert written(columns, lines, iter([])) == file
