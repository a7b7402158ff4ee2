"""Two systems over the same records: is one better, and by which records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from textmill.evaluation.base import LOWER_IS_BETTER, OF_ANSWERS, Floats
from textmill.evaluation.measuring import Mask, Measured
from textmill.evaluation.resampling import (
    TOLERANCE,
    Draws,
    bootstrap_p,
    bootstrap_sums,
    bounds_of_difference,
    randomisation_p,
    swapped_sums,
)
from textmill.evaluation.results import Comparison, Moved

MOST_MOVED = 10


class Two:
    """Two systems measured with the same metrics, and the records that count in both.

    Of shares of what was predicted (`OF_ANSWERS`) that is those that both have answered: a system
    that left out half of the records is no other for that in what it repeats. `ours` and `theirs`
    are so reduced.
    """

    def __init__(self, ours: Measured, theirs: Measured) -> None:
        self.both = ours.counted & theirs.counted
        self._answered = ours.answered & theirs.answered
        self.ours = ours.with_answers_of(self._answered)
        self.theirs = theirs.with_answers_of(self._answered)

    def shared(self, name: str, records: Mask) -> Mask:
        """Of some records, those over which a metric is compared."""
        records = records & self.both
        return records & self._answered if name in OF_ANSWERS else records

    def difference(self, name: str, records: Mask) -> float:
        """Our value less theirs, over the same records."""
        return self.ours.value(name, records) - self.theirs.value(name, records)

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
    sides = (ours, two.ours, two.theirs) if two else (ours,)
    parts = {
        (name, at): side.decisive(name, records)
        for at, side in enumerate(sides)
        for name in ours.metrics
    }
    sums = bootstrap_sums(parts, draws)
    values = {
        (name, at): ours.values_of(name, found, records) for (name, at), found in sums.items()
    }
    return Drawn(
        {name: values[name, 0] for name in ours.metrics},
        {name: values[name, 1] - values[name, 2] for name in ours.metrics} if two else {},
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
    places = np.flatnonzero(two.shared(name, two.both))
    low, high = bounds_of_difference(value - baseline, drawn, len(places))
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
