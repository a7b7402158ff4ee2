"""Whether a call can be answered in time, decided when it arrives. Pure."""

from __future__ import annotations

from msgspec import Struct

from textmill.serving.cost import CostModel, Work

_RAISE, _LOWER, _LOWER_FAST = 0.2, 0.0002, 0.002
_LEAST_SAFETY, _MOST_SAFETY = 1.1, 3.0
_FAR_BELOW = 0.6

LATE_SHARE = 0.95
"""Of the target: an answer that takes longer is a warning, before one takes too long."""


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
    """How much longer than predicted answers may take.

    Raised by each batch that is too late for some of its calls, lowered by each answer in time: a
    little, or more where the answer came much sooner than the factor allows for.
    """

    def __init__(self) -> None:
        self.factor = _LEAST_SAFETY

    def missed(self) -> None:
        """A batch was too late."""
        self.factor = min(_MOST_SAFETY, self.factor + _RAISE)

    def kept(self, seconds: float, predicted: float) -> None:
        """An answer came in time, after so many seconds."""
        far = seconds < predicted * self.factor * _FAR_BELOW
        self.factor = max(_LEAST_SAFETY, self.factor - (_LOWER_FAST if far else _LOWER))
