"""The in-flight decoder: encode, fill slots, step, let go what has ended, fill again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from textmill.core import Completion, Failure, Outcome, Request
from textmill.engines.inflight.beams import Beams
from textmill.engines.inflight.encodings import Encodings
from textmill.engines.inflight.ending import Clock, Ending
from textmill.engines.inflight.limits import Limits, capacity_for, fits, slots_for, width_of
from textmill.engines.inflight.network import Encoded, Network
from textmill.engines.inflight.rows import Rows
from textmill.engines.inflight.slots import Search, Seat, Slots
from textmill.engines.stopping import Decode
from textmill.errors import ErrorCode, engine_error

_KEPT_BUCKETS = 2
"""Texts that were encoded together, of which the last are kept for requests that repeat them."""


class Decoder:
    """Answers requests from a queue that others may take from as well, each as soon as it ends."""

    def __init__(
        self,
        network: Network,
        waiting: deque[Request],
        limits: Limits,
        *,
        decode: Decode,
        seed: int = 0,
        clock: Clock = time.monotonic,
    ) -> None:
        """waiting: requests to come, whose neighbours are of similar length.

        decode: token ids to texts, for stop strings. seed: of requests without one of their own.
        """
        self._network, self._waiting, self._limits = network, waiting, limits
        self._decode, self._seed, self._clock = decode, seed, clock
        self._encodings = Encodings(network, _KEPT_BUCKETS * limits.encode_tokens)
        self._ready: list[tuple[Request, Encoded]] = []
        self._open: list[Slots] = []
        self._outcomes: list[Outcome] = []

    @property
    def idle(self) -> bool:
        """Whether it has nothing to do but what is in the queue."""
        return not self._ready and not any(slots.seats for slots in self._open)

    def clear(self) -> None:
        """Forget what it is doing."""
        self._ready.clear()
        self._open.clear()
        self._encodings.clear()

    def step(self) -> list[Outcome]:
        """Fill free slots, go one token further, and return what has ended."""
        self._fill()
        for slots in list(self._open):
            if slots.seats:
                self._step(slots)
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def _fill(self) -> None:
        while True:
            self._ready = [one for one in self._ready if not self._place(*one)]
            held = sum(encoded.tokens for _, encoded in self._ready)
            if held >= self._limits.encode_tokens or not self._has_room() or not self._encode():
                return

    def _has_room(self) -> bool:
        return not self._open or any(slots.free for slots in self._open)

    def _encode(self) -> bool:
        """Encode the next texts; False if there are none."""
        bucket = self._bucket()
        if not bucket:
            return False
        try:
            self._ready += zip(bucket, self._encoded(bucket), strict=True)
        except Exception:  # noqa: BLE001  found out one by one
            for request in bucket:
                self._answer_alone(request)
        return True

    def _encoded(self, requests: Sequence[Request]) -> list[Encoded]:
        return self._encodings.of([request.ids for request in requests])

    def _bucket(self) -> list[Request]:
        """The next requests from the queue, as many as are encoded together."""
        bucket: list[Request] = []
        longest = 0
        while self._waiting:
            try:
                request = self._waiting.popleft()
            except IndexError:  # another decoder was faster
                break
            longest = max(longest, len(request.ids))
            if bucket and longest * (len(bucket) + 1) > self._limits.encode_tokens:
                self._waiting.appendleft(request)
                break
            bucket.append(request)
        return bucket

    def _place(self, request: Request, encoded: Encoded) -> bool:
        """Give a text a slot if there is one."""
        slots = self._slots_for(request, encoded.tokens)
        if slots is not None:
            slots.take(Seat(request, self._search(request)), encoded)
        return slots is not None

    def _search(self, request: Request) -> Search:
        ending = Ending(request.params, self._decode, self._clock)
        if request.params.num_beams > 1:
            return Beams(request, ending)
        return Rows(request, ending, job_seed=self._seed)

    def _slots_for(self, request: Request, tokens: int) -> Slots | None:
        width = width_of(request.params)
        same = [slots for slots in self._open if slots.bank.width == width]
        fitting = [slots for slots in same if slots.free and fits(tokens, slots.bank.capacity)]
        if fitting:
            return min(fitting, key=lambda slots: slots.bank.capacity)
        capacity = capacity_for(tokens)
        if any(slots.bank.capacity == capacity for slots in same):
            return None
        return self._open_bank(width, capacity, request.params.max_new_tokens)

    def _open_bank(self, width: int, capacity: int, past: int) -> Slots | None:
        """A new bank, in place of empty ones; None when memory has to become free first."""
        each = self._network.slot_bytes(width=width, capacity=capacity, past=past)
        self._open = [slots for slots in self._open if slots.seats]
        taken = sum(slots.bytes for slots in self._open)
        count = slots_for(self._limits, width=width, slot_bytes=each, taken=taken)
        if not count and self._open:
            return None
        bank = self._network.open_bank(slots=max(1, count), width=width, capacity=capacity)
        self._open.append(Slots(bank, each))
        return self._open[-1]

    def _step(self, slots: Slots) -> None:
        seats = slots.seats
        try:
            done, broken = slots.step()
        except Exception:  # noqa: BLE001  found out one by one
            self._open.remove(slots)
            for seat in seats:
                self._answer_alone(seat.request)
            return
        self._outcomes += [Completion(seat.request, seat.search.sequences()) for seat in done]
        self._outcomes += [_not_a_number(seat.request) for seat in broken]

    def _answer_alone(self, request: Request) -> None:
        """Compute a request by itself, after it or a neighbour of it failed."""
        try:
            self._outcomes.append(self._alone(request))
        except Exception as error:  # noqa: BLE001  it is the record's
            cause = engine_error(error)
            self._outcomes.append(Failure(request, cause.code, cause.message))

    def _alone(self, request: Request) -> Outcome:
        [encoded] = self._encoded([request])
        capacity = capacity_for(encoded.tokens)
        bank = self._network.open_bank(slots=1, width=width_of(request.params), capacity=capacity)
        slots = Slots(bank, 0)
        seat = Seat(request, self._search(request))
        slots.take(seat, encoded)
        while True:
            done, broken = slots.step()
            if done:
                return Completion(request, seat.search.sequences())
            if broken:
                return _not_a_number(request)


def _not_a_number(request: Request) -> Failure:
    return Failure(
        request,
        ErrorCode.ENGINE_ERROR,
        "the model's scores are not numbers: it overflowed, try --precision float32",
    )
