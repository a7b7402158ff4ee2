"""Arrow's values as JSON text. `arrow_values` is the way back.

| Arrow | JSON |
|---|---|
| integers of all widths, decimals | a number with all its digits |
| floats | the shortest number that reads back the same; NaN and infinities have no JSON |
| strings, also dictionary-encoded | a string; bytes that are no UTF-8 have no JSON |
| booleans, nulls | themselves |
| dates, times, timestamps | ISO 8601; with a zone as the instant in UTC (`…Z`); years 1 to 9999 |
| UUIDs | a string |
| lists, structs, maps | arrays, objects, objects; a key twice has no JSON |
| everything else (bytes, durations) | none |

Imports pyarrow, so it is itself imported where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import msgspec
import pyarrow as pa
from msgspec import Struct
from pyarrow import types

from textmill.records.results import json_string
from textmill.records.strict import MAX_NESTING


class NoJson(Struct, frozen=True):
    """A value that JSON cannot say. `reason` goes after the column's name.

    refused: null would say something else.
    """

    reason: str
    refused: bool = False


Cell = bytes | NoJson
"""A value as JSON text, or why there is none."""

NULL = b"null"

_encode = msgspec.json.Encoder().encode
EPOCH = datetime(1970, 1, 1)
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_DAY_MS = 86_400_000
_OUT_OF_YEARS = NoJson("is outside the years 1 to 9999")
_NOT_THERE = NoJson("is not in its dictionary")
_KEY_TWICE = NoJson("has a key twice")
_TOO_DEEP = NoJson(f"is nested deeper than {MAX_NESTING} levels")


def json_texts(array: pa.Array, depth: int = 1) -> list[Cell]:
    """Every value of an array, in order. `depth`: levels of JSON around it, the row's included."""
    kind = array.type
    if types.is_nested(kind) and depth >= MAX_NESTING:
        return _constant(array, _TOO_DEEP)
    for fits, texts in _CONTAINERS:
        if fits(kind):
            return texts(array, depth)
    for fits, text in _LEAVES:
        if fits(kind):
            return _leaves(array, text)
    return _moments(array)


