"""Which batch to blame when the process that computed several of them died: pure bookkeeping.

A batch in flight is *waiting* to be sent, *sent*, or a *suspect*: it was in a process that died.
Suspects are sent one at a time, before anything else. A batch is *condemned* when the process
died of it in a fair trial: alone, in a process that had computed nothing before.
"""

from __future__ import annotations

from collections import deque
from itertools import count, islice

from msgspec import Raw

from textmill.core import Batch

_Key = tuple[int, int]


class Flight:
    """A batch on its way.

    work: what to send. trials: fair trials in which the process died. attempts: how often it was
    sent alone. since: when its computing began, None while it waits behind others.
    """

    def __init__(self, serial: int, batch: Batch, work: Raw) -> None:
        self.serial, self.batch, self.work = serial, batch, work
        self.trials = self.attempts = 0
        self.since: float | None = None


class Flights:
    """The batches of one engine that have no answer yet."""

    def __init__(self, parallel: int) -> None:
        """`parallel`: batches that the process computes at a time, in the order they came."""
        self._parallel = parallel
        self._serials = count()
        self._waiting: deque[Flight] = deque()
        self._suspects: deque[Flight] = deque()
        self._sent: dict[int, Flight] = {}
        self._on_trial = False
        self._suspicious: set[_Key] = set()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._suspects) + len(self._sent)

    @property
    def sent(self) -> int:
        """Batches that the process has."""
        return len(self._sent)

    def room(self) -> int:
        """For each batch that is computed one that waits in the process and one on its way to it;
        none while there are suspects."""
        if self._suspects or self._on_trial:
            return 0
        return max(0, 3 * self._parallel - len(self))

    def new_serial(self) -> int:
        """A serial that no batch had."""
        return next(self._serials)

    def add(self, serial: int, batch: Batch, work: Raw) -> None:
        """A new batch. The pieces of a condemned one are suspects from the start."""
        keys = _keys(batch)
        suspicious = not keys.isdisjoint(self._suspicious)
        self._suspicious -= keys
        (self._suspects if suspicious else self._waiting).append(Flight(serial, batch, work))

    def send(self, now: float) -> list[Flight]:
        """The batches to send now, which count as sent."""
        if self._on_trial or (self._suspects and self._sent):
            return []
        if self._suspects:
            chosen = [self._suspects.popleft()]
            self._on_trial = True
        else:
            chosen = list(self._waiting)
            self._waiting.clear()
        for flight in chosen:
            flight.since = None
            self._sent[flight.serial] = flight
        self._start_clocks(now)
        return chosen

    def answered(self, serial: int, now: float) -> Flight:
        """The process has answered a batch, or said that it failed. Raises `KeyError`."""
        flight = self._sent.pop(serial)
        self._on_trial = False
        self._start_clocks(now)
        return flight

    def first_start(self) -> float | None:
        """When the computing of the batch that has been computed longest began."""
        return min((f.since for f in self._sent.values() if f.since is not None), default=None)

    def forgive(self, seconds: float) -> None:
        """Do not count this much of the time that has passed."""
        for flight in self._sent.values():
            if flight.since is not None:
                flight.since += seconds

    def died(self, *, tries: int, fresh: bool) -> Flight | None:
        """The process died. Whom it had are suspects, or the one it had is condemned and returned.

        tries: how many fair trials condemn. fresh: it had computed nothing before.
        """
        lost = self._lose()
        if len(lost) == 1:
            lost[0].attempts += 1
            lost[0].trials += fresh
            if lost[0].trials >= tries:
                return self._condemn(lost[0])
        self._suspects.extendleft(reversed(lost))
        return None

    def overdue(self, started_before: float) -> Flight | None:
        """The process was ended because of batches whose computing began before a moment.

        They are suspects and the others wait again; one that was alone is condemned and returned.
        """
        lost = self._lose()
        if len(lost) == 1:
            lost[0].attempts += 1
            return self._condemn(lost[0])
        late = [f for f in lost if f.since is not None and f.since <= started_before]
        self._suspects.extendleft(reversed(late))
        self._waiting.extendleft(f for f in reversed(lost) if f not in late)
        return None

    def clear(self) -> None:
        """Forget everything."""
        self._waiting.clear()
        self._suspects.clear()
        self._suspicious.clear()
        self._lose()

    def _lose(self) -> list[Flight]:
        lost = list(self._sent.values())
        self._sent.clear()
        self._on_trial = False
        return lost

    def _condemn(self, flight: Flight) -> Flight:
        if len(flight.batch.requests) > 1:
            self._suspicious |= _keys(flight.batch)
        return flight

    def _start_clocks(self, now: float) -> None:
        for flight in islice(self._sent.values(), self._parallel):
            if flight.since is None:
                flight.since = now


def _keys(batch: Batch) -> set[_Key]:
    return {(request.ordinal, request.index) for request in batch.requests}
