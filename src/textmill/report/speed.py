"""How fast a job was: rows and tokens over its time, its batches, and what broke into it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

import msgspec

from textmill.html import charts
from textmill.html.build import Child, Element, fragment, tag
from textmill.html.parts import Head, Section, chart, figures, note, section, table
from textmill.report.values import Run, Timeline
from textmill.words import counted

MIN_STEPS, BATCHES_IN_STEP = 12, 4
EVENTS = {
    "shrunk": "memory ran out, and batches were smaller from then on",
    "restarted": "the engine's process was started again",
    "waited": "the server was waited for",
}


def speed_section(run: Run) -> Section:
    """Rows and tokens a second over the last run, its batches, and what it lost time with."""
    return section(
        "speed",
        "Speed of the last run",
        figures(list(_figures(run))),
        _over_time(run),
        _earlier(run),
    )


def _figures(run: Run) -> Iterator[tuple[str, Child]]:
    yield "seconds", f"{run.seconds:,.1f}"
    yield "rows per second", f"{run.rows_per_second:,.1f}"
    yield "tokens per second", f"{run.tokens_per_second:,.0f}"
    if run.rows:
        yield "machine hours per million rows", f"{run.seconds / run.rows / 3600 * 1e6:,.2f}"
    yield "batches", f"{run.batches:,}"
    yield "texts per batch", f"{run.requests / run.batches:,.1f}" if run.batches else "–"
    yield "padding", f"{run.padding_share:.1%}"
    yield "engine idle", f"{run.outside_engine_share:.1%}"
    if run.split_batches:
        yield "batches split", f"{run.split_batches:,}"
    if run.resumed_rows:
        yield "rows resumed from an earlier run", f"{run.resumed_rows:,}"
    events = [f"{name} {count:,}" for name, count in run.events.items() if count]
    if events:
        yield "events", ", ".join(events)


def _over_time(run: Run) -> Element:
    if run.timeline is None or not run.timeline.rows:
        return note("The manifest does not say how fast the run was over its time.")
    timeline = _smoothed(run.timeline, run.batches)
    marks = list(_marks(timeline))
    drawn = [
        _rate("Rows", timeline.rows, timeline, marks),
        _rate("Tokens", timeline.tokens, timeline, marks),
        _batch_size("Texts", timeline.requests, timeline, marks),
        _batch_size("Tokens, with padding,", timeline.padded_tokens, timeline, marks),
    ]
    return fragment(
        tag("div", drawn, class_="two"),
        [note(_said(name, timeline)) for name in EVENTS if any(getattr(timeline, name))],
    )


def _smoothed(timeline: Timeline, batches: int) -> Timeline:
    """Steps so long that several batches end in each: rows come in batches, not one by one."""
    together = -(-len(timeline.rows) // max(MIN_STEPS, batches // BATCHES_IN_STEP))
    series = msgspec.structs.asdict(timeline)
    step_seconds = series.pop("step_seconds") * together
    summed = {name: _summed(values, together) for name, values in series.items()}
    return Timeline(step_seconds=step_seconds, **summed)


def _summed(values: Sequence[int], together: int) -> list[int]:
    return [sum(values[at : at + together]) for at in range(0, len(values), together)]


def _marks(timeline: Timeline) -> Iterator[tuple[int, str]]:
    """Steps in which something happened, and what."""
    every = (getattr(timeline, name) for name in EVENTS)
    for step, counts in enumerate(zip_longest(*every, fillvalue=0)):
        happened = [
            f"{what} ({counted(count, 'time')})"
            for what, count in zip(EVENTS.values(), counts, strict=True)
            if count
        ]
        if happened:
            yield step, ", ".join(happened)


def _said(name: str, timeline: Timeline) -> str:
    counts: list[int] = getattr(timeline, name)
    first = next(at for at, count in enumerate(counts) if count) * timeline.step_seconds
    times = counted(sum(counts), "time")
    return f"Dashed: {EVENTS[name]}: {times}, first in the step that begins at {first:,g} s."


def _rate(
    name: str, values: Sequence[int], timeline: Timeline, marks: Sequence[tuple[int, str]]
) -> Element:
    rates = [count / timeline.step_seconds for count in values]
    mean = sum(rates) / len(rates)
    return _series(f"{name} per second", rates, timeline, f"on average {mean:,.0f}", marks)


def _batch_size(
    name: str, values: Sequence[int], timeline: Timeline, marks: Sequence[tuple[int, str]]
) -> Element | None:
    """The mean of the batches that were begun in a step; where none was, of those before."""
    if not sum(timeline.batches):
        return None
    sizes: list[float] = []
    for total, batches in zip(values, timeline.batches, strict=True):
        before = sizes[-1] if sizes else 0.0
        sizes.append(total / batches if batches else before)
    mean = sum(values) / sum(timeline.batches)
    return _series(f"{name} per batch", sizes, timeline, f"on average {mean:,.0f}", marks)


def _series(
    title: str,
    values: Sequence[float],
    timeline: Timeline,
    mean: str,
    marks: Sequence[tuple[int, str]],
) -> Element:
    step, seconds = timeline.step_seconds, len(values) * timeline.step_seconds
    said = (
        f"{title} in steps of {step:g} s over {seconds:,.0f} s: {mean}, at most {max(values):,.0f}."
    )
    happened = "".join(f" At {at * step:,g} s {what}." for at, what in marks)
    return chart(
        title,
        charts.steps(values, said + happened, marks=marks),
        top=f"{max(values):,.0f}",
        left="0 s",
        right=f"{seconds:,.0f} s",
        note=f"In steps of {step:g} s.",
    )


def _earlier(run: Run) -> Element | None:
    """The runs that this one went on from."""
    if not run.earlier:
        return None
    heads = (Head("began"), Head("ended"), Head("rows done by then", number=True))
    rows = [(one.began, one.ended, f"{one.rows:,}") for one in run.earlier]
    return table("Earlier runs of the job, which the last one resumed", heads, rows)
