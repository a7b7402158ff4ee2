"""The one loop: take, plan, compute, give. Batch jobs and the endpoint both run it.

They differ in the two objects at its ends: where requests come from (`Source`) and where outcomes
go (`Sink`). The loop never knows which it serves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import Protocol

from textmill.batching.clock import Clock, RealClock
from textmill.batching.scheduler import Scheduler
from textmill.core import Batch, Failure, Outcome, Request
from textmill.engines.base import BatchError, Engine, Interruptible
from textmill.errors import ErrorCode, InvariantError, engine_error
from textmill.telemetry import Action, note


class Source(Protocol):
    """Where requests come from."""

    def take(self, *, wait: bool) -> Sequence[Request] | None:
        """The next window of requests; empty if none is ready and `wait` is False; None at the end.

        With `wait` True it blocks until there is a window or the end.
        """

    def wanted(self, batch: Batch) -> Batch | None:
        """The part of a planned batch that is still to be computed; None when nothing is."""


class Sink(Protocol):
    """Where outcomes go."""

    def give(self, outcomes: Sequence[Outcome]) -> None:
        """Take some outcomes. Each request's outcome is given exactly once."""


class Verdict(Enum):
    """What to do with a batch, in the light of what happened to it in earlier runs."""

    RUN = "run"
    AGAIN = "again"
    """It was in the engine when a run ended: whole, even if memory has become short meanwhile."""
    SPLIT = "split"
    GIVE_UP = "give up"
    """Its only request has ended the process again and again."""


class Journal(Protocol):
    """What was tried, written down before it is tried, so that a later run can do the same."""

    def verdict(self, batch: Batch) -> Verdict:
        """What to do with a batch. `RUN` if no earlier run has told anything of it."""

    def started(self, batch: Batch) -> None:
        """The batch is about to be computed."""

    def done(self, batch: Batch) -> None:
        """All outcomes of the batch were given to the sink."""

    def split(self, batch: Batch) -> None:
        """The batch is about to be computed as two halves (`scheduler.halves`)."""

    def shrunk(self, tokens: int) -> None:
        """Memory ran out: batches of more tokens than this will be split."""


class NoJournal:
    """For work that no later run goes on with."""

    def verdict(self, batch: Batch) -> Verdict:  # noqa: ARG002  the protocol's
        """Every batch is new."""
        return Verdict.RUN

    def started(self, batch: Batch) -> None:
        """Nobody will ask."""

    def done(self, batch: Batch) -> None:
        """Nobody will ask."""

    def split(self, batch: Batch) -> None:
        """Nobody will ask."""

    def shrunk(self, tokens: int) -> None:
        """Nobody will ask."""


class LoopStats:
    """What the loop did, for the manifest and the benchmarks.

    batches, requests, input_tokens, padded_tokens: totals handed to the engine.
    seconds: of the whole loop; starved_seconds: of it, with nothing in the engine.
    """

    def __init__(self) -> None:
        self.batches = self.requests = self.input_tokens = self.padded_tokens = 0
        self.seconds = self.starved_seconds = 0.0

    def count(self, batch: Batch) -> None:
        """Add one batch."""
        self.batches += 1
        self.requests += len(batch.requests)
        self.input_tokens += sum(len(r.ids) for r in batch.requests)
        self.padded_tokens += len(batch.requests) * max(len(r.ids) for r in batch.requests)

    @property
    def padding_share(self) -> float:
        """Share of the padded input that is padding, 0 to 1."""
        return 1 - self.input_tokens / self.padded_tokens if self.padded_tokens else 0.0


class _Flight:
    """A batch in the engine, and how many of its requests have no outcome yet."""

    __slots__ = ("batch", "left")

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.left = len(batch.requests)


class _Flights:
    """What the engine owes: an outcome for each request of each batch it took.

    Requests are told apart by identity, which costs a tenth of comparing them; a batch that is
    held keeps the identities of its requests their own.
    """

    def __init__(self) -> None:
        self._flight_of: dict[int, _Flight] = {}

    def __len__(self) -> int:
        """Requests in flight."""
        return len(self._flight_of)

    def add(self, batch: Batch) -> None:
        self._flight_of.update(dict.fromkeys(map(id, batch.requests), _Flight(batch)))

    def remove(self, batch: Batch) -> None:
        """The engine has forgotten the batch."""
        for request in batch.requests:
            self._flight_of.pop(id(request), None)

    def landed(self, outcomes: Sequence[Outcome]) -> list[Batch]:
        """Take outcomes off; returns the batches that are complete with them.

        Raises `KeyError` for an outcome that nobody waits for.
        """
        complete = []
        for outcome in outcomes:
            flight = self._flight_of.pop(id(outcome.request))
            flight.left -= 1
            if not flight.left:
                complete.append(flight.batch)
        return complete


