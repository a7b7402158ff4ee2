"""The parts of a page that say how good predictions are: scores, comparison, slices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np

from textmill.evaluation.base import SACRE_METRICS
from textmill.evaluation.figures import gap, p_text
from textmill.evaluation.join import Counts, State
from textmill.evaluation.results import Baseline, Comparison, Moved, Score, Scores, Slice
from textmill.evaluation.verdict import verdict
from textmill.html import charts
from textmill.html.build import Child, Element, fragment, tag
from textmill.html.parts import Head, Section, chart, details, given, note, section, table
from textmill.report.texts import id_text, interval, number, wide_minus
from textmill.words import counted

BINS = 40
MAX_SLICES, FIRST_SLICES = 60, 12
"""Slices on the page; of one column at once."""


TREATED = {
    "zero": "References without a prediction count as 0.",
    "skip": "References without a prediction are left out of the scores.",
    "fail": "A reference without a prediction would have been refused.",
}


def accounting(scores: Scores) -> Element:
    """References = scored + failed + missing + duplicate, as a bar and in figures; then those of
    the baseline."""
    return fragment(
        _counts(scores.counts, TREATED[scores.missing]),
        [tag("p", one, class_="warning") for one in scores.notes],
        _of_baseline(scores.baseline) if scores.baseline else None,
    )


def _of_baseline(baseline: Baseline) -> Element:
    failed = [f"{id_text(code)} {count:,}" for code, count in baseline.failures.items()]
    return fragment(
        tag("h3", "The baseline, ", given(baseline.predictions)),
        _counts(baseline.counts, f"It failed with: {', '.join(failed)}." if failed else ""),
        [tag("p", one, class_="warning") for one in baseline.notes],
    )


def _counts(counts: Counts, said: str) -> Element:
    parts = [
        charts.Part("scored", counts.scored, "ok"),
        charts.Part("failed", counts.failed, "bad"),
        charts.Part("missing", counts.missing, "lack"),
        charts.Part("duplicate", counts.duplicate, "odd"),
    ]
    others = [("extra", counts.extra), ("repeated", counts.repeated)]
    beside = ", ".join(f"{name} predictions {count:,}" for name, count in others if count)
    besides = f"Besides: {beside}." if beside else ""
    told = " ".join(filter(None, (said, besides)))
    return fragment(strip("references", counts.pairs, parts), note(told) if told else None)


def strip(what: str, total: int, parts: Sequence[charts.Part]) -> Element:
    """A whole and its parts: a sum that can be checked by eye."""
    said = f"{what} {total:,} = " + " + ".join(f"{one.label} {one.size:,}" for one in parts)
    shown = [
        tag("li", tag("span", class_=f"key {one.kind}"), f"{one.label} ", tag("b", f"{one.size:,}"))
        for one in parts
    ]
    whole = tag("li", f"{what} ", tag("b", f"{total:,}"), class_="whole")
    return tag("div", charts.shares(parts, said), tag("ul", whole, shown), class_="strip")


def score_section(scores: Scores) -> Section:
    """Each metric with its interval, the spread of the first, all signatures."""
    top = _top(scores.scores)
    heads = (
        Head("metric"),
        Head("score", number=True),
        Head("95 % interval", number=True),
        Head(f"0 to {top:.2f}", note=f"bleu and chrf: 0 to {100 * top:.0f}"),
        Head("precision", number=True),
        Head("recall", number=True),
        Head("n", number=True),
    )
    signatures = [tag("li", tag("code", score.signature)) for score in scores.scores]
    return section(
        "scores",
        "Scores",
        table(
            "Each metric over all records that count",
            heads,
            [_score_row(score, top) for score in scores.scores],
        ),
        spread(scores),
        details("Signatures: numbers may be compared where they are equal", tag("ul", signatures)),
    )


def _top(scores: Sequence[Score]) -> float:
    """Where the scale of the scores ends, as a share: a little beyond the largest, in steps."""
    ends = [(score.high or score.value) / _whole(score) for score in scores]
    return math.ceil(20 * max([end for end in ends if end <= 1], default=1.0) or 1) / 20


def _whole(score: Score) -> float:
    return 100.0 if score.name in SACRE_METRICS else 1.0


def _score_row(score: Score, top: float) -> Sequence[Child]:
    sure = charts.Sure(score.low, score.value, score.high)
    end = top * _whole(score)
    drawn = charts.interval(sure, (0.0, end)) if (score.high or score.value) <= end else None
    shares = (score.precision, score.recall)
    return (
        score.name,
        tag("b", number(score.name, score.value)),
        interval(score.name, score.low, score.high),
        drawn,
        *("" if one is None else number(score.name, one) for one in shares),
        f"{score.n:,}",
    )


def spread(scores: Scores) -> Element | None:
    """How the first metric is spread over the records with a prediction."""
    name, records = scores.scores[0].name, scores.records
    scored = np.frombuffer(records.states, np.uint8) == State.SCORED.value
    values = records.values[name][scored]
    other = None
    if records.baseline_values:
        answered = np.frombuffer(records.baseline_states, np.uint8) == State.SCORED.value
        other = records.baseline_values[name][answered]
    if not len(values):
        return None
    top = float(max(values.max(), other.max() if other is not None and len(other) else 0)) or 1.0
    width = top / BINS
    counts = np.histogram(values, BINS, (0, top))[0].tolist()
    behind = np.histogram(other, BINS, (0, top))[0].tolist() if other is not None else None
    low, middle, high = np.percentile(values, [25, 50, 75]).tolist()
    said = (
        f"{name} of single records: a quarter are at or below {number(name, low)}, half at or below"
        f" {number(name, middle)}, three quarters at or below {number(name, high)}."
    )

    def label(at: int) -> str:
        return f"{number(name, at * width)} to {number(name, (at + 1) * width)}"

    return chart(
        f"{name} of single records",
        charts.bars(counts, label, said, other=behind),
        top=counted(max([*counts, *(behind or ())]), "record"),
        left="0",
        right=number(name, top),
        note=said + (" The outline is the baseline." if behind else ""),
    )


def baseline_section(baseline: Baseline) -> Section:
    """Each metric against another system's, and the records that moved most."""
    heads = (
        Head("metric"),
        Head("baseline", number=True),
        Head("this", number=True),
        Head("difference", number=True),
        Head("95 % interval", number=True),
        Head("p", number=True, note="approximate randomisation"),
        Head("less | more", note="On a scale of its own for each metric; the line is no change"),
        Head("win", number=True),
        Head("tie", number=True),
        Head("loss", number=True),
    )
    first = baseline.comparisons[0]
    return section(
        "baseline",
        "Against the baseline",
        tag("p", tag("b", verdict(first)), ", ", given(baseline.predictions), " (by ", first.name,
            f", over {counted(baseline.n, 'record')} that count in both)."),
        table("Each metric against the baseline's", heads, map(_compared, baseline.comparisons)),
        note(
            "An interval that holds 0, or p above 0.05: these records do not tell the two apart."
            " Win, tie and loss count records; of repetition and empty less is a win; of"
            " length_ratio and copy_rate more is, wanted or not."
        ),
        tag("div", _moved("Most up", first.name, first.up),
            _moved("Most down", first.name, first.down), class_="two"),
        details("Signature", tag("code", baseline.signature)),
    )  # fmt: skip


