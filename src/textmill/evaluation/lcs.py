"""Longest common subsequences, bit-parallel, for many pairs of token sequences at once.

A column of the textbook table is held as bits: bit i of V is 0 where the table grows from row i
to row i + 1. One column then follows from the one before by an addition (Crochemore et al., "A
fast and practical bit-vector algorithm for the longest common subsequence problem", 2001):

    V ← (V + (V & M)) | (V & ~M)        M: the rows that hold the column's token

Where the bits of a sequence fit into a machine word, many pairs are done side by side in numpy
lanes; longer ones go alone, in Python's integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[Any]
"""Integers of any width."""

LANES = (np.dtype("<u2"), np.dtype("<u4"), np.dtype("<u8"))
MAX_LANES = 4096
MAX_CELLS = 1 << 20
"""Columns x lanes of one step, so that memory does not grow with the texts."""


class Spans(NamedTuple):
    """Stretches of one array of tokens: stretch i is `tokens[starts[i]:][:lengths[i]]`.

    Tokens are numbers from 0 on.
    """

    tokens: Ints
    starts: Ints
    lengths: Ints

    def take(self, rows: Ints) -> Spans:
        """These stretches only, in this order."""
        return Spans(self.tokens, self.starts[rows], self.lengths[rows])

    def row(self, index: int) -> list[int]:
        """The tokens of one stretch."""
        start = int(self.starts[index])
        row: list[int] = self.tokens[start : start + int(self.lengths[index])].tolist()
        return row

    def matrix(self, width: int, fill: int) -> Ints:
        """One stretch a row, filled up to `width` (at least the longest) with `fill`."""
        column = np.arange(width)
        index = np.minimum(self.starts[:, None] + column, self.tokens.size - 1)
        return np.where(column < self.lengths[:, None], self.tokens[index], fill)


def lcs_lengths(left: Spans, right: Spans) -> Ints:
    """Length of the longest common subsequence of each stretch of `left` and of `right`.

    Both are stretches of the same token array.
    """
    swap = left.lengths > right.lengths
    short = Spans(left.tokens, *_choose(swap, right, left))
    long = Spans(left.tokens, *_choose(swap, left, right))
    lengths = np.zeros(short.lengths.size, np.int64)
    for rows, lane in _lane_groups(short.lengths, long.lengths):
        lengths[rows] = _lane_lengths(short.take(rows), long.take(rows), lane)
    for row in _beyond_lanes(short.lengths, long.lengths):
        lengths[row] = _long_length(long.row(row), short.row(row))
    return lengths


def lcs_union(rows: Spans, columns: Spans) -> NDArray[np.bool_]:
    """Marks the tokens of `rows` that are in the LCS with any stretch they are paired with.

    `rows` and `columns` are stretches of the same token array; the result is as long as it. Of
    several longest subsequences it takes the one that `rouge_score` does: read from the end, a
    match is taken, else the table is left towards the greater neighbour, by the row on a tie.
    """
    marks = np.zeros(rows.tokens.size, np.bool_)
    for group, lane in _lane_groups(rows.lengths, columns.lengths):
        taken = _lane_subsequences(rows.take(group), columns.take(group), lane)
        row, place = np.nonzero(_unpacked(taken))
        marks[rows.starts[group][row] + place] = True
    for index in _beyond_lanes(rows.lengths, columns.lengths):
        size = int(rows.lengths[index])
        bits = _long_subsequence(rows.row(index), columns.row(index))
        packed = np.frombuffer(bits.to_bytes(-(-size // 8), "little"), np.uint8)
        place = np.flatnonzero(np.unpackbits(packed, bitorder="little"))
        marks[rows.starts[index] + place] = True
    return marks


def _choose(condition: NDArray[np.bool_], yes: Spans, no: Spans) -> tuple[Ints, Ints]:
    starts = np.where(condition, yes.starts, no.starts)
    return starts, np.where(condition, yes.lengths, no.lengths)


def _lane_groups(heights: Ints, widths: Ints) -> Iterator[tuple[Ints, np.dtype[Any]]]:
    """Pairs whose rows fit into a lane, a group at a time, most columns first, and their lane."""
    shortest = 0
    for lane in LANES:
        longest = 8 * lane.itemsize
        rows = np.flatnonzero((heights > shortest) & (heights <= longest) & (widths > 0))
        rows = rows[np.argsort(-widths[rows], kind="stable")]
        while rows.size:
            count = max(1, min(MAX_LANES, MAX_CELLS // int(widths[rows[0]])))
            yield rows[:count], lane
            rows = rows[count:]
        shortest = longest


def _beyond_lanes(heights: Ints, widths: Ints) -> list[int]:
    return np.flatnonzero((heights > 8 * LANES[-1].itemsize) & (widths > 0)).tolist()


def _lane_matches(rows: Spans, columns: Spans, lane: np.dtype[Any]) -> Iterator[Ints]:
    """M of each column in turn, for the lanes that have that column: always the first lanes."""
    left = rows.matrix(8 * lane.itemsize, fill=-1)
    width = int(columns.lengths[0])
    right = np.ascontiguousarray(columns.matrix(width, fill=-2).T)
    alive = np.searchsorted(-columns.lengths, -np.arange(width))
    for column, count in zip(right, alive.tolist(), strict=True):
        same = left[:count] == column[:count, None]
        yield np.packbits(same, axis=1, bitorder="little").view(lane)[:, 0]


def _lane_lengths(rows: Spans, columns: Spans, lane: np.dtype[Any]) -> Ints:
    state = _ones(rows, lane)
    for match in _lane_matches(rows, columns, lane):
        alive = state[: match.size]
        alive[:] = (alive + (alive & match)) | (alive & ~match)
    return np.bitwise_count(~state)


def _lane_subsequences(rows: Spans, columns: Spans, lane: np.dtype[Any]) -> Ints:
    """The bits of the rows that are in the LCS, walking the columns forth and back."""
    state = _ones(rows, lane)
    history = []
    for match in _lane_matches(rows, columns, lane):
        alive = state[: match.size]
        alive[:] = (alive + (alive & match)) | (alive & ~match)
        history.append((match, match | ~alive))
    below = _ones(rows, lane)
    taken = np.zeros_like(below)
    for match, stop in reversed(history):
        reach = _smear(stop & below[: match.size])
        hit = match & (reach ^ (reach >> 1))
        taken[: match.size] |= hit
        below[: match.size] = reach ^ hit
    return taken


def _ones(rows: Spans, lane: np.dtype[Any]) -> Ints:
    return np.full(rows.lengths.size, np.iinfo(lane).max, lane)


def _smear(bits: Ints) -> Ints:
    """Sets every bit below the highest one."""
    shift = 1
    while shift < 8 * bits.itemsize:
        bits = bits | (bits >> shift)
        shift *= 2
    return bits


def _unpacked(bits: Ints) -> NDArray[np.uint8]:
    return np.unpackbits(bits[:, None].view(np.uint8), axis=1, bitorder="little")


def _long_matches(rows: list[int], columns: list[int]) -> Iterator[int]:
    places: dict[int, int] = {}
    for index, token in enumerate(rows):
        places[token] = places.get(token, 0) | 1 << index
    return (places.get(token, 0) for token in columns)


def _long_length(rows: list[int], columns: list[int]) -> int:
    ones = (1 << len(rows)) - 1
    state = ones
    for match in _long_matches(rows, columns):
        state = ((state + (state & match)) | (state & ~match)) & ones
    return (ones ^ state).bit_count()


def _long_subsequence(rows: list[int], columns: list[int]) -> int:
    ones = (1 << len(rows)) - 1
    state = below = ones
    history = []
    for match in _long_matches(rows, columns):
        state = ((state + (state & match)) | (state & ~match)) & ones
        history.append((match, match | (ones ^ state)))
    taken = 0
    for match, stop in reversed(history):
        reach = (1 << (stop & below).bit_length()) - 1
        hit = match & (reach ^ (reach >> 1))
        taken |= hit
        below = reach ^ hit
    return taken
