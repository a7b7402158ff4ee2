"""What the endpoint knows of the time that computing takes: learnt from each batch, asked before.

It has no clock, and is not thread-safe: the ends of the loop call it under their lock.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from textmill.batching.scheduler import BatchLimits, decoded_rows
from textmill.core import Batch, Params
from textmill.engines.base import Capabilities
from textmill.serving.admission import LATE_SHARE, Load, Pace, Safety
from textmill.serving.backlog import Ceiling, Waiting
from textmill.serving.budget import Budget
from textmill.serving.cost import CostModel, Steps, Work

_FULL_SHARE = 0.8
"""Of the budget: a batch of at least this size was limited by it, and not by lack of requests."""


class Running(Struct):
    """A batch in the engine.

    since: when its computing began; None while it waits in there. steps: of its answers.
    late: whether one of its answers came too late. full: see `Budget.batch_done`.
    """

    batch: Batch
    work: Work
    full: bool
    since: float | None = None
    steps: list[int] = []
    late: bool = False


class Forecast:
    """Predicts, from the batches in the engine, those before, and the limits of the next."""

    def __init__(
        self, capabilities: Capabilities, limits: BatchLimits, *, slo_seconds: float | None
    ) -> None:
        """slo_seconds: the latency target; None if there is none."""
        self._padded, self._parallel = capabilities.padded, capabilities.parallel
        self._rows, self._slo = limits.max_batch_rows, slo_seconds
        self._cost, self._steps, self._safety = CostModel(), Steps(), Safety()
        self._running: list[Running] = []
        self.budget = Budget(limits.max_batch_tokens, slo_seconds=slo_seconds)

    # What is asked

    @property
    def is_idle(self) -> bool:
        """Whether no batch is in the engine."""
        return not self._running

    def steps(self, params: Params) -> float:
        """Tokens that an answer is expected to have."""
        return self._steps.expected(params)

    def seconds_alone(self, waiting: Waiting) -> float:
        """What a request adds to the time of all workers."""
        work = Work(
            padded_tokens=waiting.tokens,
            steps=waiting.steps,
            row_steps=waiting.rows * waiting.steps,
        )
        return self._cost.predict(work) / self._parallel

    def seconds_until_done(self, load: Load, now: float) -> float:
        """When the last of some requests would be answered, from now."""
        pace = Pace(
            cost=self._cost,
            steps=self._steps.longest,
            batch_tokens=self.budget.tokens,
            batch_rows=self._rows,
            batch_seconds=self.budget.batch_seconds,
            parallel=self._parallel,
            running_seconds=sum(self._left(running, now) for running in self._running),
        )
        return pace.seconds_until_done(load)

    def with_safety(self, predicted: float) -> float:
        """What a prediction may grow to."""
        return predicted * self._safety.factor

    def ceiling(self, oldest: Waiting | None) -> Ceiling:
        """How large the next batch may be, which the oldest request is in."""
        steps = self._steps.expected_longest(oldest.request.params) if oldest else 0.0
        return Ceiling(
            tokens=self.budget.tokens,
            rows=self._rows,
            padded=self._padded,
            seconds=self.budget.batch_seconds,
            steps=steps,
            cost=self._cost,
        )

    # What is told

    def began(self, batch: Batch, waiting: Sequence[Waiting], now: float) -> Running:
        """The batch goes to the engine, where it may still wait for a worker."""
        work = Work(
            padded_tokens=self._padded_tokens(waiting),
            steps=self._steps.expected_longest(waiting[0].request.params),
            row_steps=sum(one.rows * one.steps for one in waiting),
        )
        full = work.padded_tokens > self.budget.tokens * _FULL_SHARE
        running = Running(batch, work, full, steps=[])
        self._running.append(running)
        self._start_clocks(now)
        return running

    def ended(self, batch: Batch, now: float) -> Running | None:
        """The batch is out of the engine, whatever became of it. None if it was not in there."""
        found = next((one for one in self._running if one.batch is batch), None)
        if found is not None:
            self._running.remove(found)
        self._start_clocks(now)
        return found

    def broke(self) -> None:
        """Nothing is in the engine any more."""
        self._running.clear()

    def answered(self, running: Running | None, seconds: float, *, predicted: float) -> None:
        """A request has its answer, so long after it was due."""
        if self._slo is None:
            return
        if seconds <= self._slo * LATE_SHARE:
            self._safety.kept(seconds, predicted)
        elif running is not None:
            running.late = True

    def learn(self, running: Running, seconds: float) -> None:
        """A batch was computed in so many seconds; only what has all its answers teaches costs."""
        if running.late:
            self._safety.missed()
        requests = running.batch.requests
        if len(running.steps) != len(requests):
            return
        rows = sum(
            steps * decoded_rows(request.params)
            for steps, request in zip(running.steps, requests, strict=True)
        )
        work = Work(
            padded_tokens=running.work.padded_tokens, steps=max(running.steps), row_steps=rows
        )
        self._cost.observe(work, seconds)
        self._steps.observe(running.steps)
        self.budget.batch_done(int(running.work.padded_tokens), seconds, full=running.full)

    def _left(self, running: Running, now: float) -> float:
        elapsed = 0.0 if running.since is None else now - running.since
        return max(0.0, self._cost.predict(running.work) - elapsed)

    def _start_clocks(self, now: float) -> None:
        for running in self._running[: self._parallel]:
            if running.since is None:
                running.since = now

    def _padded_tokens(self, waiting: Sequence[Waiting]) -> int:
        if self._padded:
            return len(waiting) * max(one.tokens for one in waiting)
        return sum(one.tokens for one in waiting)
