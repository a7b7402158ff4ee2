"""A process that computes, seen from its parent: start it, talk to it, learn how it ended."""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections import deque
from contextlib import suppress
from typing import IO

import msgspec
from msgspec import Raw, Struct

from textmill.engines import wire
from textmill.errors import ErrorCode, ModelError

_READ_BYTES = 1 << 20
_TAIL_BYTES = 4096
_REAP_SECONDS = 10.0


class Exit(Struct, frozen=True):
    """How a process ended.

    status: exit status, or minus the signal that ended it.
    output: the last lines it wrote to standard output and error.
    """

    status: int
    output: str

    @property
    def signal_name(self) -> str | None:
        """Name of the signal that ended it, None if it ended by itself."""
        if self.status >= 0:
            return None
        try:
            return signal.Signals(-self.status).name
        except ValueError:
            return f"signal {-self.status}"

    @property
    def was_killed(self) -> bool:
        """Somebody else may have done it: the kernel for memory, or an operator."""
        return -self.status in (signal.SIGKILL, signal.SIGTERM)

    def __str__(self) -> str:
        name = self.signal_name
        how = f"was ended by {name}" if name else f"ended with exit status {self.status}"
        lines = self.output.strip().splitlines()
        return f"{how}; its last words: {lines[-1].strip()}" if lines else how


class Wakeup:
    """Ends a wait for a process from another thread."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)
        self._end = weakref.finalize(self, _hang_up, self._ours, self._theirs)

    def set(self) -> None:
        """End the wait under way, or else the next one."""
        with suppress(OSError):  # full: it is set already; closed: nobody waits
            self._theirs.send(b"!")

    def clear(self) -> None:
        """Forget what was set."""
        with suppress(OSError):
            while self._ours.recv(_TAIL_BYTES):
                pass

    def fileno(self) -> int:
        """Readable while it is set."""
        return self._ours.fileno()

    def close(self) -> None:
        """Idempotent."""
        self._end()


def _hang_up(*ends: socket.socket) -> None:
    for end in ends:
        end.close()


class WorkerProcess:
    """A process of `engines/worker.py`. It ends with this object, and with the interpreter.

    It has a process group of its own, so that Ctrl-C in a terminal reaches the parent only.
    """

    def __init__(self, order: wire.Order) -> None:
        """Start it; it loads the engine by itself and then says `Ready` or `NotLoaded`.

        Raises `ModelError` when the system starts no process.
        """
        try:
            self._process, self._line = _start()
        except OSError as error:
            raise ModelError(f"the engine's process cannot be started: {error}") from error
        self._end = weakref.finalize(self, _end, self._process, self._line)
        self._line.setblocking(False)
        assert self._process.stdout is not None  # noqa: S101  a pipe was asked for
        self._output: IO[bytes] | None = self._process.stdout
        os.set_blocking(self._output.fileno(), False)
        self._outgoing = bytearray(wire.frame(order))
        self._incoming = bytearray()
        self._replies: deque[wire.Reply] = deque()
        self._tail = b""
        self.loaded = False
        """Whether it has said `Ready`."""
        self.answered = 0
        """Batches it has answered; without any it has done nothing that could linger."""
        self._write()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def send(self, works: list[Raw]) -> None:
        """Put batches on their way. Never blocks: what the line does not take now goes later."""
        self._outgoing += wire.frame(works)
        self._write()

    def receive(
        self, seconds: float | None, wakeup: Wakeup | None = None
    ) -> wire.Reply | Exit | None:
        """The next thing it says, or how it ended; None when the time is over.

        seconds: to wait at most; None means for ever. wakeup: ends the wait too, and is cleared.
        After an `Exit` there is nothing more.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while not self._replies:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = dict(self._poll(left, wakeup))
            if self._output is not None and self._output.fileno() in ready:
                self._listen(self._output)
            if self._line.fileno() in ready:
                self._write()
                if not self._read() and not self._replies:
                    return self._reap()
            if wakeup is not None and wakeup.fileno() in ready:
                wakeup.clear()
                if not self._replies:
                    return None
            if not ready and left == 0.0:
                return None
        reply = self._replies.popleft()
        self.loaded |= isinstance(reply, wire.Ready)
        self.answered += isinstance(reply, wire.Done | wire.BatchFailed)
        return reply

    def close(self) -> None:
        """End it at once. Idempotent."""
        self._end()

    def _poll(self, seconds: float | None, wakeup: Wakeup | None) -> list[tuple[int, int]]:
        poll = select.poll()
        if wakeup is not None:
            poll.register(wakeup, select.POLLIN)
        poll.register(self._line, select.POLLIN | (select.POLLOUT if self._outgoing else 0))
        if self._output is not None:
            poll.register(self._output, select.POLLIN)
        return poll.poll(None if seconds is None else math.ceil(seconds * 1000))

    def _write(self) -> None:
        try:
            while self._outgoing:
                del self._outgoing[: self._line.send(self._outgoing)]
        except BlockingIOError:
            pass
        except OSError:  # it has ended; reading tells how
            self._outgoing.clear()

    def _read(self) -> bool:
        """Read what is there; False at the end."""
        try:
            data = self._line.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except OSError:  # reset: it ended with work unread
            return False
        self._incoming += data
        try:
            self._replies += map(wire.decode_reply, wire.frames(self._incoming))
        except msgspec.MsgspecError as error:
            message = f"the engine's process sent what is no reply: {error}"
            self._replies.append(wire.Broken(ErrorCode.ENGINE_ERROR, message))
        return bool(data)

    def _listen(self, output: IO[bytes]) -> None:
        """Keep the end of what it writes, so that it never waits for a reader."""
        with suppress(BlockingIOError):
            while data := os.read(output.fileno(), _READ_BYTES):
                self._tail = (self._tail + data)[-_TAIL_BYTES:]
            self._output = None

    def _reap(self) -> Exit:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_REAP_SECONDS)
        if self._output is not None:
            self._listen(self._output)
        self.close()
        return Exit(self._process.returncode, self._tail.decode("utf-8", "replace"))


def _start() -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Python as this one, with the same import path; and our end of the line to it.

    Standard input is a pipe that nothing is written to: its end is the end of the parent. What
    native libraries print goes to the pipe of standard error, never into our own output.
    """
    path = os.pathsep.join(entry or os.curdir for entry in sys.path)
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(  # noqa: S603  our own module
                [sys.executable, "-P", "-m", "textmill.engines.worker", str(theirs.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                pass_fds=[theirs.fileno()],
                process_group=0,
                env={**os.environ, "PYTHONPATH": path},
            )
        except OSError:
            ours.close()
            raise
    return process, ours


def _end(process: subprocess.Popen[bytes], line: socket.socket) -> None:
    process.kill()
    process.wait()
    line.close()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