class Loop:
    """Drives one engine from one source into one sink, until the source ends."""

    def __init__(
        self,
        source: Source,
        scheduler: Scheduler,
        engine: Engine,
        sink: Sink,
        *,
        journal: Journal | None = None,
        clock: Clock | None = None,
        stats: LoopStats | None = None,
    ) -> None:
        """stats: what is counted as it happens, by default a fresh one."""
        self._source, self._scheduler, self._engine, self._sink = source, scheduler, engine, sink
        self._journal = journal or NoJournal()
        self._clock = clock or RealClock()
        self._flights = _Flights()
        self._idle_since = 0.0
        self._ended = False
        self._wakes = self._wakes_spent = 0
        self.stats = stats or LoopStats()

    def run(self) -> LoopStats:
        """Until the source has ended and every request has its outcome."""
        started = self._idle_since = self._clock.now()
        try:
            while self._fill():
                self._step()
        except BaseException:
            self._engine.abandon()  # what was in flight must not answer a later loop
            raise
        self.stats.seconds = self._clock.now() - started
        self.stats.starved_seconds += self._clock.now() - self._idle_since
        return self.stats

    def _step(self) -> None:
        before = len(self._flights)
        self._land(self._attempt(self._engine.step))
        if len(self._flights) == before:
            self._spend_wake(before)

    def wake(self) -> None:
        """The source has more: ask it now rather than when the engine has answered.

        May be called from any thread. An engine that cannot be interrupted goes on.
        """
        if isinstance(self._engine, Interruptible):
            self._wakes += 1  # before the interrupt, which is what it excuses
            self._engine.interrupt()

    def _spend_wake(self, in_flight: int) -> None:
        """A step that answers nothing is either interrupted or a fault of the engine."""
        if self._wakes_spent == self._wakes:
            raise self._broken(f"answers none of {in_flight} requests in flight")
        self._wakes_spent += 1

    def _fill(self) -> bool:
        """Keep the engine full: a free engine never waits for a batch that could be had.

        Returns whether anything is in flight.
        """
        while self._engine.room() > 0:
            batch = self._next_batch()
            if batch is None:
                break
            self._journal.started(batch)
            self._launch(batch)
            self._land(self._attempt(partial(self._engine.add, batch)))
        return len(self._flights) > 0

    def _next_batch(self) -> Batch | None:
        """A batch to compute, taking windows as needed; None if there is none to be had now."""
        while True:
            batch = self._scheduler.next_batch()
            if batch is not None:
                wanted = self._source.wanted(batch)
                if wanted is not None and self._is_to_run(wanted):
                    return wanted
            elif not self._take():
                return None

    def _is_to_run(self, batch: Batch) -> bool:
        """Whether to compute the batch as it is; if not, it has been split or given up."""
        verdict = self._journal.verdict(batch)
        if verdict is Verdict.GIVE_UP:
            self._sink.give([Failure(batch.requests[0], ErrorCode.CRASHED, _GIVEN_UP)])
        elif verdict is Verdict.SPLIT or self._is_too_large(batch, verdict):
            self._split(batch)
        else:
            return True
        return False

    def _is_too_large(self, batch: Batch, verdict: Verdict) -> bool:
        return verdict is Verdict.RUN and self._scheduler.over_budget(batch)

    def _split(self, batch: Batch) -> None:
        self._journal.split(batch)
        self._scheduler.split(batch)

    def _take(self) -> bool:
        if self._ended:
            return False
        window = self._source.take(wait=not self._flights)
        if window is None:
            self._ended = True
        elif window:
            self._scheduler.add(window)
        return bool(window)

    def _launch(self, batch: Batch) -> None:
        if not self._flights:
            self.stats.starved_seconds += self._clock.now() - self._idle_since
        self._flights.add(batch)
        self.stats.count(batch)

    def _land(self, outcomes: Sequence[Outcome]) -> None:
        """Hand outcomes on; a batch is done once the sink has the last of them."""
        if not outcomes:
            return
        try:
            complete = self._flights.landed(outcomes)
        except KeyError:
            raise self._broken("answers a request that is not in flight") from None
        if not self._flights:
            self._idle_since = self._clock.now()
        self._sink.give(outcomes)
        for batch in complete:
            self._journal.done(batch)

    def _broken(self, what: str) -> InvariantError:
        return InvariantError(f"the engine {self._engine.capabilities.name} {what}")

    def _attempt(self, call: Callable[[], Sequence[Outcome] | None]) -> Sequence[Outcome]:
        """Call the engine; a failed batch is split until the culprit stands alone."""
        try:
            return call() or ()
        except BatchError as error:
            return self._failed(error)

    def _failed(self, error: BatchError) -> Sequence[Outcome]:
        """Split the batch, or say that its only request has failed."""
        batch = error.batch
        failure = _failure(batch.requests[0], error)
        if len(batch.requests) == 1:
            return [failure]
        self._flights.remove(batch)
        if not self._flights:
            self._idle_since = self._clock.now()
        if failure.code is ErrorCode.OOM:
            tokens = self._scheduler.shrink(batch)
            self._journal.shrunk(tokens)
            note(Action.SHRUNK, f"memory ran out: batches have at most {tokens:,} tokens from now")
        self._split(batch)
        return ()


_GIVEN_UP = (
    "every run that began this record alone has died on it; --retry-failed tries it once more"
)


def _failure(request: Request, error: BatchError) -> Failure:
    cause = engine_error(error.__cause__ or error)
    return Failure(request, cause.code, cause.message, error.attempts)
