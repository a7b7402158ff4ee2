"""Rows from Python: dicts to lines, and lines to records.

| line | stands for |
|---|---|
| `{…}` | a dict that JSON can hold |
| `[{…}, {"key": ["is …", true]}]` | one with values that JSON cannot hold: null there, and why |
| `["code", "message"]` | an item that is no row |

JSON holds what `json.dumps` writes and reads back the same: text, finite numbers, booleans, None,
lists (tuples are lists) and dicts whose keys are text. Scalars of NumPy are the numbers and texts
that they hold; dates, times and UUIDs are texts, as in a table of Arrow. NaN, NaT and NA stand for
a missing value: null where the column is only copied, and counted. Bytes, sets, infinities and all
else would come back as something else, so they are refused: never the job, but the record that
needs or copies the value.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, time
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
from msgspec import Raw

from textmill.core import Record, Rejected
from textmill.errors import ErrorCode, InvariantError
from textmill.records.base import ByteStream
from textmill.records.builder import Lost, RecordBuilder, rejected
from textmill.records.lines import MAX_LINE_BYTES, LongLine, count_rows, read_lines
from textmill.records.strict import MAX_NESTING
from textmill.records.unfit import Unfit
from textmill.words import kind_of, written

_HINTS: dict[type, str] = {
    bytes: "decode them",
    bytearray: "decode them",
    set: "make it a list",
    frozenset: "make it a list",
    np.ndarray: "make it a list",
}
_SURE = frozenset({int, bool, type(None)})
_MISSING = frozenset({"NAType", "NaTType"})
"""Names of the types that pandas has for a value that is not there."""


def _plain(value: Any) -> object:
    """A value of a type that JSON has not as one that it has. Raises `TypeError`."""
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, np.datetime64):
        return str(np.datetime_as_string(value))
    if isinstance(value, np.generic) and isinstance(item := value.item(), bool | float):
        return item
    return operator.index(value)


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_plain).encode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_pair = msgspec.json.Decoder(tuple[Raw, Raw]).decode
_decode_reasons = msgspec.json.Decoder(dict[str, Lost]).decode
_decode_error = msgspec.json.Decoder(tuple[ErrorCode, str]).decode


def line_of(item: object) -> bytes:
    """The line of one item, with its newline; whatever the item is."""
    if not isinstance(item, Mapping):
        return _refusal(ErrorCode.BAD_RECORD, f"the item is {kind_of(item)}, not a dict")
    row = dict(item)
    for key in row:
        if not isinstance(key, str):
            return _refusal(
                ErrorCode.BAD_RECORD, f"the key {written(key)} is {kind_of(key)}, not text"
            )
        if not _is_unicode(key):
            return _refusal(ErrorCode.BAD_RECORD, f"the key {key!a} holds half a surrogate pair")
    lost = {key: why for key, value in row.items() if (why := _why_not(value))}
    reasons = {key: (one.why, one.refused) for key, one in lost.items()}
    try:
        text = _encode([{**row, **dict.fromkeys(lost)}, reasons] if lost else row).encode()
    except (ValueError, OverflowError) as error:  # an integer of more digits than Python writes
        return _refusal(ErrorCode.BAD_RECORD, f"the item cannot be written as JSON: {error}")
    if len(text) > MAX_LINE_BYTES:
        said = f"the item has {len(text):,} bytes as JSON; the limit is {MAX_LINE_BYTES:,}"
        return _refusal(ErrorCode.TOO_LONG, said)
    return text + b"\n"


def _refusal(code: ErrorCode, message: str) -> bytes:
    return _encode([code, message]).encode(errors="backslashreplace") + b"\n"


def _why_not(value: object) -> Lost | None:
    """Why JSON cannot hold a value; None if it can."""
    if type(value) in _SURE:
        return None
    if _is_missing(value):
        return Lost(f"is {value}, which is no JSON number")
    found = _misfit(value, 2)
    if found is None:
        return None
    where, what = found
    said = f"is {what}" if not where else f"holds, at {where[:100]}, {what}"
    return Lost(said, refused=True)


def _is_missing(value: object) -> bool:
    if isinstance(value, float | np.floating):
        return math.isnan(value)
    return type(value).__name__ in _MISSING or (
        isinstance(value, np.datetime64) and bool(np.isnat(value))
    )


def _misfit(value: object, depth: int) -> tuple[str, str] | None:
    """Where in a value something stands that JSON cannot hold, and what it is.

    depth: levels of lists and dicts that this one would be in, its own and the row's included.
    """
    if type(value) in _SURE or isinstance(value, int):
        return None
    if isinstance(value, str):
        return None if _is_unicode(value) else ("", "text with half a surrogate pair")
    if isinstance(value, float):
        return None if math.isfinite(value) else ("", f"{value}, which is no JSON number")
    if isinstance(value, dict | list | tuple):
        return _inner_misfit(value, depth)
    return _other_misfit(value)


def _other_misfit(value: object) -> tuple[str, str] | None:
    """The same for a value of no type that JSON has."""
    if _is_missing(value):
        return "", f"{value}, which is no JSON number"
    try:
        plain = _plain(value)
    except TypeError:
        return "", _no_json(value)
    return _misfit(plain, 0)


def _inner_misfit(
    value: dict[Any, Any] | list[Any] | tuple[Any, ...], depth: int
) -> tuple[str, str] | None:
    if depth > MAX_NESTING:
        return "", f"something nested deeper than {MAX_NESTING} levels"
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or not _is_unicode(key):
                return "", f"a dict with the key {key!a}, which is no text"
    items: Iterable[tuple[Any, Any]] = (
        value.items() if isinstance(value, dict) else enumerate(value)
    )
    for key, inner in items:
        if found := _misfit(inner, depth + 1):
            return f"[{written(key)}]{found[0]}", found[1]
    return None


def _no_json(value: object) -> str:
    hint = _HINTS.get(type(value), "make it text or a number")
    return f"{kind_of(value)}, which JSON cannot hold: {hint}"


def _is_unicode(text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


class PythonReader:
    """Reads the lines of `line_of`. What was noticed about the rows is in the builder."""

    def __init__(self, builder: RecordBuilder) -> None:
        self.builder = builder

    def read(
        self, source: ByteStream, file: str, first_ordinal: int = 0
    ) -> Iterator[list[Record | Rejected]]:
        """All rows, in order, a block at a time; `line` is the item's number, from 1."""
        ordinal = first_ordinal
        for block in read_lines(source):
            if isinstance(block, LongLine):
                raise InvariantError(f"{file}: line {block.number} is too long")
            numbered = enumerate(block.lines, block.first)
            yield [self._row(line, ordinal + at, file, n) for at, (n, line) in enumerate(numbered)]
            ordinal += len(block.lines)

    def count(self, source: ByteStream, file: str = "the input") -> int:  # noqa: ARG002  never damaged
        """How many rows there are."""
        return count_rows(source)

    def _row(self, line: bytes, ordinal: int, file: str, number: int) -> Record | Rejected:
        if line[:1] == b"{":
            return self.builder.build(_decode_fields(line), ordinal, file, number, line)
        if line[:2] == b'["':
            error = Unfit(*_decode_error(line))
            return rejected(error, self.builder.id_of({}, ordinal), ordinal, file, number)
        row, reasons = _decode_pair(line)
        lost = _decode_reasons(reasons)
        return self.builder.build(_decode_fields(row), ordinal, file, number, bytes(row), lost=lost)
