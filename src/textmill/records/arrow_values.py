"""JSON text as Arrow's values: what `arrow_json` wrote, read back into a column of its type.

Imports pyarrow, so it is itself imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pyarrow as pa
from msgspec import Raw
from pyarrow import types

from textmill.records.arrow_json import (
    EPOCH,
    NULL,
    PER_SECOND,
    is_extension,
    is_list,
    is_moment,
    is_number,
    is_uuid,
)

_decode_items = msgspec.json.Decoder(list[Raw]).decode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_string = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode

Parse = Callable[[bytes], Any]
"""From JSON text, never null, to a value that `pyarrow.array` takes for its type."""


def storable(kind: pa.DataType) -> pa.DataType:
    """The type to write values of `kind` as: the same, without what only saves memory.

    Types that have no JSON become strings: no row with such a value gets as far as the output.
    """
    if types.is_dictionary(kind):
        return storable(kind.value_type)
    if is_list(kind):
        return pa.list_(_storable_inside(kind.value_type))
    if types.is_map(kind):
        return pa.map_(_storable_inside(kind.key_type), _storable_inside(kind.item_type))
    if types.is_struct(kind) and len({field.name for field in kind}) == kind.num_fields > 0:
        return pa.struct([(field.name, _storable_inside(field.type)) for field in kind])
    if is_extension(kind) and not is_uuid(kind):
        return storable(kind.storage_type)
    return _storable_leaf(kind)


def _storable_inside(kind: pa.DataType) -> pa.DataType:
    """Within another type: `pyarrow.array` makes no extensions there."""
    return pa.string() if is_uuid(kind) else storable(kind)


def _storable_leaf(kind: pa.DataType) -> pa.DataType:
    if types.is_float16(kind):
        return pa.float32()
    return kind if is_number(kind) or is_moment(kind) or is_uuid(kind) else pa.string()


def parser_of(kind: pa.DataType) -> Parse:
    """What reads the JSON text of a `storable` type back. It raises `ValueError` for other text."""
    for fits, made in _NESTED:
        if fits(kind):
            return made(kind)
    for fits, parse in _SIMPLE:
        if fits(kind):
            return parse
    return _text


def or_null(parse: Parse) -> Parse:
    """The same, with None for null."""
    return lambda text: None if text == NULL else parse(text)


def _text(text: bytes) -> str:
    """A string's content; of any other value, its JSON text."""
    return _decode_string(text) if text[:1] == b'"' else text.decode()


def _uuid_bytes(text: bytes) -> bytes:
    return UUID(_text(text)).bytes


def _instant(text: str, unit: str) -> int:
    """Units since midnight, or since 1970 if there is a date."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    if "T" in whole:
        since = datetime.fromisoformat(whole) - EPOCH
    else:
        since = datetime.combine(EPOCH, time.fromisoformat(whole)) - EPOCH
    seconds = since.days * 86_400 + since.seconds
    return seconds * PER_SECOND[unit] + int(fraction or 0)


def _list_parser(kind: pa.ListType) -> Parse:
    item = or_null(parser_of(kind.value_type))
    return lambda text: [item(bytes(value)) for value in _decode_items(text)]


def _moment_parser(kind: pa.DataType) -> Parse:
    return lambda text: _instant(_decode_string(text), kind.unit)


def _map_parser(kind: pa.MapType) -> Parse:
    item = or_null(parser_of(kind.item_type))
    key = parser_of(kind.key_type)
    plain = is_number(kind.key_type)  # such a key was quoted

    def parse(text: bytes) -> list[tuple[Any, Any]]:
        members = _decode_members(text).items()
        return [
            (key(name.encode() if plain else _encode(name)), item(bytes(value)))
            for name, value in members
        ]

    return parse


def _struct_parser(kind: pa.StructType) -> Parse:
    parsers = {field.name: or_null(parser_of(field.type)) for field in kind}

    def parse(text: bytes) -> dict[str, Any]:
        return {name: parsers[name](bytes(value)) for name, value in _decode_members(text).items()}

    return parse


_NESTED: tuple[tuple[Callable[[Any], bool], Callable[[Any], Parse]], ...] = (
    (is_list, _list_parser),
    (types.is_map, _map_parser),
    (types.is_struct, _struct_parser),
    (types.is_time, _moment_parser),
    (types.is_timestamp, _moment_parser),
)
_SIMPLE: tuple[tuple[Callable[[Any], bool], Parse], ...] = (
    (types.is_integer, msgspec.json.Decoder(int).decode),
    (types.is_floating, msgspec.json.Decoder(float).decode),
    (types.is_boolean, msgspec.json.Decoder(bool).decode),
    (types.is_decimal, lambda text: Decimal(text.decode())),
    (types.is_date, lambda text: date.fromisoformat(_decode_string(text))),
    (is_uuid, _uuid_bytes),
)
