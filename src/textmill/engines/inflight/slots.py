"""The slots of one bank: who sits where, and one step for all of them."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from textmill.core import Request
from textmill.engines.inflight.beams import Beams
from textmill.engines.inflight.network import Bank, Encoded, Scores
from textmill.engines.inflight.rows import Rows

Search = Rows | Beams


class Seat(Struct, frozen=True, eq=False):
    """A request that is being decoded."""

    request: Request
    encoded: Encoded
    search: Search


class Slots:
    """A bank and the requests in it. They are in its first slots whenever it steps."""

    def __init__(self, bank: Bank, slot_bytes: int) -> None:
        self.bank = bank
        self.bytes = slot_bytes * bank.slots
        self._seats: list[Seat | None] = []

    @property
    def seats(self) -> list[Seat]:
        """The requests in it."""
        return [seat for seat in self._seats if seat is not None]

    @property
    def free(self) -> int:
        """Slots without a request."""
        return self.bank.slots - len(self._seats) + self._seats.count(None)

    def take(self, seat: Seat) -> None:
        """Begin a request in a free slot."""
        if None in self._seats:
            slot = self._seats.index(None)
            self._seats[slot] = seat
        else:
            slot = len(self._seats)
            self._seats.append(seat)
        self.bank.place(slot, seat.encoded)

    def step(self) -> tuple[list[Seat], list[Seat]]:
        """One token further for every request.

        Returns those that have ended, and those whose scores are not numbers; both have left.
        """
        self._close_gaps()
        seats = self.seats
        logits = self.bank.step(
            np.array([seat.search.tokens for seat in seats]),
            np.array([seat.search.parents for seat in seats]),
        )
        best = logits.argmax(axis=-1)
        values = np.take_along_axis(logits, best[..., None], axis=-1)
        sound = [bool(row.all()) for row in np.isfinite(values)]
        _advance(seats, logits, best.tolist(), sound)
        return self._release(seats, sound)

    def _release(self, seats: list[Seat], sound: list[bool]) -> tuple[list[Seat], list[Seat]]:
        done: list[Seat] = []
        broken: list[Seat] = []
        for slot, seat in enumerate(seats):
            if not sound[slot] or seat.search.done:
                (done if sound[slot] else broken).append(seat)
                self._seats[slot] = None
        return done, broken

    def _close_gaps(self) -> None:
        """Move the last requests to where others have left."""
        while None in self._seats:
            last = self._seats.pop()
            if last is not None:
                gap = self._seats.index(None)
                self.bank.move(len(self._seats), gap)
                self._seats[gap] = last


def _advance(seats: list[Seat], logits: Scores, best: list[list[int]], sound: list[bool]) -> None:
    for slot, seat in enumerate(seats):
        if not sound[slot]:
            continue
        if isinstance(seat.search, Rows) and seat.search.takes_best:
            seat.search.take(best[slot])
        else:
            seat.search.advance(logits[slot])
