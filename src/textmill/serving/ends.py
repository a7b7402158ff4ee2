"""The two ends of the endpoint's loop: calls in, answers out.

One object is source, sink and journal, because what goes next depends on what has come back. All
decisions are pure and in other modules; here they meet the clock, the lock and the threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from itertools import count

from textmill.batching.clock import Clock
from textmill.batching.loop import Verdict
from textmill.batching.scheduler import BatchLimits, decoded_rows, numbered
from textmill.core import Batch, Completion, Failure, Outcome, Request
from textmill.engines.base import Engine, Tokenizer
from textmill.errors import ErrorCode
from textmill.serving.admission import Load
from textmill.serving.answers import Answer, answers_of
from textmill.serving.backlog import REACH, REACH_IN_TIME, Backlog, Waiting, load_of
from textmill.serving.calls import Call
from textmill.serving.forecast import Forecast, Running
from textmill.serving.health import Health
from textmill.serving.limits import Limits
from textmill.serving.metrics import BatchSeen, Metrics
from textmill.serving.refusals import Code, Refused

_BROKEN = "the engine broke down while it worked on this; try again"
_LEAST_RETRY_S = 1.0


class _Taken:
    """Requests that were handed to the loop as one batch. left: of them without an answer."""

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left


class _Entry:
    """A request on its way. position: in its call. taken: None while it waits.

    running: the batch it was last computed in.
    """

    __slots__ = ("call", "position", "running", "taken", "waiting")

    def __init__(self, call: Call, position: int, waiting: Waiting) -> None:
        self.call, self.position, self.waiting = call, position, waiting
        self.taken: _Taken | None = None
        self.running: Running | None = None


class LiveEnds:
    """Implements `Source`, `Sink` and `Journal` of `batching.loop`. Thread-safe."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        batch_limits: BatchLimits,
        *,
        limits: Limits,
        clock: Clock,
        health: Health,
        metrics: Metrics,
        slo_seconds: float | None = None,
    ) -> None:
        self._tokenizer, self._clock, self._limits = tokenizer, clock, limits
        self._group = engine.group
        self._parallel = engine.capabilities.parallel
        self._slo, self._health, self._metrics = slo_seconds, health, metrics
        self._forecast = Forecast(engine.capabilities, batch_limits, slo_seconds=slo_seconds)
        self._backlog = Backlog(reach=REACH if slo_seconds is None else REACH_IN_TIME)
        self._entries: dict[int, _Entry] = {}
        self._busy = 0
        self._serials = count()
        self._closing = False
        self._changed = threading.Condition()
        self.handling_seconds = 0.0
        """What a call takes now besides waiting and being computed; told by whoever speaks HTTP."""
        self.wake: Callable[[], None] = _nothing
        """Ends the loop's wait for the engine; set by whoever runs the loop."""

    # What callers do

    def offer(self, call: Call) -> None:
        """Take a call in, or raise `Refused` when it cannot be answered in time."""
        with self._changed:
            now = self._clock.now()
            entries = self._entries_of(call, now)
            self._admit(call, entries, now)
            try:
                self._enter(entries)
            except BaseException:
                self._withdraw(entries)
                raise
            self._changed.notify()
            free = 0 < self._busy < self._parallel
        if free:
            self.wake()

    def check_room(self) -> None:
        """Raise `Refused` when not even a short text could be answered in time.

        For a call that has not been read yet, so that a refusal costs nothing.
        """
        with self._changed:
            self._refuse_if_closing()
            self._check_time(Load(texts=1, tokens=1, row_steps=1), None, self._clock.now())

    def cancel(self, call: Call) -> None:
        """The client has left: what waits of its call is dropped, what is computed goes on."""
        with self._changed:
            call.cancelled = True
            waiting = [w for w in call.waiting if self._backlog.holds(w)]
            self._withdraw([self._entries[id(w.request)] for w in waiting])
            self._metrics.departed(len(waiting))

    def close(self) -> None:
        """Take no more calls; `take` ends once those in here are answered."""
        with self._changed:
            self._closing = True
            self._health.drain()
            self._changed.notify_all()

    def fail_all_taken(self) -> None:
        """The loop broke: what it had will never be answered, and what waits still may be."""
        with self._changed:
            lost = [e for e in self._entries.values() if not self._backlog.holds(e.waiting)]
            self._forecast.broke()
            self._busy = 0
        self._fail(lost)

    def fail_all(self) -> None:
        """Nothing of what is in here will be answered."""
        with self._changed:
            lost = list(self._entries.values())
            for entry in lost:
                self._backlog.discard(entry.waiting)
        self._fail(lost)

    def _fail(self, lost: Sequence[_Entry]) -> None:
        self.give([Failure(e.waiting.request, ErrorCode.ENGINE_ERROR, _BROKEN) for e in lost])

    @property
    def is_empty(self) -> bool:
        """Whether every call has its answers."""
        with self._changed:
            return not self._entries

    def figures(self) -> dict[str, float]:
        """What stands here now, for the metrics."""
        with self._changed:
            now = self._clock.now()
            seconds = self._forecast.seconds_until_done(self._backlog.standing(now), now)
            return {
                "waiting_texts": len(self._backlog),
                "waiting_tokens": self._backlog.tokens,
                "running_batches": self._busy,
                "batch_budget_tokens": self._forecast.budget.tokens,
                "budget_halvings": self._forecast.budget.halvings,
                "predicted_wait_seconds": seconds,
                "handling_seconds": self.handling_seconds,
            }

    # What the loop does

    def take(self, *, wait: bool) -> Sequence[Request] | None:
        """The next batch; see `Source`."""
        with self._changed:
            if wait:
                self._busy = 0  # the loop has nothing in the engine
            while True:
                chosen = self._choose()
                if chosen:
                    return chosen
                if self._closing and not self._backlog:
                    return None
                if not wait:
                    return ()
                self._changed.wait()

    def wanted(self, batch: Batch) -> Batch | None:
        """The batch without what nobody waits for any more."""
        with self._changed:
            now = self._clock.now()
            entries = [self._entries[id(request)] for request in batch.requests]
            gone = [entry for entry in entries if not entry.call.is_wanted(now)]
            for entry in gone:
                self._forget(entry)
        if not gone:
            return batch
        self._metrics.departed(len(gone))
        kept = tuple(e.waiting.request for e in entries if e.call.is_wanted(now))
        return numbered(kept) if kept else None

    def give(self, outcomes: Sequence[Outcome]) -> None:
        """Answer requests; the calls that are complete with them are done."""
        answers = answers_of(self._tokenizer, outcomes)
        complete: list[Call] = []
        try:
            with self._changed:
                now = self._clock.now()
                for outcome, answer in zip(outcomes, answers, strict=True):
                    self._land(outcome, answer, now, complete)
                if not self._entries:
                    self._health.nothing_waits()
        finally:  # whatever breaks here, who has all answers gets them
            for call in complete:
                _end(call)

    def _land(self, outcome: Outcome, answer: Answer, now: float, complete: list[Call]) -> None:
        entry = self._entries.get(id(outcome.request))
        if entry is None:
            return
        is_complete = entry.call.settle(entry.position, answer, now)
        self._forget(entry)
        if is_complete:
            complete.append(entry.call)
        _note_steps(entry, outcome)
        seconds = now - entry.waiting.due + self.handling_seconds
        self._forecast.answered(entry.running, seconds, predicted=entry.call.predicted)

    def verdict(self, batch: Batch) -> Verdict:  # noqa: ARG002  the protocol's
        """Every batch is new."""
        return Verdict.RUN

    def started(self, batch: Batch) -> None:
        """The batch goes to the engine, where it may still wait for a worker."""
        with self._changed:
            now = self._clock.now()
            entries = [self._entries[id(request)] for request in batch.requests]
            running = self._forecast.began(batch, [entry.waiting for entry in entries], now)
            for entry in entries:
                entry.running = running
                entry.call.begin(now, len(batch.requests))
                self._metrics.waited(max(0.0, now - entry.waiting.due))

    def done(self, batch: Batch) -> None:
        """All its outcomes were given."""
        with self._changed:
            now = self._clock.now()
            running = self._forecast.ended(batch, now)
            if running is None or running.since is None:
                return
            if running.steps:
                self._health.batch_done(work_left=bool(self._entries))
            self._forecast.learn(running, now - running.since)
        self._metrics.batch(_seen(running, now - running.since))

    def split(self, batch: Batch) -> None:
        """It failed, and its halves will be tried."""
        with self._changed:
            self._forecast.ended(batch, self._clock.now())
        self._metrics.split()

    def shrunk(self, tokens: int) -> None:
        """Memory ran out."""
        with self._changed:
            self._forecast.budget.out_of_memory(tokens)

    # Choosing

    def _choose(self) -> list[Request]:
        if not self._backlog:
            return []
        idle = self._parallel - self._busy
        ahead = idle == 0 and self._backlog.tokens >= self._forecast.budget.tokens
        if idle <= 0 and not ahead:
            return []
        ceiling = self._forecast.ceiling(self._backlog.oldest())
        chosen = self._backlog.select(ceiling, idle=max(1, idle))
        taken = _Taken(len(chosen))
        for waiting in chosen:
            self._entries[id(waiting.request)].taken = taken
        self._busy += 1
        return [waiting.request for waiting in chosen]

    def _entries_of(self, call: Call, now: float) -> list[_Entry]:
        """The call's requests as they will wait, each due when the ones before it are computed."""
        due = now
        entries = []
        for position, request in enumerate(call.requests):
            params = request.params
            waiting = Waiting(
                request,
                key=self._key(request),
                due=due,
                serial=next(self._serials),
                rows=decoded_rows(params),
                weight=1 if params.batch_size else None,
                steps=self._forecast.steps(params),
                owner=call,
            )
            due += self._forecast.seconds_alone(waiting)
            call.waiting.append(waiting)
            entries.append(_Entry(call, position, waiting))
        return entries

    def _key(self, request: Request) -> Hashable:
        """What a batch must have in common. Sampling with a seed depends on the batch: alone."""
        params = request.params
        if params.do_sample and params.seed is not None:
            return id(request)
        return (self._group(params), params.batch_size)

    # Admission

    def _admit(self, call: Call, entries: Sequence[_Entry], now: float) -> None:
        self._refuse_if_closing()
        call.predicted = self._check_time(load_of(entries[0].waiting), call.deadline, now)
        texts = len(self._backlog) + len(entries)
        tokens = self._backlog.tokens + sum(entry.waiting.tokens for entry in entries)
        if self._backlog and (
            texts > self._limits.max_waiting_texts or tokens > self._limits.max_waiting_tokens
        ):
            seconds = self._forecast.seconds_until_done(self._backlog.standing(now), now)
            raise self._overloaded("too much waits already", seconds)

    def _check_time(self, own: Load, deadline: float | None, now: float) -> float:
        """Refuse what cannot be answered within the target, or before its deadline.

        Returns the seconds that it will take by the cost model.
        """
        predicted = 0.0
        if self._backlog or not self._forecast.is_idle:  # else it cannot be answered sooner
            predicted = self._forecast.seconds_until_done(self._backlog.standing(now) + own, now)
        seconds = self._forecast.with_safety(predicted) + self.handling_seconds
        if self._slo is not None and seconds > self._slo:
            message = f"an answer would take {seconds:.2f} s, the target is {self._slo:g} s"
            raise self._overloaded(message, seconds - self._slo)
        if deadline is not None and now + predicted > deadline:
            raise self._overloaded(f"an answer would take {predicted:.2f} s", predicted)
        return predicted

    def _refuse_if_closing(self) -> None:
        if self._closing:
            raise Refused(Code.NOT_READY, "the endpoint is stopping", retry_after_s=_LEAST_RETRY_S)

    def _overloaded(self, message: str, seconds: float) -> Refused:
        return Refused(Code.OVERLOADED, message, retry_after_s=max(_LEAST_RETRY_S, seconds))

    # Bookkeeping

    def _enter(self, entries: Sequence[_Entry]) -> None:
        for entry in entries:
            self._entries[id(entry.waiting.request)] = entry
            self._backlog.add(entry.waiting)
        self._health.work_waits()

    def _withdraw(self, entries: Sequence[_Entry]) -> None:
        """Requests that wait, or were about to: nobody will ask for their answers."""
        for entry in entries:
            self._backlog.discard(entry.waiting)
            self._entries.pop(id(entry.waiting.request), None)
        if not self._entries:
            self._health.nothing_waits()

    def _forget(self, entry: _Entry) -> None:
        """The request has its answer, or needs none."""
        del self._entries[id(entry.waiting.request)]
        if entry.taken is not None:
            entry.taken.left -= 1
            if not entry.taken.left:
                self._busy = max(0, self._busy - 1)


def _end(call: Call) -> None:
    """Let whoever waits have the answers, or the fault for want of them."""
    try:
        call.done.set_result(call.answers())
    except Exception as error:  # noqa: BLE001 - the calls that are complete with it have theirs
        call.done.set_exception(error)


def _note_steps(entry: _Entry, outcome: Outcome) -> None:
    """Keep how long the answer is, for the batch it was in."""
    if entry.running is not None and isinstance(outcome, Completion):
        entry.running.steps.append(max(len(s.ids) for s in outcome.sequences) + 1)


def _seen(running: Running, seconds: float) -> BatchSeen:
    tokens = sum(len(request.ids) for request in running.batch.requests)
    return BatchSeen(
        rows=len(running.batch.requests),
        input_tokens=tokens,
        padded_tokens=int(running.work.padded_tokens),
        seconds=seconds,
    )


def _nothing() -> None:
    """Nobody runs a loop yet."""