def _compared(one: Comparison) -> Sequence[Child]:
    ends = [end for end in (one.low, one.high) if end is not None]
    reach = max(map(abs, (*ends, one.difference))) * 1.1 or 1.0
    sure = charts.Sure(one.low, one.difference, one.high)
    return (
        one.name,
        number(one.name, one.baseline),
        number(one.name, one.value),
        tag("b", number(one.name, one.difference, sign=True)),
        interval(one.name, one.low, one.high, sign=True),
        p_text(one.p_randomisation),
        charts.interval(sure, (-reach, reach), 0.0),
        *(f"{count:,}" for count in (one.wins, one.ties, one.losses)),
    )


def _moved(title: str, name: str, moved: Sequence[Moved]) -> Element | None:
    if not moved:
        return None
    heads = (
        Head("id"),
        Head("baseline", number=True),
        Head("this", number=True),
        Head("difference", number=True),
    )
    rows = (
        (
            tag("a", given(id_text(one.id)), href=f"#r-{one.place}"),
            number(name, one.baseline),
            number(name, one.value),
            number(name, one.difference, sign=True),
        )
        for one in moved
    )
    return table(f"{title} by {name}", heads, rows)


def slice_section(scores: Scores) -> Section | None:
    """The first metric in each slice, the largest shortfall first."""
    if not scores.slices:
        return None
    name = scores.scores[0].name
    by_column = groupby(scores.slices, key=lambda one: one.column)
    columns = {column: list(group) for column, group in by_column}
    long = sum(len(group) > FIRST_SLICES for group in columns.values()) or 1
    tables = [
        _slices(column, group, name, max(FIRST_SLICES, MAX_SLICES // long))
        for column, group in columns.items()
    ]
    return section(
        "slices",
        "Slices",
        tables,
        note(
            "The gap is the slice's score less that of all records (the line), the worst first. Of"
            " twenty slices that are alike, one has an interval that misses. Fewer than ten records"
            " have no interval and come last."
        ),
    )


def _slices(column: str, slices: Sequence[Slice], name: str, most: int) -> Element:
    compared = slices[0].scores[0].difference is not None
    heads = [
        Head(column),
        Head("n", number=True),
        Head(name, number=True),
        Head("95 % interval", number=True),
        Head("on one scale"),
        Head("gap", number=True),
    ]
    if compared:
        heads += [Head("vs baseline", number=True), Head("95 % interval", number=True)]
    firsts = [one.scores[0] for one in slices]
    ends = [end for one in firsts for end in (one.low, one.value, one.high) if end is not None]
    domain = (min(ends), max(ends))
    rows = [list(_slice(one, domain, compared=compared)) for one in slices[:most]]
    first, others, left = rows[:FIRST_SLICES], rows[FIRST_SLICES:], len(slices) - len(rows)
    return fragment(
        table(f"{name} by {column}", heads, first),
        details(
            f"{counted(len(others), 'more slice')} by {column}",
            table(f"{name} by {column}, continued", heads, others),
            note(f"{left:,} more are in the JSON of textmill score.") if left else None,
        )
        if others
        else None,
    )


def _slice(one: Slice, domain: tuple[float, float], *, compared: bool) -> Iterable[Child]:
    first = one.scores[0]
    yield given(id_text(one.label))
    yield f"{one.n:,}"
    yield number(first.name, first.value)
    yield interval(first.name, first.low, first.high)
    sure = charts.Sure(first.low, first.value, first.high)
    yield charts.interval(sure, domain, first.value - first.gap)
    yield wide_minus(gap(first.name, first.gap))
    if compared and first.difference is not None:
        yield number(first.name, first.difference, sign=True)
        yield interval(first.name, first.difference_low, first.difference_high, sign=True)
