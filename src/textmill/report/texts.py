"""Texts as a page can hold them: the beginning, and how much was cut off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from textmill.evaluation import figures
from textmill.evaluation.highlight import Overlap, Segment
from textmill.report.values import Text
from textmill.words import written

ID_CHARS = 80
MAX_COMPARED_CHARS = 20_000
"""Overlap is looked for in the beginning of a text."""


def number(name: str, value: float, *, sign: bool = False) -> str:
    """A metric's value, with a minus as wide as a plus."""
    return wide_minus(figures.number(name, value, sign=sign))


def interval(name: str, low: float | None, high: float | None, *, sign: bool = False) -> str:
    """As in `0.2230 to 0.2356`; nothing of nothing."""
    return wide_minus(figures.interval(name, low, high, sign=sign))


def wide_minus(figures: str) -> str:
    """With a minus as wide as a plus."""
    return figures.replace("-", "\u2212")


def plain(text: str, limit: int) -> Text:
    """A text, cut."""
    kept = text[:limit]
    return Text(segments=(Segment(kept, False),) if kept else (), cut=len(text) - len(kept))


def compared(text: str, others: Sequence[str], limit: int, overlap: Overlap) -> Text:
    """A text, cut, with the words marked that one of the others has too."""
    kept = text[:limit]
    segments = overlap.segments(kept, [other[:MAX_COMPARED_CHARS] for other in others])
    return Text(segments=tuple(segments), cut=len(text) - len(kept))


def id_text(value: Any) -> str:
    """An id as people read it: a text as it is, anything else as JSON; cut where it is long."""
    try:
        shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    except (TypeError, UnicodeEncodeError):
        shown = written(value, ID_CHARS)
    return shown if len(shown) <= ID_CHARS else f"{shown[:ID_CHARS]}… (+{len(shown) - ID_CHARS:,})"
