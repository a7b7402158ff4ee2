"""Which requests share a batch: a pure policy, no clock, no I/O, no tensors.

The requests of one window are grouped by what an engine call must have in common, sorted by
length, and cut where the token budget or the row limit would be passed. So a batch wastes little
on padding, and the same window always gives the same batches: resuming a job is a set difference.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence

from msgspec import Struct

from textmill.core import Batch, Params, Request


class BatchLimits(Struct, frozen=True, kw_only=True):
    """How large a batch may be.

    max_batch_tokens: input tokens of a batch, padding counted where the engine pads. A single
        longer request still gets a batch of its own.
    max_batch_rows: decoded rows of a batch, i.e. requests times beams or returned samples.
    """

    max_batch_tokens: int = 8192
    max_batch_rows: int = 256


Group = Callable[[Params], Hashable]

_INDEX_BITS = 24
"""A line of at most 16 MiB holds fewer texts than this many bits count."""


def decoded_rows(params: Params) -> int:
    """Rows the decoder carries for one request."""
    return max(params.num_beams, params.num_return_sequences)


def plan_batches(
    requests: Iterable[Request], limits: BatchLimits, group: Group, *, padded: bool
) -> list[tuple[Request, ...]]:
    """Cut a window of requests into batches.

    Every request is in exactly one batch; a batch has one group, stands longest first, and keeps
    both limits unless it is a single request. Groups come in order of first appearance, and
    within a group longest first, so that what needs most memory is tried first.
    """
    groups: dict[Hashable, list[Request]] = {}
    keys: dict[int, Hashable] = {}  # by identity: records mostly share one Params object
    for request in requests:
        params = request.params
        if id(params) not in keys:
            keys[id(params)] = (group(params), params.batch_size)
        groups.setdefault(keys[id(params)], []).append(request)
    return [batch for same in groups.values() for batch in _cut(same, limits, padded=padded)]


def _cut(
    requests: list[Request], limits: BatchLimits, *, padded: bool
) -> Iterable[tuple[Request, ...]]:
    requests.sort(key=lambda r: (-len(r.ids), r.ordinal, r.index))
    max_rows = requests[0].params.batch_size or limits.max_batch_rows
    batch: list[Request] = []
    tokens = rows = 0
    for request in requests:
        # Sorted longest first: the first request of a batch is what the others are padded to.
        cost = len(batch[0].ids) if padded and batch else len(request.ids)
        weight = 1 if request.params.batch_size else decoded_rows(request.params)
        full = tokens + cost > limits.max_batch_tokens or rows + weight > max_rows
        if batch and full:
            yield tuple(batch)
            batch, tokens, rows, cost = [], 0, 0, len(request.ids)
        batch.append(request)
        tokens += cost
        rows += weight
    yield tuple(batch)


class Scheduler:
    """Turns windows of requests into numbered batches, in order of arrival of the windows."""

    def __init__(
        self, limits: BatchLimits, group: Group, *, padded: bool, memory_tokens: int | None = None
    ) -> None:
        """`memory_tokens`: how many tokens of a batch memory has allowed for so far, as `shrink`
        returned it; None where it never ran out."""
        self._limits, self._group, self._padded = limits, group, padded
        self._batches: deque[Batch] = deque()
        self._memory_tokens = memory_tokens

    def add(self, window: Sequence[Request]) -> None:
        """Plan one window; its batches come after those of earlier windows."""
        for requests in plan_batches(window, self._limits, self._group, padded=self._padded):
            self._batches.append(numbered(requests))

    def next_batch(self) -> Batch | None:
        """The batch to compute next; None when all windows given so far are planned out."""
        return self._batches.popleft() if self._batches else None

    def split(self, batch: Batch) -> None:
        """Put a batch back as two halves, to be computed next.

        Obligation of the caller: the batch has at least two requests.
        """
        self._batches.extendleft(reversed(halves(batch)))

    def shrink(self, batch: Batch) -> int:
        """The engine ran out of memory on this batch: from now on half its tokens are too many.

        Returns the new budget in tokens. Batches over it are still planned as ever, so that the
        plan stays a function of the input; the Loop splits them (`over_budget`).
        """
        half = max(1, self._cost(batch) // 2)
        self._memory_tokens = min(half, self._memory_tokens or half)
        return self._memory_tokens

    def over_budget(self, batch: Batch) -> bool:
        """Whether the batch has more tokens than memory allowed for, and can be split."""
        if self._memory_tokens is None or len(batch.requests) == 1:
            return False
        return self._cost(batch) > self._memory_tokens

    def _cost(self, batch: Batch) -> int:
        """Input tokens, padding counted where the engine pads."""
        if self._padded:
            return len(batch.requests) * max(len(request.ids) for request in batch.requests)
        return sum(len(request.ids) for request in batch.requests)


def halves(batch: Batch) -> tuple[Batch, Batch]:
    """The two batches that a batch is split into. It has at least two requests."""
    middle = len(batch.requests) // 2
    return numbered(batch.requests[:middle]), numbered(batch.requests[middle:])


def numbered(requests: tuple[Request, ...]) -> Batch:
    """A batch named after its first request.

    A request leads at most one batch of a plan, so the name is unique and does not depend on how
    many batches were planned before: a resumed job, which skips some, finds the same names.
    """
    first = requests[0]
    return Batch((first.ordinal << _INDEX_BITS) + first.index, requests)
