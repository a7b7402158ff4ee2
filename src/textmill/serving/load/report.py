"""The figures of a load test as one HTML page: nothing outside of it is needed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import log10

from textmill.serving.load.arrivals import Stage, best, knee

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640, 300, 56, 32
_SHARES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
_COLOURS = {"p50": "#1769aa", "p95": "#b26a00", "p99": "#8e24aa", "answered": "#1769aa",
            "within the target": "#1d7a46"}  # fmt: skip

Series = dict[str, list[tuple[float, float]]]


def page(target: str, stages: Sequence[Stage], slo: float | None, alone: float) -> str:
    """The whole page."""
    ordered = sorted(stages, key=lambda stage: stage.rate)
    rows = "".join(_row(stage, slo) for stage in ordered)
    latency = {name: _points(ordered, share) for name, share in _SHARES}
    throughput: Series = {"answered": [(s.rate, s.goodput(None)) for s in ordered]}
    if slo is not None:
        throughput["within the target"] = [(s.rate, s.goodput(slo)) for s in ordered]
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>textmill bench</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1c2a33; max-width: 900px;
  margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #d9e0e4; }}
td.bad {{ color: #b3261e; }} svg {{ max-width: 100%; }} .dim {{ color: #62717c; }}
svg text {{ font: 12px system-ui, sans-serif; fill: #62717c; }}
</style></head><body>
<h1>Load test</h1>
<p class="dim">{escape(target)}</p>
<p>{escape(" ".join(summary(ordered, slo, alone)))}</p>
<h2>Latency against the offered rate</h2>{_chart(latency, slo, logarithmic=True)}
<h2>Answers per second against the offered rate</h2>{_chart(throughput, None)}
<h2>Stages</h2>
<table><tr><th>calls/s</th><th>sent</th><th>ok</th><th>refused</th><th>failed</th><th>p50</th>
<th>p95</th><th>p99</th><th>goodput/s</th><th>late by</th></tr>{rows}</table>
<p class="dim">Calls come at random (Poisson), whether or not earlier ones are answered. Latencies
count from the moment a call was due.</p>
</body></html>
"""


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


def _points(stages: Sequence[Stage], share: float) -> list[tuple[float, float]]:
    found = [(stage.rate, stage.percentile(share)) for stage in stages]
    return [(rate, seconds) for rate, seconds in found if seconds is not None]


def _row(stage: Stage, slo: float | None) -> str:
    kind = "" if stage.keeps(slo) else ' class="bad"'
    times = [milliseconds(stage.percentile(share)) for _, share in _SHARES]
    cells = [
        f"{stage.rate:.1f}",
        *(f"{count:,}" for count in (stage.sent, stage.ok, stage.refused, stage.failed)),
        *times,
        f"{stage.goodput(slo):.1f}",
        milliseconds(stage.lag),
    ]
    return "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell in cells) + "</tr>\n"


def _chart(series: Series, target: float | None, *, logarithmic: bool = False) -> str:
    points = [point for line in series.values() for point in line]
    if not points:
        return "<p>no answers</p>"
    right = max(x for x, _ in points)
    values = [y for _, y in points] + ([] if target is None else [target])
    top, low = max(values) * 1.1, min(values) / 1.1

    def place(x: float, y: float) -> tuple[float, float]:
        if logarithmic:
            share = (log10(max(y, 1e-6)) - log10(low)) / max(log10(top) - log10(low), 1e-9)
        else:
            share = y / top
        across = _LEFT + x / right * (_WIDTH - _LEFT - 10)
        return across, (_HEIGHT - _BOTTOM) * (1 - share) + 5

    drawn = [_line(name, [place(*point) for point in line]) for name, line in series.items()]
    if target is not None:
        _, y = place(0, target)
        drawn.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#b3261e"'
            ' stroke-dasharray="4 3"/>'
        )
    show = milliseconds if logarithmic else "{:.0f}".format
    bottom = _HEIGHT - _BOTTOM + 5
    labels = [
        f'<text x="2" y="14">{show(top)}</text>',
        f'<text x="2" y="{bottom}">{show(low if logarithmic else 0)}</text>',
        f'<text x="{_LEFT}" y="{_HEIGHT - 8}">0</text>',
        f'<text x="{_WIDTH - 90}" y="{_HEIGHT - 8}">{right:.1f} calls/s</text>',
        *(
            f'<text x="{_LEFT + 12 + 130 * n}" y="14" style="fill:{_COLOURS[name]}">{name}</text>'
            for n, name in enumerate(series)
        ),
    ]
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(drawn + labels)}</svg>'


def _line(name: str, points: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in points)
    colour = _COLOURS[name]
    return (
        f'<g fill="{colour}"><polyline points="{path}" fill="none" stroke="{colour}"'
        f' stroke-width="2"/>{dots}</g>'
    )
