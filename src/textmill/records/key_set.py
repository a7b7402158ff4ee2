"""Sets of numbers that only grow, in sorted arrays: intervals, and 128-bit keys."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Numbers = NDArray[np.int64]
Words = NDArray[np.uint64]

_MAX_BUCKET_KEYS = 1 << 20
_MERGE_RATIO = 4
_LARGE_WORDS = 1 << 14


class Intervals:
    """Whole numbers, as the intervals that they fill. 16 bytes per interval.

    Memory stays small only if the intervals are long, so `absorb` refuses what would make new ones
    shorter than `min_length`.
    """

    def __init__(self, min_length: int) -> None:
        self._min_length = min_length
        self._starts: Numbers = np.empty(0, np.int64)
        self._ends: Numbers = np.empty(0, np.int64)

    @property
    def size_bytes(self) -> int:
        """Memory that the intervals take."""
        return self._starts.nbytes + self._ends.nbytes

    def contains(self, values: Numbers) -> Mask:
        """Which of `values` are in the set."""
        if not len(self._starts):
            return np.zeros(len(values), bool)
        at = np.searchsorted(self._starts, values, side="right") - 1
        return (at >= 0) & (values < self._ends[at])

    def absorb(self, values: Numbers) -> Numbers:
        """Take what fits of `values` and return the rest.

        `values` are sorted, distinct and not in the set. Those fit that stand in a run of
        `min_length` or more, or in a run that continues an interval of the set.
        """
        if not len(values):
            return values
        cuts = np.flatnonzero(np.diff(values) != 1) + 1
        starts = values[np.r_[0, cuts]]
        ends = values[np.r_[cuts, len(values)] - 1] + 1
        lengths = ends - starts
        fits = lengths >= self._min_length
        fits |= _members(starts, self._ends) | _members(ends, self._starts)
        if fits.any():
            self._insert(starts[fits], ends[fits])
        rest: Numbers = values[~np.repeat(fits, lengths)]
        return rest

    def _insert(self, starts: Numbers, ends: Numbers) -> None:
        starts, ends = np.r_[self._starts, starts], np.r_[self._ends, ends]
        order = np.argsort(starts, kind="stable")
        starts, ends = starts[order], ends[order]
        apart = starts[1:] != ends[:-1]
        self._starts = starts[np.r_[True, apart]]
        self._ends = ends[np.r_[apart, True]]


def _members(values: Numbers, of: Numbers) -> Mask:
    if not len(of):
        return np.zeros(len(values), bool)
    at = np.searchsorted(of, values).clip(max=len(of) - 1)
    found: Mask = of[at] == values
    return found


class Keys(NamedTuple):
    """128-bit keys in two halves. Sorted by `high`; `high` is evenly spread."""

    high: Words
    low: Words

    def part(self, which: slice) -> Self:
        """A copy of some of the keys."""
        parts = [_room(len(half[which])) for half in self]
        for room, half in zip(parts, self, strict=True):
            room[:] = half[which]
        return type(self)(*parts)

    def chosen(self, which: Mask) -> Self:
        """The keys that the mask picks."""
        return type(self)(self.high[which], self.low[which])


class KeySet:
    """Distinct 128-bit keys, 16 bytes each.

    The keys are dealt to buckets by their first bits, so that the room needed to merge them is
    that of one bucket. A bucket is a few sorted runs, each at least four times as long as the next,
    so that a key is moved a logarithmic number of times.
    """

    def __init__(self, max_bucket_keys: int = _MAX_BUCKET_KEYS) -> None:
        self._max_bucket_keys = max_bucket_keys
        self._bits = 0
        self._buckets: list[list[Keys]] = [[]]
        self._count = 0

    @property
    def size_bytes(self) -> int:
        """Memory that the keys take."""
        return sum(run.high.nbytes + run.low.nbytes for runs in self._buckets for run in runs)

    def contains(self, keys: Keys) -> Mask:
        """Which of `keys` (sorted, any number) are in the set."""
        found = np.zeros(len(keys.high), bool)
        for runs, part in self._dealt(keys):
            for run in runs:
                found[part] |= _contains(run, keys.high[part], keys.low[part])
        return found

    def insert(self, keys: Keys) -> None:
        """Add `keys`, which are sorted, distinct and not in the set."""
        for runs, part in self._dealt(keys):
            runs.append(keys.part(part))
            while len(runs) > 1 and len(runs[-1].high) * _MERGE_RATIO > len(runs[-2].high):
                more, before = runs.pop(), runs.pop()
                runs.append(_merged(before, more))
        self._count += len(keys.high)
        while self._count > self._max_bucket_keys << self._bits:
            self._split()

    def _dealt(self, keys: Keys) -> Iterator[tuple[list[Keys], slice]]:
        """The buckets that some of `keys` belong to, and which."""
        borders = np.searchsorted(keys.high, self._first_keys())
        for number, (start, end) in enumerate(pairwise([*borders.tolist(), len(keys.high)])):
            if start < end:
                yield self._buckets[number], slice(start, end)

    def _first_keys(self) -> Words:
        """The lowest `high` of each bucket."""
        numbers = np.arange(1 << self._bits, dtype=np.uint64)
        return numbers << np.uint64(64 - self._bits) if self._bits else numbers

    def _split(self) -> None:
        """Halve every bucket."""
        self._bits += 1
        middles = self._first_keys()[1::2]
        buckets: list[list[Keys]] = []
        for number, middle in enumerate(middles):
            runs, self._buckets[number] = self._buckets[number], []
            halves: tuple[list[Keys], list[Keys]] = [], []
            while runs:  # one at a time, so that its room is free for the next
                run = runs.pop(0)
                at = int(np.searchsorted(run.high, middle))
                for half, which in zip(halves, (slice(at), slice(at, None)), strict=True):
                    if len(run.high[which]):
                        half.append(run.part(which))
            buckets += halves
        self._buckets = buckets


def _merged(run: Keys, more: Keys) -> Keys:
    """Two sorted runs as one. Takes little more room than the result."""
    count = len(run.high) + len(more.high)
    places = np.searchsorted(run.high, more.high) + np.arange(len(more.high))
    others = np.ones(count, bool)
    others[places] = False
    merged = Keys(_room(count), _room(count))
    for new, old, added in zip(merged, run, more, strict=True):
        new[places] = added
        new[others] = old
    return merged


def _room(count: int) -> Words:
    """Memory for so many words, which goes back to the system as soon as it is not used any more.

    What `malloc` gives for arrays of some megabytes stays with the process in pieces too small for
    the next, larger one: with ten million keys that were 50 MB.
    """
    if count < _LARGE_WORDS:
        return np.empty(count, np.uint64)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    return np.frombuffer(mmap.mmap(-1, count * 8, flags=flags), np.uint64)


def _contains(run: Keys, high: Words, low: Words) -> Mask:
    """Which keys are in one run. Several keys of a run may share their high half."""
    found = np.zeros(len(high), bool)
    at = np.searchsorted(run.high, high)
    while True:
        inside = at.clip(max=len(run.high) - 1)
        same_high = (run.high[inside] == high) & (inside == at)
        found |= same_high & (run.low[inside] == low)
        if not (same_high & ~found).any():
            return found
        at += 1
