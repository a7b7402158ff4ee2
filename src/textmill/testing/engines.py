"""Engines that misbehave on purpose, for tests of what stands around an engine."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from enum import IntEnum

from textmill.core import Batch, Outcome, Params, Request
from textmill.engines.base import BatchError, Capabilities, Engine
from textmill.engines.echo import EchoEngine
from textmill.errors import EngineError


class PoisonEngine:
    """Wraps an engine; fails every batch that holds a poisoned request.

    poison: which requests are poison. error: what such a batch dies of. when: "add" or "step".
    calls: every batch it was given, for assertions.
    """

    def __init__(
        self,
        inner: Engine,
        poison: Callable[[Request], bool],
        *,
        error: Exception | None = None,
        when: str = "step",
    ) -> None:
        self._inner, self._poison, self._when = inner, poison, when
        self._error = error or RuntimeError("poison")
        self._doomed: list[Batch] = []
        self.calls: list[Batch] = []

    @property
    def capabilities(self) -> Capabilities:
        """Those of the engine inside."""
        return self._inner.capabilities

    def check(self, params: Params) -> None:
        """As the engine inside."""
        self._inner.check(params)

    def group(self, params: Params) -> Hashable:
        """As the engine inside."""
        return self._inner.group(params)

    def room(self) -> int:
        """As the engine inside, doomed batches counted."""
        return self._inner.room() - len(self._doomed)

    def add(self, batch: Batch) -> None:
        """Take a batch; a poisoned one fails here or in the next step."""
        self.calls.append(batch)
        if not any(map(self._poison, batch.requests)):
            self._inner.add(batch)
        elif self._when == "add":
            raise BatchError(batch) from self._error
        else:
            self._doomed.append(batch)

    def step(self) -> Sequence[Outcome]:
        """Fail a doomed batch, or step the engine inside."""
        if self._doomed:
            raise BatchError(self._doomed.pop()) from self._error
        return self._inner.step()

    def abandon(self) -> None:
        """Forget the doomed, and as the engine inside."""
        self._doomed.clear()
        self._inner.abandon()

    def close(self) -> None:
        """As the engine inside."""
        self._inner.close()


class Venom(IntEnum):
    """Token ids that make a `VenomousEngine` misbehave when it computes a request with them."""

    RAISE = 1000
    """An error that is no `BatchError`."""
    FAIL = 1001
    """A `BatchError`, as an engine should."""
    TOO_FEW = 1002
    """The batch's last answer is missing."""
    TOO_MANY = 1003
    """One answer comes twice."""
    NO_MEMORY = 1004
    """An allocation that fails."""
    BAD_ALLOC = 1005
    """The C++ library ends the process, as it does for want of memory that nobody handles."""
    HANG = 1006
    """Sleeps for ever."""
    HANG_IN_NATIVE_CODE = 1007
    """Sleeps for ever, and no other Python thread runs."""
    SEGFAULT = 1008
    """Reads address 0."""
    ABORT = 1009
    """SIGABRT."""
    EXIT = 1010
    """Ends the process with status 9."""
    KILL = 1011
    """SIGKILL, as the kernel does for memory."""
    SLOW = 1012
    """A fifth of a second, and then the right answer."""


class VenomousEngine(EchoEngine):
    """An echo that the `Venom` in a request's ids poisons. For a process of its own only."""

    def __init__(self) -> None:
        super().__init__()
        self._batches: deque[Batch] = deque()

    def add(self, batch: Batch) -> None:
        """Take a batch."""
        super().add(batch)
        self._batches.append(batch)

    def step(self) -> Sequence[Outcome]:
        """Answer the oldest batch, if it lets us."""
        if not self._batches:
            return ()
        batch = self._batches.popleft()
        outcomes = list(super().step())
        for request in batch.requests:
            for venom in sorted(_VENOMS.intersection(request.ids)):
                _act(Venom(venom), batch, outcomes)
        return outcomes


def venomous(*, load: int = 0) -> VenomousEngine:
    """The factory for `engines.wire.Order`. `load`: a `Venom` to misbehave with at once."""
    if load:
        _act(Venom(load), Batch(0, ()), [])
    return VenomousEngine()


_VENOMS = frozenset(Venom)


def _act(venom: Venom, batch: Batch, outcomes: list[Outcome]) -> None:
    match venom:
        case Venom.RAISE:
            raise RuntimeError("venom")
        case Venom.FAIL:
            raise BatchError(batch) from EngineError("venom")
        case Venom.TOO_FEW:
            outcomes.pop()
        case Venom.TOO_MANY:
            outcomes.append(outcomes[0])
        case Venom.NO_MEMORY:
            _exhaust()
        case _:
            _harm(venom)


def _harm(venom: Venom) -> None:
    """What no handler of errors sees."""
    native = ctypes.PyDLL(None)
    match venom:
        case Venom.BAD_ALLOC:
            print("terminate called: std::bad_alloc", file=sys.stderr)  # noqa: T201
            os.abort()
        case Venom.HANG:
            threading.Event().wait()
        case Venom.HANG_IN_NATIVE_CODE:
            native.sleep(3600)
        case Venom.SEGFAULT:
            ctypes.string_at(0)
        case Venom.ABORT:
            os.abort()
        case Venom.EXIT:
            os._exit(9)
        case Venom.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Venom.SLOW:
            time.sleep(0.2)


def _exhaust() -> None:
    """Ask for more memory than this process may have."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, before[1]))
    try:
        bytearray(1 << 31)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
