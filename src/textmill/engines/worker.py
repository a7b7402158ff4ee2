"""The process that an engine computes in: `python -m textmill.engines.worker`.

It is started by `engines/process.py`, with the number of a socket as its argument. What it reads
and writes there is in `engines/wire.py`. It lives as long as its parent, whatever it is doing.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import cast

from textmill.core import Batch, Outcome
from textmill.engines import wire
from textmill.engines.base import BatchError, Engine, Interruptible
from textmill.errors import EngineError, engine_error

_OOM_SCORE = 500
"""Added for the kernel's choice of whom to kill for memory: this process, not its parent."""

Send = Callable[[wire.Reply], None]


def main() -> None:
    """Make the engine that was ordered and compute until the parent is gone."""
    _tie_to_parent()
    _volunteer()
    with socket.socket(fileno=int(sys.argv[1])) as line:
        reader = line.makefile("rb")
        order = wire.decode_order(wire.read_frame(reader.read))
        os.nice(order.niceness)  # before there are threads, which inherit it
        arriving = Arrivals()
        threading.Thread(target=_listen, args=(reader.read, arriving), daemon=True).start()
        try:
            _compute(order, arriving, lambda reply: line.sendall(wire.frame(reply)))
        except BaseException:  # noqa: BLE001  the process ends with it
            traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)  # native threads may be in any state, and are not waited for


def _compute(order: wire.Order, arriving: Arrivals, send: Send) -> None:
    try:
        engine = _make(order)
    except Exception as error:  # noqa: BLE001  told to the parent
        traceback.print_exc()
        send(wire.not_loaded(error))
        return
    send(wire.Ready())
    try:
        Desk(engine, arriving, send).run()
    except Exception as error:  # noqa: BLE001  told to the parent
        traceback.print_exc()
        cause = engine_error(error)
        send(wire.Broken(cause.code, cause.message))


def _make(order: wire.Order) -> Engine:
    module, _, function = order.factory.partition(":")
    return cast(Engine, getattr(import_module(module), function)(**order.arguments))


class Arrivals:
    """Work that has come in. What comes while the engine computes interrupts it, so that a free
    worker of it starts at once; an engine that cannot be interrupted gets it after its step."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[list[wire.Work]] = SimpleQueue()
        self.interrupt: Callable[[], None] = _nothing

    def put(self, works: list[wire.Work]) -> None:
        """Called by the thread that listens."""
        self._queue.put(works)
        self.interrupt()

    def get(self, *, wait: bool) -> list[wire.Work]:
        """The next that came. Raises `Empty` where there is none and `wait` is False."""
        return self._queue.get(block=wait)


def _nothing() -> None:
    """What cannot be interrupted goes on."""


class _Open:
    """A batch that the engine has. answers: by position, None while there is none."""

    def __init__(self, serial: int, batch: Batch) -> None:
        self.serial, self.batch = serial, batch
        self.answers: list[wire.Answer | None] = [None] * len(batch.requests)

    @property
    def complete(self) -> bool:
        return None not in self.answers


class Desk:
    """Hands batches to the engine and its answers to the parent, each batch's together."""

    def __init__(self, engine: Engine, arriving: Arrivals, send: Send) -> None:
        self._engine, self._arriving, self._send = engine, arriving, send
        self._interruptible = isinstance(engine, Interruptible)
        if isinstance(engine, Interruptible):
            arriving.interrupt = engine.interrupt
        self._waiting: deque[wire.Work] = deque()
        self._open: dict[int, _Open] = {}
        self._places: dict[int, tuple[_Open, int]] = {}  # by the identity of the request

    def run(self) -> None:
        """For ever. Raises what the engine raises except `BatchError`, and `EngineError` when it
        does not answer exactly what it was asked."""
        while True:
            self._receive(wait=not self._open and not self._waiting)
            while self._waiting and self._engine.room() > 0:
                self._start(self._waiting.popleft())
            if self._open:
                self._step()

    def _receive(self, *, wait: bool) -> None:
        with suppress(Empty):
            while True:
                self._waiting += self._arriving.get(wait=wait)
                wait = False

    def _start(self, work: wire.Work) -> None:
        opened = _Open(work.serial, wire.unpack(work))
        self._open[opened.serial] = opened
        for position, request in enumerate(opened.batch.requests):
            self._places[id(request)] = opened, position
        try:
            self._engine.add(opened.batch)
        except BatchError as error:
            self._fail(error)

    def _step(self) -> None:
        try:
            outcomes = self._engine.step()
        except BatchError as error:
            self._fail(error)
        else:
            if outcomes or not self._interruptible:
                self._answer(outcomes)

    def _fail(self, error: BatchError) -> None:
        names = map(id, error.batch.requests)
        opened = next(self._places[name][0] for name in names if name in self._places)
        self._forget(opened)
        cause = engine_error(error.__cause__ or error)
        self._send(wire.BatchFailed(opened.serial, cause.code, cause.message))

    def _forget(self, opened: _Open) -> None:
        del self._open[opened.serial]
        for request in opened.batch.requests:
            self._places.pop(id(request), None)

    def _answer(self, outcomes: Sequence[Outcome]) -> None:
        touched = {self._note(outcome) for outcome in outcomes} or set(self._open)
        for serial in sorted(touched):
            opened = self._open[serial]
            if opened.complete:
                self._forget(opened)
                self._send(wire.Done(serial, [a for a in opened.answers if a is not None]))
            elif not outcomes or not self._engine.capabilities.continuous:
                answered = sum(answer is not None for answer in opened.answers)
                raise EngineError(
                    f"the engine answered {answered} of {len(opened.answers)} requests"
                )

    def _note(self, outcome: Outcome) -> int:
        """Keep an answer until its batch is complete; returns the batch's serial."""
        opened, position = self._places.pop(id(outcome.request), (None, 0))
        if opened is None:
            raise EngineError("the engine answered a request twice, or one that it was not given")
        opened.answers[position] = wire.answer(outcome)
        return opened.serial


def _listen(read: Callable[[int], bytes], arriving: Arrivals) -> None:
    """Take work in as it comes; the end of the parent is the end of this process."""
    try:
        while True:
            arriving.put(wire.decode_work(wire.read_frame(read)))
    except EOFError:
        os._exit(0)
    except BaseException:  # noqa: BLE001  the process ends with it
        traceback.print_exc()
        os._exit(1)


def _tie_to_parent() -> None:
    """Let the kernel end this process when standard input ends: nothing is ever written to it.

    Unlike a thread that reads, the signal also ends native code that hangs and holds the
    interpreter. Where pipes have no signals, only the thread is left.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGIO})
    with suppress(OSError):
        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)


def _volunteer() -> None:
    score = Path("/proc/self/oom_score_adj")
    with suppress(OSError, ValueError):
        score.write_text(str(min(1000, int(score.read_text()) + _OOM_SCORE)))


if __name__ == "__main__":
    main()
