"""Charts as SVG: shapes only. Their words stand around them in HTML, where they wrap and scale.

Every chart carries its sentence (`said`) for those who do not see it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from textmill.html.build import Element, tag

WIDTH, HEIGHT = 600.0, 120.0


class Part(NamedTuple):
    """A share of a whole. kind: the class that colours it."""

    label: str
    size: int
    kind: str


class Series(NamedTuple):
    """A line through points, x rising. kind: the class that colours it."""

    label: str
    points: Sequence[tuple[float, float]]
    kind: str


class Sure(NamedTuple):
    """A value with its interval, where there is one."""

    low: float | None
    value: float
    high: float | None


def shares(parts: Sequence[Part], said: str) -> Element:
    """One bar that is cut into parts, left to right; what is there has a visible width."""
    total = sum(part.size for part in parts)
    drawn, left = [], 0.0
    for part in parts:
        if not part.size:
            continue
        width = max(WIDTH * part.size / total, 3.0)
        label = tag("title", f"{part.label} {part.size:,}")
        drawn.append(
            tag("g", tag("rect", x=left, y=0, width=width, height=10, class_=part.kind), label)
        )
        left += width
    return _drawing(*drawn, said=said, kind="shares", height=10, width=max(left, 1.0))


def steps(values: Sequence[float], said: str, *, marks: Sequence[tuple[int, str]] = ()) -> Element:
    """An area under steps of equal length, from 0 to the largest value.

    marks: steps in which something happened, each a dashed line, and what.
    """
    top, across = max(values, default=0) or 1, WIDTH / max(len(values), 1)
    path = f"M0 {HEIGHT:.0f}"
    for at, value in enumerate(values):
        height = HEIGHT * (1 - value / top)
        path += f"L{at * across:.1f} {height:.1f}H{(at + 1) * across:.1f}"
    drawn = [tag("path", d=f"{path}V{HEIGHT:.0f}Z", class_="area")]
    for at, what in marks:
        line = f"M{(at + 0.5) * across:.1f} 0V{HEIGHT:.0f}"
        drawn.append(tag("g", tag("path", d=line, class_="target"), tag("title", what)))
    return _drawing(*drawn, said=said)


def bars(
    counts: Sequence[int],
    name: Callable[[int], str],
    said: str,
    *,
    other: Sequence[int] | None = None,
) -> Element:
    """A histogram; `name` says what a bar holds. other: a second one, as an outline."""
    across = WIDTH / max(len(counts), 1)
    top = max([*counts, *(other or ())], default=0) or 1
    drawn = [
        tag(
            "g",
            tag(
                "rect",
                x=at * across + across * 0.06,
                y=HEIGHT * (1 - count / top),
                width=across * 0.88,
                height=HEIGHT * count / top,
                class_="bar",
            ),
            tag("title", f"{name(at)}: {count:,}"),
        )
        for at, count in enumerate(counts)
        if count
    ]
    if other:
        path = f"M0 {HEIGHT:.0f}"
        for at, count in enumerate(other):
            path += f"L{at * across:.1f} {HEIGHT * (1 - count / top):.1f}H{(at + 1) * across:.1f}"
        drawn.append(tag("g", tag("path", d=f"{path}V{HEIGHT:.0f}", class_="outline")))
    return _drawing(*drawn, said=said)


def lines(
    series: Sequence[Series],
    said: str,
    *,
    right: float,
    low: float,
    top: float,
    target: float | None = None,
) -> Element:
    """Lines over x from 0 to `right` and y from `low` to `top`; the target is a dashed one."""

    def place(x: float, y: float) -> tuple[float, float]:
        share = (y - low) / ((top - low) or 1)
        return WIDTH * x / (right or 1), HEIGHT * (1 - min(max(share, 0.0), 1.0))

    drawn = []
    for one in series:
        at = [place(*point) for point in one.points]
        path = "".join(f"{'L' if n else 'M'}{x:.1f} {y:.1f}" for n, (x, y) in enumerate(at))
        dots = "".join(f"M{x:.1f} {y:.1f}h0.01" for x, y in at)
        drawn.append(tag("path", d=path or "M0 0", class_=f"line {one.kind}"))
        drawn.append(tag("path", d=dots or "M0 0", class_=f"dots {one.kind}"))
    if target is not None:
        _, y = place(0, target)
        drawn.append(tag("path", d=f"M0 {y:.1f}H{WIDTH:.0f}", class_="target"))
    return _drawing(*drawn, said=said)


def interval(sure: Sure, domain: tuple[float, float], mark: float | None = None) -> Element:
    """A dot with its interval on a scale; `mark`: a value to compare with. For a table's cell."""
    first, last = domain
    width, middle = 160.0, 8.0

    def place(value: float) -> float:
        share = (value - first) / ((last - first) or 1)
        return 4 + (width - 8) * min(max(share, 0.0), 1.0)

    drawn = [tag("line", x1=4, x2=width - 4, y1=middle, y2=middle, class_="axis")]
    if mark is not None:
        x = place(mark)
        drawn.append(tag("line", x1=x, x2=x, y1=0, y2=16, class_="mark"))
    if sure.low is not None and sure.high is not None:
        left, right = place(sure.low), place(sure.high)
        drawn.append(tag("line", x1=left, x2=right, y1=middle, y2=middle, class_="sure"))
    drawn.append(tag("circle", cx=place(sure.value), cy=middle, r=3.5, class_="dot"))
    return tag("svg", *drawn, viewBox="0 0 160 16", class_="interval", aria_hidden="true")


def _drawing(
    *shapes: Element,
    said: str,
    kind: str = "chart",
    height: float = HEIGHT,
    width: float = WIDTH,
) -> Element:
    return tag(
        "svg",
        *shapes,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        preserveAspectRatio="none",
        class_=kind,
        role="img",
        aria_label=said,
    )
