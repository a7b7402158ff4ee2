"""Small line charts as SVG: panels side by side, a logarithmic axis of sizes, a limit to keep."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 320, 220
LEFT, TOP, RIGHT, BOTTOM = 48, 40, 16, 64
COLOURS = ("#1f6feb", "#d9730d", "#3f8f4f")
GRID_LINES = 5


@dataclass(frozen=True)
class Curve:
    """A named line through (size, value) points."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One chart. top: the highest value of its axis; limit: a value to stay under."""

    title: str
    curves: Sequence[Curve]
    top: float
    limit: float | None = None


def draw(sizes_name: str, panels: Sequence[Panel]) -> str:
    """An SVG document. The axis of sizes goes from the smallest to the largest of all points."""
    sizes = [size for panel in panels for curve in panel.curves for size, _ in curve.points]
    low, high = math.log10(min(sizes)), math.log10(max(sizes))
    width = len(panels) * (LEFT + WIDTH + RIGHT)
    height = TOP + HEIGHT + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}"'
        f' height="{height}" font-family="sans-serif" font-size="12" fill="#57606a">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, panel in enumerate(panels):
        frame = _Frame(number * (LEFT + WIDTH + RIGHT) + LEFT, low, high, panel.top)
        parts += _panel(panel, frame, sizes_name)
    return "\n".join([*parts, "</svg>"]) + "\n"


@dataclass(frozen=True)
class _Frame:
    """Where a panel's values are on the page. low, high: decimal logarithms of sizes."""

    left: float
    low: float
    high: float
    top: float

    def x(self, size: float) -> float:
        return self.left + (math.log10(size) - self.low) / (self.high - self.low or 1) * WIDTH

    def y(self, value: float) -> float:
        return TOP + HEIGHT * (1 - value / self.top)


def _panel(panel: Panel, frame: _Frame, sizes_name: str) -> Iterator[str]:
    yield _text(frame.left, 20, panel.title, size=14, anchor="start")
    for step in range(GRID_LINES + 1):
        value = panel.top * step / GRID_LINES
        yield _line([(frame.left, frame.y(value)), (frame.left + WIDTH, frame.y(value))], "#d0d7de")
        yield _text(frame.left - 6, frame.y(value) + 4, f"{value:g}", anchor="end")
    for power in range(math.ceil(frame.low), math.floor(frame.high) + 1):
        yield _text(frame.x(10**power), TOP + HEIGHT + 16, f"{10**power:,}")
    yield _text(frame.left + WIDTH / 2, TOP + HEIGHT + 34, sizes_name)
    if panel.limit is not None:
        at = frame.y(panel.limit)
        yield _line([(frame.left, at), (frame.left + WIDTH, at)], "#cf222e", dashes="5 4")
        yield _text(frame.left + 6, at - 5, f"limit {panel.limit:g}", anchor="start")
    for number, (curve, colour) in enumerate(zip(panel.curves, COLOURS, strict=False)):
        yield from _curve(curve, frame, colour)
        yield _text(
            frame.left + number * WIDTH / 2,
            TOP + HEIGHT + 54,
            f"■ {curve.name}",
            anchor="start",
            colour=colour,
        )


def _curve(curve: Curve, frame: _Frame, colour: str) -> Iterator[str]:
    places = [(frame.x(size), frame.y(value)) for size, value in sorted(curve.points)]
    yield _line(places, colour, width=2)
    for (x, y), (_, value) in zip(places, sorted(curve.points), strict=True):
        yield (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}">'
            f"<title>{value:g}</title></circle>"
        )


def _line(
    points: Iterable[tuple[float, float]], colour: str, *, width: int = 1, dashes: str = "none"
) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"'
        f' stroke-dasharray="{dashes}"/>'
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "middle",
    size: int = 12,
    colour: str = "#57606a",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
        f' fill="{colour}">{escape(text)}</text>'
    )
