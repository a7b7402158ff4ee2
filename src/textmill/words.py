"""How numbers of things, and values, are said in messages."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from itertools import islice

_MOST_CHARACTERS, _MOST_ITEMS, _MOST_LEVELS = 120, 6, 3
_MOST_BITS = 256
"""Of an integer that is written out: Python refuses to for thousands of digits."""

_PRINTED = frozenset({"datetime", "decimal", "fractions", "uuid", "numpy"})
"""Modules whose values are known by what `str` makes of them, such as a date."""


def counted(count: int, thing: str, things: str | None = None) -> str:
    """`1 row`, `1,234 rows`. things: the plural where it is not `thing` with an s."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {things or thing + 's'}"


def written(value: object, most: int = _MOST_CHARACTERS) -> str:
    """A value as people write it: data as JSON, a path as it is; one line, cut after `most`
    characters whatever the value."""
    text = _written(value, most, _MOST_LEVELS)
    return text if len(text) <= most + 3 else text[:most] + "…"  # quotes and "…" do not count


def kind_of(value: object) -> str:
    """What a value is, with its article: `a list`, `an int`, `null`, `a numpy.ndarray`."""
    if value is None or isinstance(value, bytes):
        return "null" if value is None else "bytes"
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"


def _written(value: object, most: int, levels: int) -> str:
    if value is None or isinstance(value, bool | float):
        return json.dumps(value)
    if isinstance(value, str | bytes):
        return _text(value, most)
    if isinstance(value, int):
        bits = value.bit_length()
        return str(int(value)) if bits <= _MOST_BITS else f"an integer of {bits} bits"
    if isinstance(value, Mapping | list | tuple):
        return _collection(value, most, levels)
    return _other(value)


def _text(value: str | bytes, most: int) -> str:
    short = value[: most + 1]
    text = short if isinstance(short, str) else short.decode(errors="backslashreplace")
    text = text if len(text) <= most else text[:most] + "…"
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _collection(
    value: Mapping[object, object] | list[object] | tuple[object, ...], most: int, levels: int
) -> str:
    if isinstance(value, Mapping):
        opens, closes, shown = (
            "{",
            "}",
            (
                f"{_written(key, most, 0)}: {_written(item, most, levels - 1)}"
                for key, item in islice(value.items(), _MOST_ITEMS)
            ),
        )
    else:
        opens, closes = "[", "]"
        shown = (_written(item, most, levels - 1) for item in value[:_MOST_ITEMS])
    if value and not levels:
        return f"{opens}…{closes}"
    return f"{opens}{', '.join(shown)}{', …' if len(value) > _MOST_ITEMS else ''}{closes}"


def _other(value: object) -> str:
    is_known = type(value).__module__.partition(".")[0] in _PRINTED
    if isinstance(value, os.PathLike) or (is_known and not hasattr(value, "__len__")):
        return str(value)
    return kind_of(value)
