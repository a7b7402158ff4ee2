"""Whether a record's result can have what the output filter asks for: known before it is computed.

What a filter finds depends on the record and on how many texts it gets, never on what they say.
"""

from __future__ import annotations

from textmill.core import JsonText, Record
from textmill.records.jsonpath import Indices, Path
from textmill.records.results import result_line

_MOST_TEXTS = 1000


def check_filter(path: Path, record: Record, texts: int) -> None:
    """Raise `Unfit` if a result of so many texts would not have what the filter asks for."""
    result_line(record, [""] * texts, output_filter=path)


def texts_wanted(path: Path) -> int:
    """With so many texts no index of the path is beyond them, within reason."""
    indices = [i for step in path.steps if isinstance(step, Indices) for i in step.indices]
    return min(_MOST_TEXTS, 1 + max(map(abs, indices), default=0))


def example_of(record: Record) -> JsonText:
    """A result of the record, before any filter."""
    return result_line(record, [""])
