"""Parquet files in memory, tables of arbitrary types, and what their values are as JSON."""

from __future__ import annotations

import io
import json
import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from textmill.core import Record, Rejected
from textmill.records.builder import RecordBuilder
from textmill.records.parquet import ParquetReader
from textmill.records.parquet_columns import ParquetColumns
from textmill.records.shape import ORDINAL_ID, Shape


def stored(table: pa.Table, **options: Any) -> bytes:
    """The table as a file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def read_rows(
    data: bytes, shape: Shape, *, reader: ParquetReader | None = None
) -> list[Record | Rejected]:
    reader = reader or ParquetReader(RecordBuilder(shape))
    return [row for rows in reader.read(io.BytesIO(data), "in.parquet") for row in rows]


def as_json(value: Any) -> Any:
    """A value of `to_pylist` as `json.loads` would give it, floats as decimals."""
    match value:
        case float():
            assert math.isfinite(value)
            return Decimal(repr(value))
        case datetime():
            instant = value if value.tzinfo is None else value.astimezone(UTC)
            text = instant.replace(tzinfo=None).isoformat(timespec="microseconds")
            return text.removesuffix(".000000") + ("Z" if value.tzinfo else "")
        case date() | UUID():
            return str(value)
        case time():
            return value.isoformat(timespec="microseconds").removesuffix(".000000")
        case dict():
            return {key: as_json(item) for key, item in value.items()}
        case list() if value and isinstance(value[0], tuple):
            return {_key(key): as_json(item) for key, item in value}
        case list():
            return [as_json(item) for item in value]
    return value


def _key(key: Any) -> str:
    return key if isinstance(key, str) else json.dumps(key)


def loads(text: bytes) -> Any:
    return json.loads(text, parse_float=Decimal)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = st.text("abcdefg._ é", min_size=1, max_size=5)
YEARS = {"min_value": datetime(1, 1, 2), "max_value": datetime(9999, 12, 30)}
SIMPLE: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    *((getattr(pa, f"int{n}")(), st.integers(-(2 ** (n - 1)), 2 ** (n - 1) - 1)) for n in (8, 32)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.uint16(), st.integers(0, 2**16 - 1)),
    (pa.float64(), st.floats(allow_nan=False, allow_infinity=False)),
    (pa.float32(), st.floats(allow_nan=False, allow_infinity=False, width=32)),
    (pa.bool_(), st.booleans()),
    (pa.string(), TEXTS),
    (pa.large_string(), TEXTS),
    (pa.string_view(), TEXTS),
    (pa.dictionary(pa.int32(), pa.string()), TEXTS),
    (pa.decimal128(30, 4), st.decimals(-(10**20), 10**20, places=4)),
    (pa.decimal256(60, 0), st.integers(-(10**50), 10**50).map(Decimal)),
    (pa.date32(), st.dates(min_value=date(1, 1, 1))),
    (pa.timestamp("us"), st.datetimes(**YEARS)),
    (
        pa.timestamp("us", "Asia/Tokyo"),
        st.datetimes(**YEARS, timezones=st.just(UTC)),
    ),
    (pa.time64("us"), st.times()),
    (pa.uuid(), st.uuids().map(lambda value: value.bytes)),
    (pa.null(), st.none()),
]


def columns(depth: int = 2) -> st.SearchStrategy[tuple[pa.DataType, st.SearchStrategy[Any]]]:
    """A type, and the strategy of its values, null included."""
    simple = st.sampled_from(SIMPLE).map(lambda pair: (pair[0], st.none() | pair[1]))
    if not depth:
        return simple
    inner = columns(depth - 1).filter(lambda pair: not _only_outside(pair[0]))
    return st.one_of(
        simple,
        inner.map(lambda p: (pa.list_(p[0]), st.none() | st.lists(p[1], max_size=3))),
        inner.map(lambda p: (pa.large_list(p[0]), st.none() | st.lists(p[1], max_size=3))),
        inner.map(lambda p: (pa.list_(p[0], 2), st.none() | st.tuples(p[1], p[1]).map(list))),
        inner.map(lambda p: (pa.map_(pa.string(), p[0]), _maps(TEXTS, p[1]))),
        inner.map(lambda p: (pa.map_(pa.int32(), p[0]), _maps(st.integers(-9, 9), p[1]))),
        st.dictionaries(NAMES, inner, min_size=1, max_size=3).map(_struct),
    )


def _only_outside(kind: pa.DataType) -> bool:
    """Types that pyarrow does not make, or not write, within others."""
    types = pa.types
    view = types.is_string_view(kind) or types.is_dictionary(kind)
    return view or types.is_null(kind) or isinstance(kind, pa.BaseExtensionType)


def _maps(keys: st.SearchStrategy[Any], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Not empty: `to_pylist` of an empty map is an empty list, and tells nothing."""
    items = st.dictionaries(keys, values, min_size=1, max_size=3)
    return st.none() | items.map(lambda found: list(found.items()))


def _struct(
    fields: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]],
) -> tuple[pa.DataType, st.SearchStrategy[Any]]:
    kind = pa.struct([(name, field[0]) for name, field in fields.items()])
    values = st.fixed_dictionaries({name: field[1] for name, field in fields.items()})
    return kind, st.none() | values


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Columns `id` (int64, no null), `text_inputs` (text), and up to three of any type."""
    count = draw(st.integers(0, 6))
    names = draw(st.lists(NAMES, max_size=3, unique=True))
    texts = draw(st.lists(TEXTS, min_size=count, max_size=count))
    arrays = {
        "id": pa.array(range(count), pa.int64()),
        "text_inputs": pa.array([f"x{text}" for text in texts], pa.string()),
    }
    for name in names:
        kind, values = draw(columns())
        arrays[name] = pa.array(draw(st.lists(values, min_size=count, max_size=count)), kind)
    return pa.table(arrays)


def text_columns(shape: Shape) -> ParquetColumns:
    """Everything as text, ordinals as integers."""
    id_type = pa.int64() if shape.id_field == ORDINAL_ID else pa.string()
    schema = pa.schema([("id", id_type), *((name, pa.string()) for name in shape.keep)])
    return ParquetColumns(schema.serialize().to_pybytes())
