"""A lease on a clock that is set: what a process that sleeps may still do when it wakes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from textmill.errors import OutputError
from textmill.storage.bucket import Found, Version
from textmill.storage.lease import Lease

SECONDS, PATIENCE = 20.0, 100.0


class SetClock:
    """Time passes where the lease lets it pass, and where a test says so."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Renewals never come by themselves here."""
        return event.wait()


class OneObject:
    """A bucket of one object. `after_head` is called when its head was read."""

    def __init__(self) -> None:
        self.data: bytes | None = None
        self.number = 0
        self.after_head: Callable[[], None] = lambda: None

    def head(self, key: str) -> Found | None:
        found = None if self.data is None else Found(len(self.data), self._version(), None)
        self.after_head()
        return found

    def get(self, key: str) -> bytes | None:
        return self.data

    def create(self, key: str, data: bytes) -> Version | None:
        return None if self.data is not None else self._write(data)

    def update(self, key: str, data: bytes, version: Version) -> Version | None:
        return self._write(data) if self.data and version == self._version() else None

    def delete(self, *keys: str, guard: Callable[[], None]) -> None:
        guard()
        self.data = None

    def _write(self, data: bytes) -> Version:
        self.data, self.number = data, self.number + 1
        return self._version()

    def _version(self) -> Version:
        return Version(str(self.number), None)


def lease_of(cell: OneObject, clock: SetClock) -> Lease:
    return Lease(cell, cell, "lock", "lock", seconds=SECONDS, patience=PATIENCE, clock=clock)


def test_a_free_lock_is_taken_at_once_and_removed_at_the_end() -> None:
    cell, clock = OneObject(), SetClock()
    lease = lease_of(cell, clock)
    lease.check()
    lease.release()
    assert (cell.data, clock.time) == (None, 0)


def test_the_lock_of_a_dead_run_is_taken_after_its_time_and_no_sooner() -> None:
    cell, clock = OneObject(), SetClock()
    dead = lease_of(cell, clock)
    lease = lease_of(cell, clock)
    assert SECONDS <= clock.time < SECONDS + 2
    dead.release()
    assert cell.data is not None, "it is another's by now"
    lease.release()
    assert cell.data is None


@pytest.mark.parametrize(("slept", "is_removed"), [(0.4, True), (0.6, False), (5, False)])
def test_who_sleeps_before_the_removal_leaves_the_object_alone(
    slept: float, is_removed: bool
) -> None:
    """Another run may be about to take it over by then."""
    cell, clock = OneObject(), SetClock()
    lease = lease_of(cell, clock)
    cell.after_head = lambda: clock.sleep(slept * SECONDS)
    lease.release()
    assert (cell.data is None) is is_removed


def test_a_holder_without_news_waits_and_then_gives_up_unless_it_is_in_a_hurry() -> None:
    cell, clock = OneObject(), SetClock()
    lease = lease_of(cell, clock)
    clock.sleep(0.7 * SECONDS)
    lease.check()
    clock.sleep(SECONDS)
    with pytest.raises(OutputError, match="did not answer for so long"):
        lease.check()
    assert clock.time > PATIENCE
    before = clock.time
    lease.hurry()
    with pytest.raises(OutputError):
        lease.check()
    assert clock.time == before
    lease.release()
