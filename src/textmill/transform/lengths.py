"""How long the texts of a job are, in tokens: what its manifest says of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from textmill.transform.parts import Row

MAX_BINS = 40


class Lengths:
    """Counts the rows with a result by their tokens, read and written.

    A row whose tokens are not known is left out: one that was taken over from a finished output.
    """

    def __init__(self) -> None:
        self._input: Counter[int] = Counter()
        self._output: Counter[int] = Counter()

    def count(self, row: Row) -> None:
        """Add one row."""
        if row.inp and not row.code:
            self._input[row.inp] += 1
            self._output[row.out] += 1

    def as_dict(self) -> dict[str, Any]:
        """As the manifest has it."""
        return {
            "rows": self._input.total(),
            "input": described(self._input),
            "output": described(self._output),
        }


def described(lengths: Counter[int]) -> dict[str, Any] | None:
    """min, p50, p95 and max, and how many are in each of up to 40 bins; None of nothing.

    Bin k holds lengths from first + k * width on; those beyond the last bin are `beyond`, at most
    one in a hundred, so that a few long texts do not hide what the others are like.
    """
    if not lengths:
        return None
    ordered = sorted(lengths)
    first, most = ordered[0], quantile(lengths, 0.99)
    width = max(1, -(-(most - first + 1) // MAX_BINS))
    counts = [0] * ((most - first) // width + 1)
    for length, count in lengths.items():
        if length < first + width * len(counts):
            counts[(length - first) // width] += count
    return {
        "min": first,
        "p50": quantile(lengths, 0.5),
        "p95": quantile(lengths, 0.95),
        "max": ordered[-1],
        "first": first,
        "width": width,
        "counts": counts,
        "beyond": lengths.total() - sum(counts),
    }


def quantile(lengths: Counter[int], share: float) -> int:
    """The shortest length that at least this share of all do not exceed."""
    wanted, seen = share * lengths.total(), 0
    for length in sorted(lengths):
        seen += lengths[length]
        if seen >= wanted:
            return length
    return max(lengths)
