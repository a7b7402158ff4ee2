"""Requests that wait for the engine, and which of them go next. Pure: it has no clock.

Each request has a due time, which orders them. The texts of a list are due one after the other,
at the pace at which the engine computes them, so that a long list is served between the others'
requests and not before them. The oldest due always goes next; beside it go those that may share
its batch, the nearest in length first, out of those that are due soonest. So nobody waits for
ever: a request is passed over only by those that help to fill a batch whose first one is due
before it.
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

REACH = 4.0
"""Batches' worth of the oldest requests that are looked at for neighbours in length."""

REACH_IN_TIME = 2.0
"""The same where there is a latency target: who came first must not wait for equal lengths."""

_Due = tuple[float, int, "Waiting"]


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
        return self._keeps(tokens, ceiling, max_weight, 1.0)

    def within(self, ceiling: Ceiling, max_weight: int, batches: float) -> bool:
        """Whether it could be so many batches, were there no padding."""
        return self._keeps(self.tokens, ceiling, max_weight, batches)

    def _keeps(self, tokens: int, ceiling: Ceiling, max_weight: int, times: float) -> bool:
        if tokens > ceiling.tokens * times or self.weight > max_weight * times:
            return False
        if ceiling.seconds is None:
            return True
        work = Work(padded_tokens=tokens, steps=ceiling.steps, row_steps=self.row_steps)
        return ceiling.cost.predict(work) <= ceiling.seconds * times


class Backlog:
    """All requests that wait. Each is added once, and leaves by `select` or `discard`."""

    def __init__(self, *, reach: float = REACH) -> None:
        """`reach`: 1 keeps the order of the due times but for what does not fit; more of it lets
        batches be of more equal lengths."""
        self._reach = reach
        self._by_due: list[_Due] = []
        self._groups: dict[Hashable, list[_Due]] = {}
        self._waiting: dict[int, Waiting] = {}
        self._not_due: list[_Due] = []
        self._standing = Load()
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, waiting: Waiting) -> None:
        """Its serial must be one that no other has had."""
        entry = (waiting.due, waiting.serial, waiting)
        self._waiting[waiting.serial] = waiting
        heappush(self._by_due, entry)
        heappush(self._not_due, entry)
        insort(self._groups.setdefault(waiting.key, []), entry)
        self.tokens += waiting.tokens

    def discard(self, waiting: Waiting) -> bool:
        """Take a request out; False if it has left before."""
        if self._waiting.pop(waiting.serial, None) is None:
            return False
        group = self._groups[waiting.key]
        del group[bisect_left(group, (waiting.due, waiting.serial, waiting))]
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
        max_weight = oldest.request.params.batch_size or ceiling.rows
        most = ceil(len(group) / max(1, idle))
        near = self._soonest(group, ceiling, max_weight)
        near.sort(key=lambda waiting: (abs(waiting.tokens - oldest.tokens), waiting.due))
        draft = Draft(0, 0, 0, 0, 0.0)
        chosen: list[Waiting] = []
        shorter = longer = True
        for candidate in near:
            if len(chosen) == most or not (shorter or longer):
                break
            is_longer = candidate.tokens > oldest.tokens
            if chosen and not (longer if is_longer else shorter):
                continue
            larger = draft.joined(candidate)
            if not chosen or (
                larger.fits(ceiling, max_weight) and _worth(draft, candidate, ceiling)
            ):
                chosen.append(candidate)
                draft = larger
            elif is_longer:
                longer = False
            else:
                shorter = False
        return chosen

    def _soonest(self, group: list[_Due], ceiling: Ceiling, max_weight: int) -> list[Waiting]:
        """The oldest of a group: as many as make `reach` batches, and the first in any case."""
        found: list[Waiting] = []
        draft = Draft(0, 0, 0, 0, 0.0)
        for _, _, waiting in group:
            draft = draft.joined(waiting)
            if found and not draft.within(ceiling, max_weight, self._reach):
                break
            found.append(waiting)
        return found


def load_of(waiting: Waiting) -> Load:
    """One request as a load."""
    return Load(tokens=waiting.tokens, row_steps=waiting.rows * waiting.steps, texts=1)


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
