"""Requests that wait for the engine, and which of them go next. Pure: it has no clock.

Each request has a due time, which orders them. The texts of a list are due one after the other,
at the pace at which the engine computes them, so that a long list is served between the others'
requests and not before them. The oldest due always goes next; beside it go those that may share
its batch, the nearest in length first. So nobody waits for ever: a request is passed over only by
those that help to fill a batch whose first one is due before it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable
from heapq import heappop, heappush
from math import ceil

from msgspec import Struct

from textmill.core import Request
from textmill.serving.admission import Load
from textmill.serving.cost import CostModel, Work

_Place = tuple[int, float, int]


class Waiting:
    """One request that waits, and what the policy has to know of it.

    key: requests with equal keys may share a batch. rows: it has in the decoder; weight: it counts
    as against a limit of rows. steps: tokens that its answer is expected to have.
    due: orders the backlog, in seconds. serial: tells apart what is due together.
    owner: whoever put it here; not looked at. standing: whether it was due already.
    """

    __slots__ = (
        *("due", "key", "owner", "request", "rows"),
        *("serial", "standing", "steps", "tokens", "weight"),
    )

    def __init__(
        self,
        request: Request,
        *,
        key: Hashable,
        due: float,
        serial: int,
        rows: int = 1,
        weight: int | None = None,
        steps: float = 1.0,
        owner: object = None,
    ) -> None:
        self.request, self.key, self.due, self.serial = request, key, due, serial
        self.rows, self.steps, self.owner = rows, steps, owner
        self.weight = rows if weight is None else weight
        self.tokens = len(request.ids)
        self.standing = False


class Ceiling(Struct, frozen=True, kw_only=True):
    """How large a batch may be now.

    tokens, rows: as in `BatchLimits`. padded: whether the engine pads.
    seconds: that it may take by the cost model; None where there is no target.
    steps: expected of the longest answer.
    """

    tokens: int
    rows: int
    padded: bool = True
    seconds: float | None = None
    steps: float = 0.0
    cost: CostModel


class Draft(Struct, frozen=True):
    """A batch in the making: requests, longest input, sums over them."""

    count: int
    longest: int
    tokens: int
    weight: int
    row_steps: float

    def joined(self, waiting: Waiting) -> Draft:
        """With one more request."""
        return Draft(
            self.count + 1,
            max(self.longest, waiting.tokens),
            self.tokens + waiting.tokens,
            self.weight + waiting.weight,
            self.row_steps + waiting.rows * waiting.steps,
        )

    def padded_tokens(self, *, padded: bool) -> int:
        """Input tokens as the engine counts them."""
        return self.count * self.longest if padded else self.tokens

    def fits(self, ceiling: Ceiling, max_weight: int) -> bool:
        """Whether the batch keeps every limit."""
        tokens = self.padded_tokens(padded=ceiling.padded)
        if tokens > ceiling.tokens or self.weight > max_weight:
            return False
        if ceiling.seconds is None:
            return True
        work = Work(padded_tokens=tokens, steps=ceiling.steps, row_steps=self.row_steps)
        return ceiling.cost.predict(work) <= ceiling.seconds


class Backlog:
    """All requests that wait. Each is added once, and leaves by `select` or `discard`."""

    def __init__(self) -> None:
        self._by_due: list[tuple[float, int, Waiting]] = []
        self._groups: dict[Hashable, list[tuple[_Place, Waiting]]] = {}
        self._waiting: dict[int, Waiting] = {}
        self._not_due: list[tuple[float, int, Waiting]] = []
        self._standing = Load()
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, waiting: Waiting) -> None:
        """Its serial must be one that no other has had."""
        self._waiting[waiting.serial] = waiting
        heappush(self._by_due, (waiting.due, waiting.serial, waiting))
        heappush(self._not_due, (waiting.due, waiting.serial, waiting))
        insort(self._groups.setdefault(waiting.key, []), (_place(waiting), waiting), key=_first)
        self.tokens += waiting.tokens

    def discard(self, waiting: Waiting) -> bool:
        """Take a request out; False if it has left before."""
        if self._waiting.pop(waiting.serial, None) is None:
            return False
        group = self._groups[waiting.key]
        del group[bisect_left(group, _place(waiting), key=_first)]
        if not group:
            del self._groups[waiting.key]
        self.tokens -= waiting.tokens
        if waiting.standing:
            self._standing -= load_of(waiting)
        if not self._waiting:
            self._by_due.clear()
            self._not_due.clear()
            self._standing = Load()
        return True

    def holds(self, waiting: Waiting) -> bool:
        """Whether it still waits here."""
        return waiting.serial in self._waiting

    def standing(self, now: float) -> Load:
        """What is due by now and waits. `now` never goes back."""
        while self._not_due and self._not_due[0][0] <= now:
            _, serial, waiting = heappop(self._not_due)
            if serial in self._waiting:
                waiting.standing = True
                self._standing += load_of(waiting)
        return self._standing

    def oldest(self) -> Waiting | None:
        """The request that is due first."""
        while self._by_due and self._by_due[0][1] not in self._waiting:
            heappop(self._by_due)
        return self._by_due[0][2] if self._by_due else None

    def select(self, ceiling: Ceiling, *, idle: int = 1) -> list[Waiting]:
        """Take the next batch out: the oldest, and those that go well with it.

        idle: how many batches the engine could start now; they share what waits.
        """
        oldest = self.oldest()
        if oldest is None:
            return []
        chosen = self._gather(oldest, ceiling, idle)
        for waiting in chosen:
            self.discard(waiting)
        return chosen

    def _gather(self, oldest: Waiting, ceiling: Ceiling, idle: int) -> list[Waiting]:
        group = self._groups[oldest.key]
        most = ceil(len(group) / max(1, idle))
        max_weight = oldest.request.params.batch_size or ceiling.rows
        at = bisect_left(group, _place(oldest), key=_first)
        draft = Draft(0, 0, 0, 0, 0.0).joined(oldest)
        chosen, shorter, longer = [oldest], at - 1, at + 1
        while len(chosen) < most and (shorter >= 0 or longer < len(group)):
            goes_down = _nearer_is_shorter(group, oldest.tokens, shorter, longer)
            candidate = group[shorter if goes_down else longer][1]
            larger = draft.joined(candidate)
            fits = larger.fits(ceiling, max_weight) and _worth(draft, candidate, ceiling)
            if fits:
                chosen.append(candidate)
                draft = larger
            if goes_down:
                shorter = shorter - 1 if fits else -1
            else:
                longer = longer + 1 if fits else len(group)
        return chosen


def load_of(waiting: Waiting) -> Load:
    """One request as a load."""
    return Load(tokens=waiting.tokens, row_steps=waiting.rows * waiting.steps, texts=1)


def _place(waiting: Waiting) -> _Place:
    return (waiting.tokens, waiting.due, waiting.serial)


def _first(entry: tuple[_Place, Waiting]) -> _Place:
    return entry[0]


def _nearer_is_shorter(
    group: list[tuple[_Place, Waiting]], tokens: int, shorter: int, longer: int
) -> bool:
    """Which of the two neighbours is nearer in length; of two as near, the one due first."""
    if shorter < 0 or longer >= len(group):
        return shorter >= 0
    below, above = group[shorter][1], group[longer][1]
    return (tokens - below.tokens, below.due) <= (above.tokens - tokens, above.due)


def _worth(draft: Draft, candidate: Waiting, ceiling: Ceiling) -> bool:
    """Whether the padding that a request brings costs less than a batch of its own would."""
    if not ceiling.padded:
        return True
    if candidate.tokens <= draft.longest:
        waste = draft.longest - candidate.tokens
    else:
        waste = draft.count * (candidate.tokens - draft.longest)
    saved = ceiling.cost.fixed_seconds(ceiling.steps)
    return waste * ceiling.cost.seconds_per_token <= saved or not ceiling.cost.observed
