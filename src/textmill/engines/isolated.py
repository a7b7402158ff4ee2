"""An engine that computes in a process of its own, so that its death costs a record at most.

When the process dies, it is started again, and the batches it had are computed one at a time: a
batch that it dies of alone fails as a `BatchError`, which the Loop splits down to the record.
See `docs/decisions/worker-process.md`.
"""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from typing import Protocol

import msgspec

from textmill.core import Batch, Outcome, Params
from textmill.engines import wire
from textmill.engines.base import BatchError, Capabilities
from textmill.engines.flights import Flight, Flights
from textmill.engines.process import Exit, Wakeup, WorkerProcess
from textmill.errors import EngineError, ErrorCode, ModelError
from textmill.telemetry import Action, note

DEFAULT_TIMEOUT_S = 600.0

_LOAD_TIMEOUT_S = 1800.0
_LOADS, _LOADS_WHEN_KILLED = 3, 8
_TRIES_WHEN_KILLED = 3
"""A process that is killed is mostly killed by somebody else, so it gets more tries."""

_FIRST_PAUSE_S = 0.1
_SLICE_S, _LATE_S = 1.0, 1.0
"""A wait of one slice that took this much longer: this very process was stopped meanwhile."""

_OUT_OF_MEMORY = ("bad_alloc", "MemoryError", "annot allocate memory", "out of memory")


class Rules(Protocol):
    """What an engine answers without computing; as in `engines.base.Engine`."""

    @property
    def capabilities(self) -> Capabilities:
        """What the engine declares about itself."""

    def check(self, params: Params) -> None:
        """Raise `UnsupportedParameter` for parameters this engine cannot honour exactly."""

    def group(self, params: Params) -> Hashable:
        """Requests whose groups are equal may share a batch."""


class IsolatedEngine:
    """Implements `engines.base.Engine` by a process that has the engine of an order."""

    def __init__(
        self,
        order: wire.Order,
        rules: Rules,
        *,
        parallel: int = 1,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
    ) -> None:
        """Start the process; loading goes on meanwhile, and `wait_until_loaded` waits for it.

        parallel: batches that the engine computes at a time.
        timeout_s: of the computing of one batch; None means no limit.
        """
        self.order = order
        self._rules, self._timeout_s = rules, timeout_s
        self._flights = Flights(parallel)
        self._closed = False
        self._wakeup = Wakeup()
        self._interrupts = self._interrupts_seen = 0
        self._worker: WorkerProcess | None = WorkerProcess(order)

    @property
    def capabilities(self) -> Capabilities:
        """Those of the rules."""
        return self._rules.capabilities

    @property
    def pid(self) -> int | None:
        """Of the process; None while there is none."""
        return self._worker.pid if self._worker else None

    def check(self, params: Params) -> None:
        """As the rules do."""
        self._rules.check(params)

    def group(self, params: Params) -> Hashable:
        """As the rules do."""
        return self._rules.group(params)

    def room(self) -> int:
        """Three batches for each that is computed at a time; none while a crash is looked into."""
        return self._flights.room()

    def wait_until_loaded(self) -> None:
        """Return when the engine is ready to compute, starting its process again if need be.

        Raises what loading it raised, and `ModelError` if the process dies or hangs each time.
        """
        self._ready_worker()

    def add(self, batch: Batch) -> None:
        """Take a batch; `step` sends it. Raises `BatchError` if it is empty or cannot be sent,
        and when the engine is closed."""
        serial = self._flights.new_serial()
        try:
            work = self._pack(serial, batch)
        except EngineError as error:
            raise BatchError(batch) from error
        self._flights.add(serial, batch, work)

    def step(self) -> Sequence[Outcome]:
        """The outcomes of the batch that is done first; none if it is interrupted.

        Raises what `wait_until_loaded` raises when the process died and cannot be replaced.
        """
        while self._flights:
            worker = self._ready_worker()
            chosen = self._flights.send(time.monotonic())
            if chosen:
                worker.send([flight.work for flight in chosen])
            outcomes = self._handle(worker, self._wait(worker))
            if outcomes or self._was_interrupted():
                return outcomes
        return ()

    def interrupt(self) -> None:
        """Let `step` return, so that it can be given more."""
        self._interrupts += 1
        self._wakeup.set()

    def _was_interrupted(self) -> bool:
        seen, self._interrupts_seen = self._interrupts_seen, self._interrupts
        return seen != self._interrupts_seen

    def abandon(self) -> None:
        """Forget the batches in flight; a process that computes some is ended."""
        if self._flights.sent:
            self._end()
        self._flights.clear()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._closed = True
        self._flights.clear()
        self._end()
        self._wakeup.close()

    def _pack(self, serial: int, batch: Batch) -> msgspec.Raw:
        if self._closed:
            raise EngineError("the engine is closed")
        if not batch.requests:
            raise EngineError("the batch is empty")
        return wire.pack(serial, batch)

    def _wait(self, worker: WorkerProcess) -> wire.Reply | Exit | None:
        """What the process says next; None when it has said nothing for a while."""
        before = time.monotonic()
        event = worker.receive(self._patience(before), self._wakeup)
        late = time.monotonic() - before - _SLICE_S
        if late > _LATE_S and self._timeout_s is not None:
            self._flights.forgive(late)
        return event

    def _patience(self, now: float) -> float | None:
        first = self._flights.first_start()
        if self._timeout_s is None or first is None:
            return None
        return max(0.0, min(_SLICE_S, first + self._timeout_s - now))

    def _handle(self, worker: WorkerProcess, event: wire.Reply | Exit | None) -> Sequence[Outcome]:
        match event:
            case wire.Done(serial, answers):
                return wire.outcomes(self._answered(serial).batch, answers)
            case wire.BatchFailed(serial, code, message):
                raise BatchError(self._answered(serial).batch) from EngineError(message, code=code)
            case None:
                self._look_at_the_clock()
            case Exit():
                self._died(worker, *verdict(event))
            case wire.Broken(code, message):
                self._died(worker, EngineError(message, code=code), 1)
            case _:
                self._died(
                    worker, EngineError(f"the engine's process spoke out of turn: {event}"), 1
                )
        return ()

    def _answered(self, serial: int) -> Flight:
        return self._flights.answered(serial, time.monotonic())

    def _look_at_the_clock(self) -> None:
        first = self._flights.first_start()
        if self._timeout_s is None or first is None:
            return
        latest = time.monotonic() - self._timeout_s
        if first <= latest:
            self._end()
            error = EngineError(
                f"not done after {self._timeout_s:g} s; allow more with --timeout, or less work "
                "with max_new_tokens",
                code=ErrorCode.TIMEOUT,
            )
            note(Action.RESTARTED, f"a batch was {error.message}; the engine is started again")
            _blame(self._flights.overdue(latest), error)

    def _died(self, worker: WorkerProcess, error: EngineError, tries: int) -> None:
        fresh = not worker.answered
        self._end()
        note(Action.RESTARTED, f"{error.message}; it is started again")
        _blame(self._flights.died(tries=tries, fresh=fresh), error)

    def _end(self) -> None:
        if self._worker is not None:
            self._worker.close()
        self._worker = None

    def _ready_worker(self) -> WorkerProcess:
        """A process whose engine is loaded: the one there is, or a new one."""
        deaths: list[Exit] = []
        while self._worker is None or not self._worker.loaded:
            self._worker = self._worker or WorkerProcess(self.order)
            event = self._worker.receive(_LOAD_TIMEOUT_S)
            if not self._worker.loaded:
                self._end()
                deaths.append(_death(event))
                note(Action.RESTARTED, f"the engine's process {deaths[-1]} while it was loading")
                time.sleep(pause_before_next_load(deaths))
        return self._worker


