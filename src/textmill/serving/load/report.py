"""The figures of a load test as one HTML page: nothing outside of it is needed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

from textmill.html import charts
from textmill.html.build import Child, Element, tag
from textmill.html.document import document
from textmill.html.parts import Head, chart, note, table
from textmill.html.styles import base_style
from textmill.serving.load.arrivals import Stage, best, knee

_SHARES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
_STYLE = """
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h2 { margin-top: 2.5rem; }
.bad { color: var(--red); }
.first { stroke: var(--accent); } .second { stroke: var(--ink); } .third { stroke: var(--grey); }
ul.key { list-style: none; padding: 0; display: flex; gap: 1.5rem; font-size: .875rem; }
ul.key svg { display: inline-block; width: 1.5rem; height: .5rem; }
"""
_KINDS = ("first", "second", "third")
_HEADS = ("calls/s", "sent", "ok", "refused", "failed", "p50", "p95", "p99", "goodput/s", "late by")

Points = list[tuple[float, float]]


def page(target: str, stages: Sequence[Stage], slo: float | None, alone: float) -> str:
    """The whole page."""
    ordered = sorted(stages, key=lambda stage: stage.rate)
    latency = {name: _points(ordered, share) for name, share in _SHARES}
    throughput = {"answered": [(s.rate, s.goodput(None)) for s in ordered]}
    if slo is not None:
        throughput["within the target"] = [(s.rate, s.goodput(slo)) for s in ordered]
    return document(
        "textmill bench",
        tag(
            "main",
            tag("h1", "Load test"),
            note(target),
            tag("p", " ".join(summary(ordered, slo, alone))),
            tag("h2", "Latency against the offered rate"),
            _latency(latency, slo),
            tag("h2", "Answers per second against the offered rate"),
            _throughput(throughput),
            tag("h2", "Stages"),
            table(
                "Every rate that was tried",
                [Head(title, number=True) for title in _HEADS],
                [_row(stage, slo) for stage in ordered],
            ),
            note(
                "Calls come at random (Poisson), whether or not earlier ones are answered."
                " Latencies count from the moment a call was due."
            ),
        ),
        style=base_style() + _STYLE,
    )


def summary(stages: Sequence[Stage], slo: float | None, alone: float) -> list[str]:
    """What was found, in sentences."""
    found = [f"A call alone takes {milliseconds(alone)}."]
    good, top = best(stages, slo), knee(stages)
    kept = "keeps up" if slo is None else f"keeps p95 within {milliseconds(slo)}"
    if good is None:
        found.append(f"No rate that was tried {kept}.")
    else:
        found.append(f"The highest rate that {kept}: {good.rate:.1f} calls per second.")
        if good.batch_tokens is not None:
            found.append(f"The budget of a batch was {good.batch_tokens:,.0f} tokens then.")
    if top is not None:
        found.append(f"The most that was answered: {top.goodput(None):.1f} per second.")
    late = max((stage.lag for stage in stages), default=0.0)
    if late > 0.05:
        found.append(
            f"This client was late by up to {milliseconds(late)}; that counts as latency, and a"
            " less busy machine would measure less."
        )
    return found


def milliseconds(seconds: float | None) -> str:
    """A time for people."""
    if seconds is None:
        return "–"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _row(stage: Stage, slo: float | None) -> list[Child]:
    times = [milliseconds(stage.percentile(share)) for _, share in _SHARES]
    cells = [
        f"{stage.rate:.1f}",
        *(f"{count:,}" for count in (stage.sent, stage.ok, stage.refused, stage.failed)),
        *times,
        f"{stage.goodput(slo):.1f}",
        milliseconds(stage.lag),
    ]
    if stage.keeps(slo):
        return list(cells)
    return [tag("span", cell, class_="bad") for cell in cells]


def _latency(lines: dict[str, Points], slo: float | None) -> Element:
    """On a logarithmic scale; the target is the dashed line."""
    values = [y for points in lines.values() for _, y in points]
    if not values:
        return tag("p", "no answers")
    every = values if slo is None else [*values, slo]
    top, low = max(every) * 1.1, max(min(every) / 1.1, 1e-6)
    logs = {name: [(x, log10(max(y, 1e-6))) for x, y in points] for name, points in lines.items()}
    return _chart(
        "Seconds, on a logarithmic scale" + ("" if slo is None else "; dashed: the target"),
        logs,
        (log10(low), log10(top)),
        f"from {milliseconds(low)} to {milliseconds(top)}",
        None if slo is None else log10(slo),
    )


def _throughput(lines: dict[str, Points]) -> Element:
    top = max((y for points in lines.values() for _, y in points), default=0.0) * 1.1
    return _chart("Answers per second", lines, (0.0, top or 1.0), f"from 0 to {top:.0f}")


def _chart(
    title: str,
    lines: dict[str, Points],
    ends: tuple[float, float],
    scale: str,
    target: float | None = None,
) -> Element:
    right = max((x for points in lines.values() for x, _ in points), default=1.0)
    series = [
        charts.Series(name, points, kind)
        for (name, points), kind in zip(lines.items(), _KINDS, strict=False)
    ]
    said = f"{title}, {scale}, at rates from 0 to {right:.1f} calls per second; the table has all."
    drawn = charts.lines(series, said, right=right, low=ends[0], top=ends[1], target=target)
    keys = [
        tag("li", tag("svg", tag("path", d="M0 4H24", class_=f"line {one.kind}"),
            viewBox="0 0 24 8", aria_hidden="true"), f" {one.label}")
        for one in series
    ]  # fmt: skip
    return tag(
        "div",
        chart(title, drawn, top=scale, left="0", right=f"{right:.1f} calls/s"),
        tag("ul", keys, class_="key"),
    )


def _points(stages: Sequence[Stage], share: float) -> Points:
    found = [(stage.rate, stage.percentile(share)) for stage in stages]
    return [(rate, seconds) for rate, seconds in found if seconds is not None]
