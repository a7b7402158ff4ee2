"""T5's relative positions: what a distance between two tokens adds to their score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from textmill.engines.checkpoint import T5Architecture
from textmill.engines.openvino.layers import Arrays
from textmill.engines.openvino.stack import stack_of

Table = NDArray[np.float32]
Integers = NDArray[np.int64]


def bucket_of(distance: Integers, arch: T5Architecture, *, both: bool) -> Integers:
    """The bucket of each distance, key position minus query position.

    both: keys may come after the query (the encoder); otherwise such count as distance 0.
    """
    buckets = arch.relative_buckets
    start = np.zeros_like(distance)
    if both:
        buckets //= 2
        start = np.where(distance > 0, buckets, 0)
        distance = np.abs(distance)
    else:
        distance = np.maximum(-distance, 0)
    exact = buckets // 2
    ratio = np.maximum(distance, 1).astype(np.float32) / np.float32(exact)
    scale = np.float32(np.log(arch.relative_max_distance / exact))
    far = exact + (np.log(ratio) / scale * np.float32(buckets - exact)).astype(np.int64)
    return start + np.where(distance < exact, distance, np.minimum(far, buckets - 1))


class RelativeBias:
    """The biases of one stack's self-attention, for each table that it has."""

    def __init__(self, arch: T5Architecture, arrays: Arrays, stack: str) -> None:
        self._arch, self._both = arch, stack == "encoder"
        tables = stack_of(arch, stack).relative_bias
        names = [f"{stack}.layers.{n}.self_attn.relative_bias" for n in range(tables)]
        self._tables: list[Table] = [np.array(arrays[name]) for name in names]

    def square(self, tokens: int) -> list[Table]:
        """[1, heads, tokens, tokens] for each table: every token of a text to every other."""
        return [self._square(table, tokens) for table in self._tables]

    def _square(self, table: Table, tokens: int) -> Table:
        strip = self._strip(table, 1 - tokens, tokens)
        windows = np.lib.stride_tricks.sliding_window_view(strip, tokens, axis=1)
        return np.ascontiguousarray(windows[None, :, ::-1])

    def strips(self, capacity: int) -> list[Table]:
        """[heads, 2 * capacity] for each table: what a query that stands behind `length` tokens
        adds to the keys of the first ones stands from `capacity - length` on."""
        return [self._strip(table, -capacity, capacity) for table in self._tables]

    def _strip(self, table: Table, first: int, end: int) -> Table:
        """[heads, end - first]: the bias of each distance."""
        buckets = bucket_of(np.arange(first, end), self._arch, both=self._both)
        return np.ascontiguousarray(table[buckets].T)