def _moments(array: pa.Array) -> list[Cell]:
    """Dates and times by their numbers, which reach further than Python's own types."""
    kind = array.type
    if types.is_date32(kind):
        return _leaves(array.view(pa.int32()), _date)
    if types.is_date64(kind):
        return _leaves(array.view(pa.int64()), lambda value: _date(value // _DAY_MS))
    if types.is_time(kind):
        integers = array.view(pa.int32() if types.is_time32(kind) else pa.int64())
        return _leaves(integers, lambda value: _time(value, kind.unit))
    if types.is_timestamp(kind):
        zone = "Z" if kind.tz else ""
        return _leaves(array.view(pa.int64()), lambda value: _timestamp(value, kind.unit, zone))
    return _constant(array, NoJson(f"holds {kind}, which is neither text nor a number"))


def _constant(array: pa.Array, cell: Cell) -> list[Cell]:
    return [cell if valid else NULL for valid in array.is_valid().to_pylist()]


def _leaves(array: pa.Array, text: Callable[[Any], Cell]) -> list[Cell]:
    return [NULL if value is None else text(value) for value in array.to_pylist()]


def _strings(array: pa.Array, _: int) -> list[Cell]:
    try:
        return [NULL if value is None else json_string(value) for value in array.to_pylist()]
    except UnicodeDecodeError:
        return _leaves(array.view(_AS_BYTES[str(array.type)]), _utf8)


_AS_BYTES = {
    "string": pa.binary(),
    "large_string": pa.large_binary(),
    "string_view": pa.binary_view(),
}


def _utf8(value: bytes) -> Cell:
    try:
        return json_string(value.decode())
    except UnicodeDecodeError as error:
        return NoJson(f"is not UTF-8: byte 0x{value[error.start]:02x} at byte {error.start + 1}")


def _float(value: Any) -> Cell:
    number = float(value)
    if math.isfinite(number):
        return _encode(number)
    return NoJson(f"is {number}, not a JSON number", refused=math.isinf(number))


def _date(days: int) -> Cell:
    try:
        return b'"%b"' % (EPOCH + timedelta(days)).date().isoformat().encode()
    except OverflowError:
        return _OUT_OF_YEARS


def _time(value: int, unit: str) -> Cell:
    seconds, fraction = divmod(value, PER_SECOND[unit])
    if not 0 <= seconds < 86_400:
        return NoJson("is no time of a day")
    text = (EPOCH + timedelta(seconds=seconds)).time().isoformat("seconds")
    return b'"%b%b"' % (text.encode(), _fraction(fraction, unit))


def _timestamp(value: int, unit: str, zone: str) -> Cell:
    seconds, fraction = divmod(value, PER_SECOND[unit])
    try:
        text = (EPOCH + timedelta(seconds=seconds)).isoformat("T", "seconds")
    except OverflowError:
        return _OUT_OF_YEARS
    return b'"%b%b%b"' % (text.encode(), _fraction(fraction, unit), zone.encode())


def _fraction(value: int, unit: str) -> bytes:
    """The part of a second, in all the digits of the unit; nothing for a whole second."""
    return b".%0*d" % (_DIGITS[unit], value) if value else b""


def _uuid(value: bytes) -> Cell:
    return b'"%b"' % str(UUID(bytes=value)).encode()


def _extension(array: pa.ExtensionArray, depth: int) -> list[Cell]:
    if is_uuid(array.type):
        return _leaves(array.storage, _uuid)
    return json_texts(array.storage, depth)


def _dictionary(array: pa.DictionaryArray, depth: int) -> list[Cell]:
    values = json_texts(array.dictionary, depth)
    known = range(len(values))  # below a null struct any index may stand
    return _leaves(array.indices, lambda index: values[index] if index in known else _NOT_THERE)


def _lists(array: pa.Array, depth: int) -> list[Cell]:
    valid = array.is_valid().to_pylist()
    if types.is_fixed_size_list(array.type):
        size = array.type.list_size
        starts = range(array.offset * size, (array.offset + len(array)) * size, size or 1)
        spans = [(start, start + size) for start in starts] if size else [(0, 0)] * len(array)
        values = json_texts(array.values, depth + 1)
    else:
        spans, values = _spans(array), json_texts(_used(array, array.values), depth + 1)
    return [
        _joined(b"[%b]", values[start:end]) if there else NULL
        for there, (start, end) in zip(valid, spans, strict=True)
    ]


def _maps(array: pa.MapArray, depth: int) -> list[Cell]:
    keys = [_key(cell) for cell in json_texts(_used(array, array.keys), depth + 1)]
    items = json_texts(_used(array, array.items), depth + 1)
    members = [_member(key, item) for key, item in zip(keys, items, strict=True)]
    return [
        _map(keys[start:end], members[start:end]) if there else NULL
        for there, (start, end) in zip(array.is_valid().to_pylist(), _spans(array), strict=True)
    ]


def _map(keys: list[Cell], members: list[Cell]) -> Cell:
    return _joined(b"{%b}", members) if len(set(keys)) == len(keys) else _KEY_TWICE


def _key(cell: Cell) -> Cell:
    """A map's key as an object's: text stays, numbers are quoted."""
    if isinstance(cell, NoJson) or cell.startswith(b'"'):
        return cell
    return NoJson("has a key that is no text") if cell[:1] in b"[{" else b'"%b"' % cell


def _spans(array: pa.Array) -> list[tuple[int, int]]:
    """Where each list begins and ends within the values that the array uses."""
    offsets = array.offsets.to_pylist()
    first = offsets[0] if offsets else 0
    if any(end < start for start, end in pairwise(offsets)):
        raise ValueError("a list ends before it begins")
    return [(a - first, b - first) for a, b in pairwise(offsets)]


def _used(array: pa.Array, values: pa.Array) -> pa.Array:
    """The stretch of `values` that the lists of `array` are made of."""
    first, last = array.offsets[0].as_py(), array.offsets[-1].as_py()
    if not 0 <= first <= last <= len(values):
        raise ValueError("a list reaches beyond its values")
    return values.slice(first, last - first)


def _objects(array: pa.StructArray, depth: int) -> list[Cell]:
    names = [field.name for field in array.type]
    if len(set(names)) < len(names):
        return _constant(array, _KEY_TWICE)
    keys = [json_string(name) for name in names]
    columns = [json_texts(array.field(index), depth + 1) for index in range(len(names))]
    rows: Iterable[Sequence[Cell]] = zip(*columns, strict=True) if columns else [()] * len(array)
    return [
        _joined(b"{%b}", [_member(key, cell) for key, cell in zip(keys, row, strict=True)])
        if there
        else NULL
        for there, row in zip(array.is_valid().to_pylist(), rows, strict=True)
    ]


def _member(key: Cell, value: Cell) -> Cell:
    if isinstance(key, NoJson):
        return key
    return value if isinstance(value, NoJson) else b"%b: %b" % (key, value)


def _joined(brackets: bytes, cells: list[Cell]) -> Cell:
    texts = []
    for cell in cells:
        if isinstance(cell, NoJson):
            return cell
        texts.append(cell)
    return brackets % b", ".join(texts)


def is_text(kind: pa.DataType) -> bool:
    """Strings of every layout."""
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def is_number(kind: pa.DataType) -> bool:
    """Numbers and booleans: what JSON writes without quotes."""
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_boolean(kind)
    )


def is_moment(kind: pa.DataType) -> bool:
    """Dates, times of a day and timestamps: what JSON writes as ISO 8601."""
    return bool(types.is_date(kind) or types.is_time(kind) or types.is_timestamp(kind))


def is_list(kind: pa.DataType) -> bool:
    """Lists that say where each of them begins and ends, and those of one length."""
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def is_extension(kind: pa.DataType) -> bool:
    """Types that say what another type is used for."""
    return isinstance(kind, pa.BaseExtensionType)


def is_uuid(kind: pa.DataType) -> bool:
    """The one extension with a text of its own."""
    return is_extension(kind) and kind.extension_name == "arrow.uuid"


_CONTAINERS: tuple[tuple[Callable[[Any], bool], Callable[[Any, int], list[Cell]]], ...] = (
    (is_text, _strings),
    (is_list, _lists),
    (types.is_struct, _objects),
    (types.is_map, _maps),
    (types.is_dictionary, _dictionary),
    (is_extension, _extension),
)
_LEAVES: tuple[tuple[Callable[[Any], bool], Callable[[Any], Cell]], ...] = (
    (types.is_integer, lambda value: b"%d" % value),
    (types.is_floating, _float),
    (types.is_boolean, lambda value: b"true" if value else b"false"),
    (types.is_decimal, lambda value: format(value, "f").encode()),
    (types.is_null, lambda _: NULL),
)
