"""Engines in processes of their own, and the Loop around them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from textmill.batching.loop import Loop
from textmill.batching.scheduler import BatchLimits, Scheduler
from textmill.core import Batch, Outcome, Params, Request
from textmill.engines.base import Engine
from textmill.engines.echo import EchoEngine
from textmill.engines.isolated import IsolatedEngine
from textmill.engines.wire import Order
from textmill.errors import CorruptModel, ErrorCode
from textmill.testing.engines import Venom

PARAMS = Params(max_new_tokens=10_000)

TIMEOUT_S = 1.0
"""For engines that hang: what is alive answers sooner even where the machine is busy."""

FATES = {
    Venom.RAISE: (ErrorCode.ENGINE_ERROR, "RuntimeError: venom"),
    Venom.FAIL: (ErrorCode.ENGINE_ERROR, "venom"),
    Venom.TOO_FEW: (ErrorCode.ENGINE_ERROR, "answered 0 of 1 requests"),
    Venom.TOO_MANY: (ErrorCode.ENGINE_ERROR, "twice"),
    Venom.NO_MEMORY: (ErrorCode.OOM, "out of memory"),
    Venom.BAD_ALLOC: (ErrorCode.OOM, "bad_alloc"),
    Venom.HANG: (ErrorCode.TIMEOUT, "after 1 s"),
    Venom.HANG_IN_NATIVE_CODE: (ErrorCode.TIMEOUT, "after 1 s"),
    Venom.SEGFAULT: (ErrorCode.CRASHED, "SIGSEGV"),
    Venom.ABORT: (ErrorCode.CRASHED, "SIGABRT"),
    Venom.EXIT: (ErrorCode.CRASHED, "exit status 9"),
    Venom.KILL: (ErrorCode.CRASHED, "memory"),
}
"""The code that each venom's request fails with, and words of the message."""


def venomous_engine(load: int = 0, **settings: Any) -> IsolatedEngine:
    """An echo in a process of its own that requests can poison."""
    order = Order("textmill.testing.engines:venomous", {"load": load})
    return IsolatedEngine(order, EchoEngine(), **settings)


@contextmanager
def venomous(load: int = 0, **settings: Any) -> Iterator[IsolatedEngine]:
    """The same, closed at the end."""
    engine = venomous_engine(load, **settings)
    try:
        yield engine
    finally:
        engine.close()


def requests_with(venoms: dict[int, Venom], count: int) -> list[Request]:
    """Requests of two tokens; those at the positions of `venoms` have it as a third."""
    return [
        Request(n, 0, [n, n, *([int(venoms[n])] if n in venoms else [])], PARAMS)
        for n in range(count)
    ]


class Window:
    """A source of one window."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._requests: Sequence[Request] | None = requests

    def take(self, *, wait: bool) -> Sequence[Request] | None:
        requests, self._requests = self._requests, None
        return requests

    def wanted(self, batch: Batch) -> Batch:
        return batch


class Collected:
    """A sink that keeps outcomes."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def give(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes += outcomes


def run_loop(
    engine: Engine,
    requests: Sequence[Request],
    rows: int = 8,
    *,
    sink: Collected | None = None,
) -> list[Outcome]:
    """The outcomes of requests by the real Loop, in the order of the requests."""
    sink = sink or Collected()
    limits = BatchLimits(max_batch_rows=rows)
    Loop(Window(list(requests)), Scheduler(limits, engine.group, padded=True), engine, sink).run()
    return sorted(sink.outcomes, key=lambda o: (o.request.ordinal, o.request.index))


def is_gone(pid: int) -> bool:
    """True for a process that has ended, whether or not somebody has asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def corrupt() -> Engine:
    """A factory that fails."""
    raise CorruptModel("bad bytes", hint="fetch it again")


def chatty() -> Engine:
    """A factory of an engine whose native code prints more than a pipe holds."""
    return ChattyEngine()


class ChattyEngine(EchoEngine):
    """Prints to standard output and error."""

    def step(self) -> Sequence[Outcome]:
        for descriptor in (1, 2):
            os.write(descriptor, b"noise\n" * 20_000)
        return super().step()
