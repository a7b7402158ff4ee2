"""Which endpoints' processes rest: those that nobody has called for a while, until one does."""

from __future__ import annotations

import threading
import time


class Resting:
    """The runs that rest, and the calls that are under way. Thread-safe.

    A run that rests has no process. A call wants it: from then on it is to be started, once, and
    it rests no more when its process answers.
    """

    def __init__(self, after_seconds: float | None) -> None:
        """after_seconds: without a call; None for never."""
        self._after = after_seconds
        self._calls: dict[str, int] = {}
        self._last: dict[str, float] = {}
        self._resting: set[str] = set()
        self._wanted: set[str] = set()
        self._mutex = threading.Lock()

    def begin_call(self, run: str) -> bool:
        """A call begins; whether it has to wait for the process, which it wants from now on."""
        with self._mutex:
            self._calls[run] = self._calls.get(run, 0) + 1
            if run in self._resting:
                self._wanted.add(run)
            return run in self._resting

    def end_call(self, run: str) -> None:
        """A call has ended."""
        with self._mutex:
            self._calls[run] -= 1
            self._last[run] = time.monotonic()

    def is_to_rest(self, run: str) -> bool:
        """Whether the process is to be ended now; it rests from then on."""
        if self._after is None:
            return False
        with self._mutex:
            now = time.monotonic()
            quiet = now - self._last.setdefault(run, now) > self._after
            if not quiet or self._calls.get(run) or run in self._resting:
                return False
            self._resting.add(run)
            return True

    def rests(self, run: str) -> bool:
        """Whether it may have no process."""
        return run in self._resting

    def is_wanted(self, run: str) -> bool:
        """Whether it is to be started."""
        return run in self._wanted

    def started(self, run: str) -> None:
        """It has been: if that comes to nothing, the next call wants it again."""
        self._wanted.discard(run)

    def woken(self, run: str) -> None:
        """Its process answers, or it has none to come back to."""
        with self._mutex:
            self._resting.discard(run)
            self._wanted.discard(run)
            self._last[run] = time.monotonic()
