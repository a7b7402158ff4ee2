"""Building a `ParameterError` whose text stays short whatever was given.

A value may be a text of megabytes, an integer of ten thousand digits or a deeply nested list;
a name may hold line breaks. None of that may reach a message as it is.
"""

from __future__ import annotations

import reprlib
from difflib import get_close_matches

from textmill.errors import ParameterError

_MAX_NAME_CHARS = 64
_MAX_VALUE_CHARS = 120
_PLAIN_INT_BITS = 256


class _Short(reprlib.Repr):
    """`reprlib` in our measure; its own way with integers fails over 4,300 digits."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = _MAX_VALUE_CHARS
        self.maxlevel = 3

    def repr_int(self, x: int, level: int) -> str:
        del level
        bits = x.bit_length()
        return repr(x) if bits <= _PLAIN_INT_BITS else f"<an integer of {bits} bits>"


_short = _Short()


class Abridged(str):
    """Stands in for a value whose own `repr` is too long for a message."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def shown(value: object) -> object:
    """`value` itself if its `repr` is short, else a stand-in that prints short."""
    if isinstance(value, bool | float | None):
        return value
    if isinstance(value, int) and value.bit_length() <= _PLAIN_INT_BITS:
        return value
    if isinstance(value, str) and len(value) <= _MAX_VALUE_CHARS:
        return value
    text = _short.repr(value)
    return Abridged(text if len(text) <= _MAX_VALUE_CHARS else text[:_MAX_VALUE_CHARS] + "…")


def shown_name(name: object) -> str:
    """`name` as it may stand in a message: one line, at most 64 characters."""
    if isinstance(name, str) and name.isprintable() and 0 < len(name) <= _MAX_NAME_CHARS:
        return name
    if isinstance(name, str):
        return repr(name[:_MAX_NAME_CHARS])
    return _short.repr(name)[:_MAX_NAME_CHARS]


def refusal(
    name: object,
    value: object,
    rule: str,
    *,
    hint: str | None = None,
    kind: type[ParameterError] = ParameterError,
) -> ParameterError:
    """The error to raise for parameter `name` given as `value`; `rule` says what is allowed."""
    return kind(shown_name(name), shown(value), rule, hint=hint)


def closest(name: str, known: frozenset[str]) -> str | None:
    """The known name that `name` was probably meant to be."""
    found = get_close_matches(name[:_MAX_NAME_CHARS].lower(), sorted(known), n=1, cutoff=0.6)
    return found[0] if found else None
