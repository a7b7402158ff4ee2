"""How a run went, over its time: a series that stays small however long it takes."""

from __future__ import annotations

from collections.abc import Mapping

MAX_STEPS = 120
FIRST_STEP_SECONDS = 0.5

Counters = Mapping[str, int]
"""Totals since the start, by name."""


class Timeline:
    """How much each counter grew in each of up to 120 steps of equal length.

    A run that goes on for longer has longer steps: two become one. A counter that is named for
    the first time was 0 until then.
    """

    def __init__(self, started: float) -> None:
        """started: the time, by the clock whose time `add` is given."""
        self.step_seconds = FIRST_STEP_SECONDS
        self.series: dict[str, list[int]] = {}
        self._started = started
        self._steps = 0
        self._last: dict[str, int] = {}

    def add(self, now: float, counters: Counters) -> None:
        """So much has been counted since the start. `now` never goes back."""
        while (step := int((now - self._started) / self.step_seconds)) >= MAX_STEPS:
            self._lengthen()
        self._steps = max(self._steps, step + 1)
        for name, count in counters.items():
            series = self.series.setdefault(name, [])
            series += [0] * (self._steps - len(series))
            series[step] += count - self._last.get(name, 0)
        self._last |= counters

    def as_dict(self) -> dict[str, float | list[int]]:
        """As the manifest has it."""
        return {"step_seconds": self.step_seconds, **self.series}

    def _lengthen(self) -> None:
        self.step_seconds *= 2
        self._steps = -(-self._steps // 2)
        self.series = {name: _paired(values) for name, values in self.series.items()}


def _paired(values: list[int]) -> list[int]:
    return [sum(values[at : at + 2]) for at in range(0, len(values), 2)]
