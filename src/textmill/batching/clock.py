"""Time as a value that tests can set."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds that never go back."""

    def now(self) -> float:
        """Seconds since some fixed moment."""


class RealClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """Seconds of `time.monotonic`."""
        return time.monotonic()


class ManualClock:
    """A clock that moves only when told: tests of waiting take no time."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start

    def now(self) -> float:
        """Seconds set so far."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move forward."""
        self._now += seconds
