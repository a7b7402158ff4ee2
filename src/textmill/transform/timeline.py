"""How fast a run was, over its time: a series that stays small however long it takes."""

from __future__ import annotations

MAX_STEPS = 120
FIRST_STEP_SECONDS = 0.5


class Timeline:
    """Rows and tokens finished in each of up to 120 steps of equal length.

    A run that goes on for longer has longer steps: two become one.
    """

    def __init__(self, started: float) -> None:
        """started: the time, by the clock whose time `add` is given."""
        self.step_seconds = FIRST_STEP_SECONDS
        self.rows: list[int] = []
        self.tokens: list[int] = []
        self._started = started
        self._last = 0, 0

    def add(self, now: float, rows: int, tokens: int) -> None:
        """So many rows and tokens were finished since the start. `now` never goes back."""
        while (step := int((now - self._started) / self.step_seconds)) >= MAX_STEPS:
            self._lengthen()
        missing = [0] * (step + 1 - len(self.rows))
        self.rows += missing
        self.tokens += missing
        self.rows[step] += rows - self._last[0]
        self.tokens[step] += tokens - self._last[1]
        self._last = rows, tokens

    def as_dict(self) -> dict[str, float | list[int]]:
        """As the manifest has it."""
        return {"step_seconds": self.step_seconds, "rows": self.rows, "tokens": self.tokens}

    def _lengthen(self) -> None:
        self.step_seconds *= 2
        self.rows, self.tokens = _paired(self.rows), _paired(self.tokens)


def _paired(values: list[int]) -> list[int]:
    return [sum(values[at : at + 2]) for at in range(0, len(values), 2)]
