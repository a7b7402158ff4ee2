"""Which ids are equal, and which have been seen, for many millions of them.

Ids are equal when they are equal as JSON values: `"a"` and `"\\u0061"` are, and so are `1`, `1.0`
and `1e0`, for JSON has one kind of number, compared here by its exact decimal value. `1` and `"1"`
are not, nor `1` and `true`. Objects are equal whatever the order of their keys.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from textmill.core import JsonText, Record, Rejected
from textmill.errors import ErrorCode
from textmill.records.key_set import Intervals, Keys, KeySet, Mask, Numbers, Words

_NUMBER = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
_MAX_DIGITS = 18
_MAX_EXPONENT_DIGITS = 1000
Order = NDArray[np.intp]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIN_INTERVAL = 16


def id_key(id: JsonText) -> int | bytes:
    """A value that is equal, and hashes equally, for equal ids only.

    `id` is one valid JSON value. An int stands for a whole number of up to 18 digits.
    """
    first = id[:1]
    if first == b'"':
        return id if b"\\" not in id else b'"%b"' % msgspec.json.decode(id, type=str).encode()
    if first in b"-0123456789":
        return _number_key(id.decode())
    if first in b"{[":
        value = json.loads(id, parse_int=_Number, parse_float=_Number)
        return repr(_normal(value)).encode("utf-8", "surrogatepass")
    return id


class _Number(str):
    """A number within an array or object, as it was written."""

    __slots__ = ()


def _number_key(text: str) -> int | bytes:
    # The text is a JSON number already, so it matches.
    sign, whole, fraction, power = _NUMBER.fullmatch(text).groups("")  # type: ignore[union-attr]
    if len(power) > _MAX_EXPONENT_DIGITS:  # beyond comparing: equal if written equally
        return text.encode()
    digits = (whole + fraction).lstrip("0")
    exponent = int(power or 0) - len(fraction)
    significant = digits.rstrip("0")
    exponent += len(digits) - len(significant)
    if not significant:
        return 0
    if exponent >= 0 and len(significant) + exponent <= _MAX_DIGITS:
        return int(sign + significant + "0" * exponent)
    return f"{sign}{significant}e{exponent}".encode()


def _normal(value: Any) -> Any:
    """A value made of tuples that has one `repr` per JSON value."""
    if isinstance(value, _Number):
        return "number", _number_key(value)
    if isinstance(value, dict):
        return "object", sorted((key, _normal(item)) for key, item in value.items())
    if isinstance(value, list):
        return "array", [_normal(item) for item in value]
    return value


class SeenIds:
    """All ids of a job, exactly, in little memory.

    Runs of consecutive whole numbers cost next to nothing, any other id 16 bytes: its digest
    (128 bits, so that two ids of a billion share one with a chance under 1e-20), or the number.
    Ids are best added a thousand or more at a time.
    """

    def __init__(self) -> None:
        self._intervals = Intervals(_MIN_INTERVAL)
        self._keys = KeySet()

    @property
    def size_bytes(self) -> int:
        """Memory that the ids take."""
        return self._intervals.size_bytes + self._keys.size_bytes

    def add(self, ids: Sequence[JsonText]) -> list[bool]:
        """For each id whether it was added before, in this call or an earlier one."""
        keys = [int(id) if len(id) <= _MAX_DIGITS and id.isdigit() else id_key(id) for id in ids]
        repeated = np.zeros(len(keys), bool)
        is_number = np.array([type(key) is int for key in keys], bool)
        if numbers := [key for key in keys if type(key) is int]:
            repeated[is_number] = self._add_numbers(np.array(numbers, np.int64))
        if len(numbers) < len(keys):
            digests = [blake2b(key, digest_size=16).digest() for key in keys if type(key) is bytes]
            words = np.frombuffer(b"".join(digests), np.uint64).reshape(-1, 2)
            repeated[~is_number] = self._add_digests(words[:, 0], words[:, 1])
        found: list[bool] = repeated.tolist()
        return found

    def _add_numbers(self, values: Numbers) -> Mask:
        unique, first = np.unique(values, return_index=True)
        known = self._intervals.contains(unique)
        keys, order = _spread(unique[~known])
        in_set = np.empty(len(order), bool)
        in_set[order] = self._keys.contains(keys)
        known[~known] = in_set
        self._keys.insert(_spread(self._intervals.absorb(unique[~known]))[0])
        repeated = np.ones(len(values), bool)
        repeated[first[~known]] = False
        return repeated

    def _add_digests(self, high: Words, low: Words) -> Mask:
        order = np.lexsort((low, high))  # stable: of equal ids, the first comes first
        high, low = high[order], low[order]
        again = np.r_[False, (high[1:] == high[:-1]) & (low[1:] == low[:-1])]
        again[~again] = self._keys.contains(Keys(high[~again], low[~again]))
        self._keys.insert(Keys(high[~again], low[~again]))
        repeated = np.empty(len(order), bool)
        repeated[order] = again
        return repeated


def _spread(values: Numbers) -> tuple[Keys, Order]:
    """Whole numbers as sorted keys, and the order that sorts them.

    Multiplying by an odd number modulo 2**64 is one to one and spreads the first bits evenly.
    """
    high = values.view(np.uint64) * _GOLDEN
    order = np.argsort(high)
    return Keys(high[order], values.view(np.uint64)[order]), order


def reject_repeated(rows: Sequence[Record | Rejected], seen: SeenIds) -> list[Record | Rejected]:
    """`rows` with every record whose id an earlier record has turned into a `Rejected`.

    A row that was rejected before has claimed no id.
    """
    found = seen.add([row.id for row in rows if isinstance(row, Record)])
    if not any(found):
        return [*rows]
    repeated = iter(found)
    return [_repeated(row) if isinstance(row, Record) and next(repeated) else row for row in rows]


def _repeated(record: Record) -> Rejected:
    shown = record.id[:60].decode(errors="ignore")
    return Rejected(
        ordinal=record.ordinal,
        id=record.id,
        file=record.file,
        line=record.line,
        code=ErrorCode.DUPLICATE_ID,
        message=f"the id {shown} is that of an earlier record",
    )
