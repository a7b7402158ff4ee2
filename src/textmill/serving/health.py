"""Whether the endpoint works: it does when a batch was really computed lately. Pure."""

from __future__ import annotations

from enum import StrEnum

from textmill.batching.clock import Clock

STALL_SECONDS = 30.0
"""Work that waits for so long without any batch being done: the engine does not answer."""

FRESH_SECONDS = 10.0
"""A batch that was done so long ago still tells something; after that a probe is due."""


class State(StrEnum):
    """What readiness says."""

    READY = "ready"
    STARTING = "starting"
    """No batch has been computed yet."""
    STALLED = "stalled"
    """Work waits, and no batch is done."""
    DRAINING = "draining"
    """It answers what it has taken, and takes no more."""


class Health:
    """Remembers when work came and when batches were done."""

    def __init__(self, clock: Clock, *, stall_seconds: float = STALL_SECONDS) -> None:
        self._clock, self._stall_seconds = clock, stall_seconds
        self._last_done: float | None = None
        self._waiting_since: float | None = None
        self._draining = False

    def work_waits(self) -> None:
        """There is work that has no answer yet."""
        if self._waiting_since is None:
            self._waiting_since = self._clock.now()

    def batch_done(self, *, work_left: bool) -> None:
        """The engine has answered a batch. work_left: there is more."""
        self._last_done = self._clock.now()
        self._waiting_since = self._last_done if work_left else None

    def nothing_waits(self) -> None:
        """All work is gone, answered or not."""
        self._waiting_since = None

    def drain(self) -> None:
        """No more is taken."""
        self._draining = True

    @property
    def state(self) -> State:
        """As of now."""
        if self._draining:
            return State.DRAINING
        waited = self._since(self._waiting_since)
        if waited is not None and waited > self._stall_seconds:
            return State.STALLED
        return State.STARTING if self._last_done is None else State.READY

    @property
    def wants_probe(self) -> bool:
        """Whether nothing has been computed for so long that a probe should be."""
        idle = self._since(self._last_done)
        return self._waiting_since is None and (idle is None or idle > FRESH_SECONDS)

    def _since(self, moment: float | None) -> float | None:
        return None if moment is None else self._clock.now() - moment
