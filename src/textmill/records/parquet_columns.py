"""The columns of a Parquet output: which there are, and of which type.

An id gets the type that it has in the input, so that input and output join on it; kept columns
likewise. What comes from JSON Lines has no declared types: `columns_of_lines` looks at the values.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from textmill.core import JsonText
from textmill.records.shape import ORDINAL_ID, Shape

ID, TEXTS = "id", "generated_texts"
_MIN_INT64, _MAX_INT64 = -(2**63), 2**63 - 1
_decode_columns = msgspec.json.Decoder(dict[str, Raw]).decode


class ParquetColumns(Struct, frozen=True):
    """Names and types of an output's columns, without `generated_texts`.

    schema: an Arrow schema as its IPC message: `id`, then the kept columns in order. A column of
        Arrow's null type is one of which no value is known; it is written as a string.
    """

    schema: bytes


def columns_of_schema(shape: Shape, schema: Any) -> ParquetColumns:
    """The columns that a Parquet input with this Arrow schema leads to."""
    import pyarrow as pa

    from textmill.records.arrow_values import storable

    types = {field.name: storable(field.type) for field in schema}
    id_type = pa.int64() if shape.id_field == ORDINAL_ID else types.get(shape.id_field, pa.null())
    return _packed([(ID, id_type), *((name, types.get(name, pa.null())) for name in shape.keep)])


def common_columns(several: Sequence[ParquetColumns]) -> ParquetColumns:
    """One set of columns for several inputs of one job; text where their types differ."""
    schemas = [unpacked(columns) for columns in several]
    names = schemas[0].names
    return _packed([(name, _common([s.field(name).type for s in schemas])) for name in names])


def _common(types: Sequence[Any]) -> Any:
    import pyarrow as pa

    known = [kind for kind in types if kind != pa.null()]
    if not known:
        return pa.null()
    return known[0] if all(kind == known[0] for kind in known) else pa.string()


def columns_of_lines(lines: Iterable[JsonText], shape: Shape) -> ParquetColumns:
    """The columns for these result lines, by all of their values: integers (64 bits), numbers,
    booleans or text. Of a column with values of several kinds, everything becomes text."""
    import pyarrow as pa

    kinds: dict[str, set[str]] = {name: set() for name in (ID, *shape.keep)}
    for line in lines:
        fields = _decode_columns(line)
        for name, seen in kinds.items():
            value = fields.get(name)
            if value is not None and "text" not in seen:
                seen.add(_kind(bytes(value)))
    types = {
        frozenset(): pa.null(),
        frozenset({"integer"}): pa.int64(),
        frozenset({"number"}): pa.float64(),
        frozenset({"boolean"}): pa.bool_(),
    }
    return _packed(
        [(name, types.get(frozenset(seen - {"null"}), pa.string())) for name, seen in kinds.items()]
    )


def _kind(value: bytes) -> str:
    """What a JSON value is. Numbers count as such only if a column of them loses no digit."""
    if value in {b"true", b"false"}:
        return "boolean"
    if value == b"null":
        return "null"
    if value[:1] in b'"[{':
        return "text"
    if value.lstrip(b"-").isdigit():
        whole = len(value) <= 20 and _MIN_INT64 <= int(value) <= _MAX_INT64
        return "integer" if whole and value != b"-0" else "text"
    return "number" if msgspec.json.encode(float(value)) == value else "text"


def _packed(columns: Sequence[tuple[str, Any]]) -> ParquetColumns:
    import pyarrow as pa

    return ParquetColumns(pa.schema(columns).serialize().to_pybytes())


def unpacked(columns: ParquetColumns) -> Any:
    """The Arrow schema."""
    import pyarrow as pa

    return pa.ipc.read_schema(pa.py_buffer(columns.schema))
