"""Scores as a notebook shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from textmill.evaluation.base import SACRE_METRICS
from textmill.html.build import Child, Element, fragment, tag

if TYPE_CHECKING:
    from textmill.evaluation.results import Comparison, Score, Scores, Slice

MAX_SLICES = 20
SCORED = ("metric", "value", "95 % interval", "precision", "recall", "n")
COMPARED = ("metric", "baseline", "difference", "95 % interval", "p", "win / tie / loss")
SLICED = ("slice", "n", "value", "95 % interval", "gap")


def scores_html(scores: Scores) -> str:
    """Tables of the scores, the comparison and the slices; no script, no outside resource."""
    counts = scores.counts
    said = (
        f"{counts.pairs:,} references = scored {counts.scored:,} + failed {counts.failed:,} "
        f"+ missing {counts.missing:,} + duplicate {counts.duplicate:,}"
    )
    parts: list[Child] = [
        tag("p", tag("b", scores.predictions), f" against {scores.references}: {said}"),
        _table(SCORED, map(_score_cells, scores.scores)),
    ]
    if scores.baseline:
        title = f"against {scores.baseline.predictions}, {scores.baseline.n:,} records"
        parts += [
            tag("p", title),
            _table(COMPARED, map(_compared, scores.baseline.comparisons)),
        ]
    if scores.slices:
        name = scores.scores[0].name
        shown = map(_sliced, scores.slices[:MAX_SLICES])
        parts += [tag("p", f"{name} by slice"), _table(SLICED, shown)]
    parts += [tag("p", note) for note in scores.notes]
    parts.append(tag("p", tag("small", scores.scores[0].signature)))
    return str(fragment(parts))


def number(name: str, value: float, *, sign: bool = False) -> str:
    """Four digits after the point, two where the scale goes to 100.

    sign: with + or -, which 0 has not; +0.0000 and -0.0000 are what was rounded to that.
    """
    digits = 2 if name in SACRE_METRICS else 4
    return f"{value:+.{digits}f}" if sign and value else f"{value or 0.0:.{digits}f}"


def interval(name: str, low: float | None, high: float | None, *, sign: bool = False) -> str:
    """As in `0.2230 to 0.2356`; nothing of nothing."""
    if low is None or high is None:
        return ""
    return f"{number(name, low, sign=sign)} to {number(name, high, sign=sign)}"


def _score_cells(score: Score) -> Sequence[str]:
    both = (score.precision, score.recall)
    shares = ["" if value is None else f"{value:.4f}" for value in both]
    sure = interval(score.name, score.low, score.high)
    return score.name, number(score.name, score.value), sure, *shares, f"{score.n:,}"


def _compared(one: Comparison) -> Sequence[str]:
    return (
        one.name,
        number(one.name, one.baseline),
        number(one.name, one.difference, sign=True),
        interval(one.name, one.low, one.high, sign=True),
        f"{one.p_randomisation:.4f}",
        f"{one.wins:,} / {one.ties:,} / {one.losses:,}",
    )


def _sliced(one: Slice) -> Sequence[str]:
    first = one.scores[0]
    return (
        f"{one.column}: {one.label}",
        f"{one.n:,}",
        number(first.name, first.value),
        interval(first.name, first.low, first.high),
        number(first.name, first.gap, sign=True),
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Element:
    head = tag("tr", [tag("th", cell) for cell in header])
    body = [tag("tr", [tag("td", cell) for cell in row]) for row in rows]
    return tag("table", tag("thead", head), tag("tbody", body))