def _death(event: wire.Reply | Exit | None) -> Exit:
    """The exit that an event of loading is. Raises the error of loading when there was none."""
    match event:
        case Exit():
            return event
        case wire.NotLoaded():
            raise wire.loading_error(event)
        case None:
            raise ModelError(f"the engine did not load within {_LOAD_TIMEOUT_S:g} s")
        case _:
            raise ModelError(f"the engine did not load: {event}")


def pause_before_next_load(deaths: Sequence[Exit]) -> float:
    """Seconds to wait after processes died while they loaded.

    Raises `ModelError` when it would be of no use to try again.
    """
    last = deaths[-1]
    if len(deaths) >= (_LOADS_WHEN_KILLED if last.was_killed else _LOADS):
        raise ModelError(
            f"the engine cannot be loaded: {len(deaths)} times its process {last}",
            hint=_MEMORY_HINT if last.was_killed else _CRASH_HINT,
        )
    return _FIRST_PAUSE_S * 2 ** (len(deaths) - 1) if last.was_killed else 0.0


def verdict(exit_: Exit) -> tuple[EngineError, int]:
    """What a batch fails with when the process ends so, and after how many fair trials."""
    if any(words in exit_.output for words in _OUT_OF_MEMORY):
        message = f"out of memory: the engine's process {exit_}"
        return EngineError(message, code=ErrorCode.OOM), 1
    hint = _MEMORY_HINT if exit_.was_killed else _CRASH_HINT
    tries = _TRIES_WHEN_KILLED if exit_.was_killed else 1
    error = EngineError(f"the engine's process {exit_}; {hint}", code=ErrorCode.CRASHED)
    return error, tries


def _blame(condemned: Flight | None, error: EngineError) -> None:
    if condemned is not None:
        raise BatchError(condemned.batch, attempts=condemned.attempts) from error


_MEMORY_HINT = (
    "the system kills a process mostly because memory is short: use fewer threads, a smaller "
    "max_batch_tokens, or shorter inputs"
)
_CRASH_HINT = "this is a fault of the engine's native code: try another precision, and report it"
