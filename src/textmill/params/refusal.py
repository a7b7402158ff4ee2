"""Building a `ParameterError` whose text stays short whatever was given.

A value may be a text of megabytes, an integer of ten thousand digits or a deeply nested list;
a name may hold line breaks. None of that may reach a message as it is.
"""

from __future__ import annotations

from difflib import get_close_matches

from textmill.errors import ParameterError
from textmill.words import written

_MAX_NAME_CHARS = 64


def shown_name(name: object) -> str:
    """`name` as it may stand in a message: one line, at most 64 characters."""
    if isinstance(name, str) and name.isprintable() and 0 < len(name) <= _MAX_NAME_CHARS:
        return name
    if isinstance(name, str):
        return written(name[:_MAX_NAME_CHARS])
    return written(name, _MAX_NAME_CHARS)


def refusal(
    name: object,
    value: object,
    rule: str,
    *,
    hint: str | None = None,
    kind: type[ParameterError] = ParameterError,
) -> ParameterError:
    """The error to raise for parameter `name` given as `value`; `rule` says what is allowed."""
    return kind(shown_name(name), value, rule, hint=hint)


def closest(name: str, known: frozenset[str]) -> str | None:
    """The known name that `name` was probably meant to be."""
    found = get_close_matches(name[:_MAX_NAME_CHARS].lower(), sorted(known), n=1, cutoff=0.6)
    return found[0] if found else None
