"""Whether a call can be answered in time, decided when it arrives. Pure."""

from __future__ import annotations

from msgspec import Struct

from textmill.serving.cost import CostModel, Work

_SAFETY_UP, _SAFETY_DOWN = 0.05, 0.002
_LEAST_SAFETY, _MOST_SAFETY = 1.0, 3.0


class Load(Struct, frozen=True, kw_only=True):
    """Requests that are to be computed.

    tokens, row_steps, texts: sums over them.
    """

    tokens: float = 0.0
    row_steps: float = 0.0
    texts: int = 0

    def __add__(self, other: Load) -> Load:
        """Both together."""
        return Load(
            tokens=self.tokens + other.tokens,
            row_steps=self.row_steps + other.row_steps,
            texts=self.texts + other.texts,
        )

    def __sub__(self, other: Load) -> Load:
        """This without a part of it."""
        return Load(
            tokens=self.tokens - other.tokens,
            row_steps=self.row_steps - other.row_steps,
            texts=self.texts - other.texts,
        )


class Pace(Struct, frozen=True, kw_only=True):
    """How the engine works now.

    steps: of a batch's longest answer. batch_tokens, batch_rows, batch_seconds: its limits.
    parallel: batches that are computed at a time.
    running_seconds: what the batches in the engine still need, of all its workers together.
    """

    cost: CostModel
    steps: float
    batch_tokens: int
    batch_rows: int
    batch_seconds: float | None = None
    parallel: int = 1
    running_seconds: float = 0.0

    def seconds_until_done(self, load: Load) -> float:
        """When the last of some requests is answered, from now; 0 while nothing is known."""
        total, batches = self._plan(load)
        last = total / batches
        return (self.running_seconds + total - last) / self.parallel + last

    def _plan(self, load: Load) -> tuple[float, float]:
        """Seconds of all batches together, and how many there will be."""
        work = Work(padded_tokens=load.tokens, steps=0.0, row_steps=load.row_steps)
        variable = self.cost.predict(work) - self.cost.fixed_seconds(0.0)
        fixed = self.cost.fixed_seconds(self.steps)
        batches = max(1.0, load.tokens / self.batch_tokens, load.texts / self.batch_rows)
        if self.batch_seconds is not None and self.batch_seconds > fixed:
            batches = max(batches, variable / (self.batch_seconds - fixed))
        return variable + fixed * batches, batches


class Safety:
    """How much longer than predicted answers take: raised by each miss, lowered by each success."""

    def __init__(self) -> None:
        self.factor = _LEAST_SAFETY

    def answered(self, *, missed: bool) -> None:
        """Something that was let in was answered, in time or not."""
        change = _SAFETY_UP if missed else -_SAFETY_DOWN
        self.factor = min(_MOST_SAFETY, max(_LEAST_SAFETY, self.factor + change))
