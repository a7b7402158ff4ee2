"""Scores as a notebook shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from textmill.evaluation.figures import gap, interval, number, p_text
from textmill.evaluation.verdict import headline, where
from textmill.html.build import Child, Element, fragment, tag
from textmill.words import counted

if TYPE_CHECKING:
    from textmill.evaluation.join import Counts
    from textmill.evaluation.results import Comparison, Score, Scores, Slice

MAX_SLICES = 20
SCORED = ("metric", "value", "95 % interval", "precision", "recall", "n")
COMPARED = ("metric", "baseline", "this", "difference", "95 % interval", "p", "win / tie / loss")
SLICED = ("slice", "n", "value", "95 % interval", "gap")


def scores_html(scores: Scores) -> str:
    """Tables of the scores, the comparison and the slices; no script, no outside resource."""
    said = f" against {scores.references}: {_counts(scores.counts)}"
    parts: list[Child] = [
        tag("p", tag("b", scores.predictions), said),
        _table(SCORED, map(_score_cells, scores.scores)),
    ]
    if scores.baseline:
        title = f"against {scores.baseline.predictions}, {counted(scores.baseline.n, 'record')}"
        parts += [
            tag("p", tag("b", headline(scores)), f" ({title})"),
            tag("p", f"The baseline: {_counts(scores.baseline.counts)}"),
            _table(COMPARED, map(_compared, scores.baseline.comparisons)),
        ]
    if scores.slices:
        parts += _slices(scores)
    parts += [tag("p", note) for note in scores.notes]
    if scores.baseline:
        parts += [tag("p", "The baseline: ", note) for note in scores.baseline.notes]
    parts.append(tag("p", tag("small", scores.scores[0].signature)))
    return str(fragment(parts))


def _counts(counts: Counts) -> str:
    return (
        f"{counts.pairs:,} references = scored {counts.scored:,} + failed {counts.failed:,} "
        f"+ missing {counts.missing:,} + duplicate {counts.duplicate:,}"
    )


def _slices(scores: Scores) -> Iterable[Child]:
    yield tag("p", f"{scores.scores[0].name} by slice. ", [one.text for one in where(scores)])
    header = SLICED if scores.baseline is None else (*SLICED, "vs baseline", "95 % interval")
    yield _table(header, map(_sliced, scores.slices[:MAX_SLICES]))
    left = len(scores.slices) - MAX_SLICES
    if left > 0:
        yield tag("p", f"{counted(left, 'more slice')} in slice_table().")


def _score_cells(score: Score) -> Sequence[str]:
    both = (score.precision, score.recall)
    shares = ["" if value is None else f"{value:.4f}" for value in both]
    sure = interval(score.name, score.low, score.high)
    return score.name, number(score.name, score.value), sure, *shares, f"{score.n:,}"


def _compared(one: Comparison) -> Sequence[str]:
    return (
        one.name,
        number(one.name, one.baseline),
        number(one.name, one.value),
        number(one.name, one.difference, sign=True),
        interval(one.name, one.low, one.high, sign=True),
        p_text(one.p_randomisation),
        f"{one.wins:,} / {one.ties:,} / {one.losses:,}",
    )


def _sliced(one: Slice) -> Sequence[str]:
    first = one.scores[0]
    cells = (
        f"{one.column}: {one.label}",
        f"{one.n:,}",
        number(first.name, first.value),
        interval(first.name, first.low, first.high),
        gap(first.name, first.gap),
    )
    if first.difference is None:
        return cells
    sure = interval(first.name, first.difference_low, first.difference_high, sign=True)
    return *cells, number(first.name, first.difference, sign=True), sure


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Element:
    head = tag("tr", [tag("th", cell) for cell in header])
    body = [tag("tr", [tag("td", cell) for cell in row]) for row in rows]
    return tag("table", tag("thead", head), tag("tbody", body))
