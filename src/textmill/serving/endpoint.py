"""The endpoint without HTTP: a thread that runs the loop, and calls that are put to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from itertools import count
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from textmill.batching.clock import Clock, RealClock
from textmill.batching.loop import Loop, LoopStats
from textmill.batching.scheduler import BatchLimits, Scheduler
from textmill.core import Failure, Record, Rejected, Request
from textmill.engines.base import Engine, Tokenizer
from textmill.errors import EngineError, UsageError
from textmill.records.shape import Shape
from textmill.serving.calls import Call
from textmill.serving.ends import LiveEnds
from textmill.serving.faults import log_fault
from textmill.serving.health import STALL_SECONDS, Health, State
from textmill.serving.limits import Limits
from textmill.serving.metrics import Metrics
from textmill.serving.refusals import Refused

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0
_PROBE_TEXT = "ping"
_WARM_UP = ((1, 8), (4, 8), (1, 64), (8, 32), (2, 128), (16, 16))
"""Batches to begin with: texts, and words of each."""

_WARM_UP_SECONDS = 10.0


class Window(Protocol):
    """Records made ready, as `transform.windows.Preparer` gives them."""

    rejected: list[Rejected]
    requests: list[Request]


class Preparer(Protocol):
    """Makes requests of records. `prepare` may be called from several threads."""

    def prepare(self, number: int, rows: list[Record | Rejected]) -> Window:
        """One request for each text of each record; a record that cannot be used is rejected."""


class Model(Struct, frozen=True, kw_only=True):
    """What an endpoint serves.

    name: by which it is known to clients. shape: how records are read out of JSON.
    line_params: whether records in JSON Lines may carry parameters; not so with HYPER_PARAMS.
    """

    name: str
    engine: Engine
    tokenizer: Tokenizer
    preparer: Preparer
    batch_limits: BatchLimits
    shape: Shape
    line_params: bool = True


class Endpoint:
    """Answers calls from any thread, until it is closed."""

    def __init__(
        self,
        model: Model,
        *,
        limits: Limits | None = None,
        slo_seconds: float | None = None,
        stall_seconds: float = STALL_SECONDS,
        clock: Clock | None = None,
    ) -> None:
        self.model, self.limits = model, limits or Limits()
        self.slo_seconds = slo_seconds
        self.clock = clock or RealClock()
        self.health = Health(self.clock, stall_seconds=stall_seconds)
        self.metrics = Metrics(self.clock)
        self.ends = LiveEnds(
            model.engine,
            model.tokenizer,
            model.batch_limits,
            limits=self.limits,
            clock=self.clock,
            health=self.health,
            metrics=self.metrics,
            slo_seconds=slo_seconds,
        )
        self._ordinals = count(int(time.time()))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="textmill-loop", daemon=True)

    def start(self) -> None:
        """Begin to compute. Returns when a real batch has been computed.

        Raises `EngineError` when the engine cannot compute even that, and `UsageError` when what a
        call gets that asks for nothing is over the limits.
        """
        self._check_defaults()
        self._thread.start()
        self._warm_up()

    @property
    def state(self) -> State:
        """Whether it works."""
        return self.health.state

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def prepare(self, rows: Sequence[Record | Rejected]) -> Window:
        """Requests for records. A record that cannot be used is in `rejected`."""
        return self.model.preparer.prepare(0, list(rows))

    def call(self, window: Window, *, deadline: float | None = None) -> Call:
        """Put a window's requests to the engine; the call's `done` gets the answers.

        deadline: by the endpoint's clock. Raises `Refused`.
        """
        self.limits.check_requests(window.requests)
        requests = [self._named(request) for request in window.requests]
        call = Call(requests, arrived=self.clock.now(), deadline=deadline)
        if requests:
            self.ends.offer(call)
        else:
            call.done.set_result([])
        return call

    def probe(self) -> None:
        """Have a batch computed if none was for a while; the answer shows in `state`."""
        if self.health.wants_probe:
            self.ends.offer(self._text_call([_PROBE_TEXT]))

    def close(self, drain_seconds: float = 30.0) -> bool:
        """Answer what was taken, within some time; then end. Returns whether all was answered."""
        self.ends.close()
        self._stopped.set()
        if not self._thread.ident:
            return True
        self._thread.join(drain_seconds)
        drained = not self._thread.is_alive()
        if not drained:
            self.ends.fail_all()
        return drained

    def _named(self, request: Request) -> Request:
        """A name of its own for what is sampled without a seed, so that each call draws anew.

        With a seed the name is the place in the call, as in a job: the same call, the same text.
        """
        if request.params.do_sample and request.params.seed is None:
            return Request(next(self._ordinals), request.index, request.ids, request.params)
        return request

    def _run(self) -> None:
        """The loop, again and again: whatever breaks it costs what it had in hand."""
        fault: BaseException | None = None
        pause = _FIRST_PAUSE_S
        while True:
            stats = LoopStats()
            try:
                if fault is not None:
                    self._recover(fault)
                    if self._stopped.wait(pause) and self.ends.is_empty:
                        return
                self._new_loop(stats).run()
            except BaseException as error:  # noqa: BLE001 - whatever it was, the next call is served
                fault = error
                pause = _FIRST_PAUSE_S if stats.batches > 1 else min(2 * pause, _LONGEST_PAUSE_S)
            else:
                return

    def _recover(self, fault: BaseException) -> None:
        """Answer what the loop had in hand, which nobody computes any more."""
        log_fault("the loop broke", fault)
        self.metrics.broke()
        self.ends.fail_all_taken()

    def _new_loop(self, stats: LoopStats) -> Loop:
        model = self.model
        padded = model.engine.capabilities.padded
        scheduler = Scheduler(model.batch_limits, model.engine.group, padded=padded)
        loop = Loop(self.ends, scheduler, model.engine, self.ends, journal=self.ends, stats=stats)
        self.ends.wake = loop.wake
        return loop

    def _check_defaults(self) -> None:
        window = self.prepare([Record(ordinal=0, id=b"0", texts=(_PROBE_TEXT,))])
        try:
            self.limits.check_requests(window.requests)
        except Refused as refused:
            raise UsageError(
                f"every call without parameters would be refused: {refused.message}",
                hint="set fewer, or allow more (--max-new-tokens)",
            ) from refused

    def _warm_up(self) -> None:
        """Compute batches of several shapes: readiness means it, and the cost model needs them."""
        started = time.monotonic()
        for texts, words in _WARM_UP:
            call = self._text_call([" ".join(["word"] * words)] * texts)
            if call.requests:
                self.ends.offer(call)
                answers = call.done.result()
                if self.state is State.STARTING and isinstance(answers[0], Failure):
                    raise EngineError(f"the engine cannot compute: {answers[0].message}")
            if time.monotonic() - started > _WARM_UP_SECONDS:
                return

    def _text_call(self, texts: list[str]) -> Call:
        """A call of the endpoint's own, with the model's own parameters but few tokens."""
        rows = [Record(ordinal=n, id=b"0", texts=(text,)) for n, text in enumerate(texts)]
        window = self.prepare(rows)
        return Call([_short(request) for request in window.requests], arrived=self.clock.now())


def _short(request: Request) -> Request:
    """The request with a short answer."""
    params = request.params
    few = min(params.max_new_tokens, max(8, params.min_new_tokens))
    return replace(request, params=replace(params, max_new_tokens=few))
