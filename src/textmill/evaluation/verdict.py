"""What scores say in a sentence: is it better, and where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from textmill.evaluation.base import LOWER_IS_BETTER, OF_ANSWERS
from textmill.evaluation.figures import interval, number, p_text
from textmill.evaluation.results import Comparison, Scores, Slice
from textmill.words import counted

UNSURE = 0.05
MAX_NAMED = 5
"""Slices that a sentence names."""


def headline(scores: Scores) -> str:
    """What the scores say, in a sentence: of the first metric."""
    first = scores.scores[0]
    if scores.baseline is None:
        sure = interval(first.name, first.low, first.high)
        said = f"{first.name} {number(first.name, first.value)}{f' ({sure})' if sure else ''}"
        return f"{said} over {counted(first.n, 'record')}{_unanswered(scores)}"
    one = scores.baseline.comparisons[0]
    sure = interval(one.name, one.low, one.high, sign=True)
    said = f"{one.name} {number(one.name, one.difference, sign=True)}"
    said += f" ({sure})" if sure else ""
    return f"{verdict(one)}: {said}, p {p_text(one.p_randomisation)}{_unanswered(scores)}"


def _unanswered(scores: Scores) -> str:
    """As in `; 3 predictions and 150 of the baseline's are missing and count as 0`; nothing where
    all references have a prediction. Missing is what has none to score, for whatever reason."""
    sides = (scores.counts, *([scores.baseline.counts] if scores.baseline else []))
    ours, theirs = ([one.pairs - one.scored for one in sides] + [0])[:2]
    if not ours + theirs:
        return ""
    parts = [counted(ours, "prediction")] if ours else []
    parts += [f"{theirs:,} of the baseline's"] if theirs else []
    single = ours + theirs == 1
    counts = "counts" if single else "count"
    name = scores.scores[0].name
    treated = f"{counts} as {'empty' if name == 'empty' else '0'}"
    if scores.missing == "skip" or name in OF_ANSWERS:
        treated = "left out"
    return f"; {' and '.join(parts)} {'is' if single else 'are'} missing and {treated}"


def verdict(one: Comparison) -> str:
    """Whether the records tell two systems apart, in words."""
    if one.p_randomisation > UNSURE or (one.low is not None and one.low <= 0 <= (one.high or 0)):
        return "Not told apart from the baseline"
    more = one.difference > 0
    if one.name == "length_ratio":
        return "Longer than the baseline" if more else "Shorter than the baseline"
    if one.name == "copy_rate":
        return "Copies more than the baseline" if more else "Copies less than the baseline"
    better = more != (one.name in LOWER_IS_BETTER)
    return "Better than the baseline" if better else "Worse than the baseline"


class Piece(NamedTuple):
    """A part of a sentence. elsewhere: it is a text that is not ours, such as a label."""

    text: str
    elsewhere: bool = False


def where(scores: Scores) -> tuple[Piece, ...]:
    """In which slices the first metric's difference from the baseline is beyond its interval, as
    a sentence; nothing where no slice has such an interval."""
    name = scores.scores[0].name
    tested = [one for one in scores.slices if one.scores[0].difference_low is not None]
    tested.sort(key=lambda one: -abs(one.scores[0].difference or 0))
    above = [one for one in tested if (one.scores[0].difference_low or 0) > 0]
    below = [one for one in tested if (one.scores[0].difference_high or 0) < 0]
    if not tested:
        return ()
    slices = f"Of {len(tested):,} slices" if len(tested) > 1 else "Of the one slice"
    return (
        Piece(f"{slices} with an interval, {name} is above the baseline's in {_many(above)}"),
        *_named(above),
        Piece(f", and below it in {_many(below)}"),
        *_named(below),
        Piece("; one in twenty would be by chance"),
    )


def _many(found: Sequence[Slice]) -> str:
    return f"{len(found):,}" if found else "none"


def _named(found: Sequence[Slice]) -> Iterator[Piece]:
    """As in ` (section perl +0.0501, rust +0.0310)`: a column is said where it changes."""
    column = None
    for one in found[:MAX_NAMED]:
        first = one.scores[0]
        yield Piece(", " if column else " (")
        if one.column != column:
            yield Piece(one.column, elsewhere=True)
            yield Piece(" ")
        column = one.column
        yield Piece(one.label, elsewhere=True)
        yield Piece(f" {number(first.name, first.difference or 0, sign=True)}")
    if found:
        yield Piece(", …)" if len(found) > MAX_NAMED else ")")
