"""Two systems over the same records: is one better, and by which records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textmill.evaluation.base import LOWER_IS_BETTER, Floats
from textmill.evaluation.measuring import Mask, Measured
from textmill.evaluation.resampling import (
    TOLERANCE,
    Draws,
    bootstrap_p,
    bootstrap_sums,
    bounds,
    randomisation_p,
    swapped_sums,
)
from textmill.evaluation.results import Comparison, Moved

MOST_MOVED = 10


class Two:
    """Two systems measured with the same metrics, and the records that count in both."""

    def __init__(self, ours: Measured, theirs: Measured) -> None:
        self.ours = ours
        self.theirs = theirs
        self.both = ours.counted & theirs.counted

    def swapped_differences(self, records: Mask, draws: Draws) -> dict[str, Floats]:
        """Of each metric, the difference after each of `trials` swaps within `records`."""
        ours, theirs = self.ours, self.theirs
        parts = {
            name: theirs.decisive(name, records) - ours.decisive(name, records)
            for name in ours.metrics
        }
        return {
            name: self._difference(
                name,
                ours.decisive_sums(name, records) + moved,
                theirs.decisive_sums(name, records) - moved,
                records,
            )
            for name, moved in swapped_sums(parts, draws).items()
        }

    def paired(self, name: str, records: Mask) -> Floats:
        """Of some records, the numbers that decide the value: ours and theirs side by side."""
        return np.hstack([side.decisive(name, records) for side in (self.ours, self.theirs)])

    def paired_difference(self, name: str, sums: Floats, records: Mask) -> Floats:
        """What follows from sums of such rows over as many records as in `records`."""
        ours, theirs = np.split(sums, 2, axis=1)
        return self._difference(name, ours, theirs, records)

    def _difference(self, name: str, ours: Floats, theirs: Floats, records: Mask) -> Floats:
        return self.ours.values_of(name, ours, records) - self.ours.values_of(name, theirs, records)


class Drawn(NamedTuple):
    """Of each metric, what it gives over each of `samples` sets of records; empty without samples.

    values: our system's. differences: from the other's over the same sets; empty without one.
    """

    values: Mapping[str, Floats]
    differences: Mapping[str, Floats]


def drawn(ours: Measured, two: Two | None, records: Mask, draws: Draws) -> Drawn:
    """Draws sets from `records`, at least one, once for all that follows from them."""
    if not draws.samples:
        return Drawn({}, {})
    parts = {(name, "alone"): ours.decisive(name, records) for name in ours.metrics}
    if two:
        parts |= {(name, "paired"): two.paired(name, records) for name in ours.metrics}
    sums = bootstrap_sums(parts, draws)
    values = {name: ours.values_of(name, sums[name, "alone"], records) for name in ours.metrics}
    if two is None:
        return Drawn(values, {})
    return Drawn(
        values,
        {name: two.paired_difference(name, sums[name, "paired"], records) for name in values},
    )


def compare(
    two: Two, ids: Sequence[Any], drawn: Mapping[str, Floats], draws: Draws
) -> tuple[Comparison, ...]:
    """Each metric over the records that count in both, at least one. drawn: differences there."""
    swapped = two.swapped_differences(two.both, draws)
    return tuple(
        _comparison(two, name, drawn.get(name), swapped[name], ids) for name in two.ours.metrics
    )


def _comparison(
    two: Two, name: str, drawn: Floats | None, swapped: Floats, ids: Sequence[Any]
) -> Comparison:
    value, baseline = two.ours.value(name, two.both), two.theirs.value(name, two.both)
    low, high = bounds(drawn, int(two.both.sum()))
    places = np.flatnonzero(two.both)
    ours, theirs = two.ours.each(name)[places], two.theirs.each(name)[places]
    better = theirs - ours if name in LOWER_IS_BETTER else ours - theirs
    moved = [
        Moved(place=place, id=ids[place], value=one, baseline=other, difference=one - other)
        for place, one, other in _most_moved(places, ours, theirs)
    ]
    return Comparison(
        name=name,
        value=value,
        baseline=baseline,
        difference=value - baseline,
        low=low,
        high=high,
        p_bootstrap=None if drawn is None else bootstrap_p(drawn, value - baseline),
        p_randomisation=randomisation_p(swapped, value - baseline),
        wins=int(np.sum(better > TOLERANCE)),
        ties=int(np.sum(np.abs(better) <= TOLERANCE)),
        losses=int(np.sum(better < -TOLERANCE)),
        n=len(places),
        up=tuple(one for one in moved if one.difference > 0),
        down=tuple(one for one in reversed(moved) if one.difference < 0),
    )


def _most_moved(
    places: NDArray[np.int64], ours: Floats, theirs: Floats
) -> list[tuple[int, float, float]]:
    """Place and both values of the records that differ most, up to ten each way, falling."""
    change = ours - theirs
    order = np.argsort(-change, kind="stable")
    order = order[np.abs(change[order]) > TOLERANCE]
    rising = order[change[order] > 0][:MOST_MOVED]
    chosen = np.concatenate([rising, order[change[order] < 0][-MOST_MOVED:]])
    return list(
        zip(places[chosen].tolist(), ours[chosen].tolist(), theirs[chosen].tolist(), strict=True)
    )
