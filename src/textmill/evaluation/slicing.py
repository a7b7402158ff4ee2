"""Scores of parts of the records: by the values of a column, and by length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from textmill.evaluation.base import LOWER_IS_BETTER, Floats
from textmill.evaluation.comparing import Two, drawn
from textmill.evaluation.measuring import Mask, Measured
from textmill.evaluation.references import References
from textmill.evaluation.resampling import MIN_RECORDS, Draws, bounds, bounds_of_difference
from textmill.evaluation.results import Slice, SliceScore
from textmill.words import counted

Groups = list[tuple[str, Mask]]
QUARTERS = (0.25, 0.5, 0.75)


class Slicer:
    """Cuts what counts, with a baseline what counts in both, into slices."""

    def __init__(self, ours: Measured, two: Two | None, draws: Draws) -> None:
        self._ours = ours
        self._two = two
        self._draws = draws
        self._counted = two.both if two else ours.counted
        self._whole = {name: ours.value(name, self._counted) for name in ours.metrics}

    def slices(self, references: References) -> tuple[Slice, ...]:
        """By each column, then in quarters by length. Within a column, the slice whose first
        metric falls short most comes first; slices too small for an interval come last."""
        found: list[Slice] = []
        for column, groups in _groupings(references, self._counted):
            cut = ((label, self._counted & records) for label, records in groups)
            made = [self._slice(column, label, records) for label, records in cut if records.any()]
            found += sorted(made, key=_shortfall)
        return tuple(found)

    def _slice(self, column: str, label: str, records: Mask) -> Slice:
        values, differences = drawn(self._ours, self._two, records, self._draws)
        scores = tuple(
            self._score(name, records, values.get(name), differences.get(name))
            for name in self._ours.metrics
        )
        return Slice(column=column, label=label, n=int(records.sum()), scores=scores)

    def _score(
        self, name: str, records: Mask, values: Floats | None, differences: Floats | None
    ) -> SliceScore:
        value, count = self._ours.value(name, records), int(records.sum())
        low, high = bounds(values, count)
        difference, below, above = self._difference(name, records, differences)
        return SliceScore(
            name=name,
            value=value,
            low=low,
            high=high,
            gap=value - self._whole[name],
            difference=difference,
            difference_low=below,
            difference_high=above,
        )

    def _difference(
        self, name: str, records: Mask, drawn: Floats | None
    ) -> tuple[float | None, float | None, float | None]:
        """From the baseline's value, with its interval."""
        if self._two is None:
            return None, None, None
        difference = self._two.difference(name, records)
        count = int(self._two.shared(name, records).sum())
        return difference, *bounds_of_difference(difference, drawn, count)


def quarters(lengths: NDArray[np.int64], counted: Mask) -> list[tuple[str, Mask]]:
    """Four parts by length, as even as equal lengths allow, which stay together."""
    edges = np.quantile(lengths[counted], QUARTERS, method="inverted_cdf")
    part = np.searchsorted(edges, lengths, side="left")
    groups = []
    for number in range(len(QUARTERS) + 1):
        records = counted & (part == number)
        if records.any():
            inside = lengths[records]
            groups.append((_lengths(int(inside.min()), int(inside.max())), records))
    return groups


def _lengths(least: int, most: int) -> str:
    if least == most:
        return counted(most, "character")
    return f"{least:,} to {most:,} characters"


def _groupings(references: References, counted: Mask) -> Iterator[tuple[str, Groups]]:
    for column in references.columns:
        codes = np.frombuffer(column.codes, np.int32)
        yield column.name, [(label, codes == code) for label, code in column.labels.items()]
    yield "reference length", quarters(np.frombuffer(references.reference_chars, np.int64), counted)
    if references.source:
        yield "source length", quarters(np.frombuffer(references.source_chars, np.int64), counted)


def _shortfall(one: Slice) -> tuple[bool, float]:
    """Sorts by the gap, and slices too small to say much of last."""
    first = one.scores[0]
    gap = -first.gap if first.name in LOWER_IS_BETTER else first.gap
    return one.n < MIN_RECORDS, gap
