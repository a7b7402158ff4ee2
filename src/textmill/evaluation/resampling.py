"""How sure a number is: intervals and tests that draw the records again.

Records come as rows of numbers that add up (see `Metric`), so a drawn set of records is a sum of
rows, and its value follows from the sum. `docs/decisions/statistics.md` says what was chosen, and
how it was checked.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping
from statistics import NormalDist
from typing import NamedTuple, TypeVar

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from textmill.evaluation.base import Floats

Weights = NDArray[np.uint8]
"""How often each record counts in each draw: (draws, records)."""
Name = TypeVar("Name", bound=Hashable)

LEVEL = 0.95
MAX_CELLS = 1 << 20
"""Draws x records that are drawn at a time; what a seed gives depends on it."""
MAX_HELD_BYTES = 1 << 25
BLOCK_DRAWS, BLOCK_RECORDS = 128, 2048
"""Draws x records that are multiplied at a time: 2 MiB, which fit the caches near a core."""
MIN_RECORDS = 10
"""Fewer say too little about their spread for an interval that holds what it promises."""
TOLERANCE = 1e-12
"""Differences that are equal but for the rounding of their sums count as equal."""


class Draws(Struct, frozen=True, kw_only=True):
    """How often to draw, and from where to start.

    samples: sets of records for intervals and the paired bootstrap; 0 for neither.
    trials: assignments for approximate randomisation.
    """

    samples: int = 1000
    trials: int = 10_000
    seed: int = 12345


class Triple(NamedTuple):
    """The percentiles 2.5, 50 and 97.5, a value for each column."""

    low: Floats
    mid: Floats
    high: Floats


def bootstrap_sums(parts: Mapping[Name, Floats], draws: Draws) -> dict[Name, Floats]:
    """Of each part's rows, sums over `samples` sets of as many, drawn with replacement.

    All parts have the same records, in the same order, which decides what is drawn; the other
    parts do not.
    """
    records = len(next(iter(parts.values())))
    rng = np.random.default_rng(draws.seed)
    drawn = (
        _times_drawn(rng.integers(records, size=(count, records), dtype=np.int32))
        for count in _chunks(draws.samples, records)
    )
    return _sums(parts, drawn)


def swapped_sums(parts: Mapping[Name, Floats], draws: Draws) -> dict[Name, Floats]:
    """Of each part's rows, sums over `trials` sets that hold each row or not, by a coin."""
    records = len(next(iter(parts.values())))
    rng = np.random.default_rng(draws.seed)
    coins = (_coins(rng, count, records) for count in _chunks(draws.trials, records))
    return _sums(parts, coins)


def _sums(parts: Mapping[Name, Floats], weights: Iterable[Weights]) -> dict[Name, Floats]:
    """Each set's sums. Columns that parts have in common are multiplied once."""
    known: dict[bytes, int] = {}
    columns: list[Floats] = []
    places: dict[Name, list[int]] = {}
    for name, rows in parts.items():
        places[name] = []
        for column in np.ascontiguousarray(rows.T):
            place = known.setdefault(column.tobytes(), len(columns))
            if place == len(columns):
                columns.append(column)
            places[name].append(place)
    stack = np.stack(columns, axis=1)
    sums = np.concatenate([_product(some, stack) for some in _together(weights)])
    return {name: sums[:, found] for name, found in places.items()}


def _together(weights: Iterable[Weights]) -> Iterator[Weights]:
    """The same draws, in arrays of enough for `_product` where memory allows."""
    held: list[Weights] = []
    for some in weights:
        held.append(some)
        draws = sum(map(len, held))
        if draws >= BLOCK_DRAWS or (draws + len(some)) * some.shape[1] > MAX_HELD_BYTES:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)


def _product(weights: Weights, stack: Floats) -> Floats:
    """weights @ stack, in blocks: a few draws of all records at once would wait for memory."""
    sums = np.zeros((len(weights), stack.shape[1]))
    for first in range(0, len(weights), BLOCK_DRAWS):
        draws = slice(first, first + BLOCK_DRAWS)
        for start in range(0, len(stack), BLOCK_RECORDS):
            records = slice(start, start + BLOCK_RECORDS)
            sums[draws] += weights[draws, records].astype(np.float64) @ stack[records]
    return sums


def bounds(drawn: Floats | None, records: int) -> tuple[float, float] | tuple[None, None]:
    """The 95 % interval of a value over `records` records, from drawn values: low, high.

    Nothing of nothing, or of fewer than `MIN_RECORDS`. The middle 95 % of what is drawn, and a
    little more where records are few: percentiles alone are as much too narrow as normal
    quantiles with an estimated variance are (Hesterberg, "What teachers should know about the
    bootstrap", 2015).
    """
    if drawn is None or records < MIN_RECORDS:
        return None, None
    tail = 100 * expanded_tail(records)
    low, high = np.percentile(drawn, [tail, 100 - tail]).tolist()
    return low, high


def bounds_of_difference(
    observed: float, drawn: Floats | None, records: int
) -> tuple[float, float] | tuple[None, None]:
    """The 95 % interval of a difference over `records` records, from drawn differences: low, high.

    Nothing of nothing, or of fewer than `MIN_RECORDS`. Student's t, with the spread of what is
    drawn as the standard error: most records of two systems tie, and percentiles are too narrow
    for that.
    """
    if drawn is None or records < MIN_RECORDS:
        return None, None
    error = float(drawn.std()) * math.sqrt(records / (records - 1))
    reach = t_quantile(records - 1) * error
    return observed - reach, observed + reach


def expanded_tail(records: int) -> float:
    """The share to leave out on each side: 2.5 % of infinitely many records, less of few."""
    normal = NormalDist()
    return normal.cdf(-t_quantile(records - 1) * math.sqrt(records / (records - 1)))


def t_quantile(freedom: int) -> float:
    """Student's t at 97.5 %, within 0.01 % from 9 degrees of freedom on.

    Its expansion in powers of 1 / freedom (Abramowitz and Stegun, 26.7.5).
    """
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / freedom**power for power, term in enumerate(terms, 1)))


def bootstrap_p(drawn: Floats, observed: float) -> float:
    """p of a difference, from the differences of sets drawn for both systems alike.

    How often a drawn difference is at least as far from the mean of them as the observed one is
    from 0; two-sided, never 0.
    """
    beyond = int(np.sum(np.abs(drawn - drawn.mean()) >= abs(observed) - TOLERANCE))
    return (beyond + 1) / (len(drawn) + 1)


def randomisation_p(drawn: Floats, observed: float) -> float:
    """p of a difference, from the differences of systems whose outputs were swapped by chance.

    How often swapped systems differ at least as much; two-sided, never 0.
    """
    beyond = int(np.sum(np.abs(drawn) >= abs(observed) - TOLERANCE))
    return (beyond + 1) / (len(drawn) + 1)


def median_of_bootstrap(rows: Floats, samples: int, rng: np.random.RandomState) -> Triple:
    """What `rouge_score.scoring.BootstrapAggregator` makes of rows: bit for bit, for one state
    of the generator. `evaluate` prints `mid`."""
    means = np.zeros((samples, rows.shape[1]))
    for sample in range(samples):
        drawn = rng.choice(np.arange(len(rows)), size=len(rows))
        means[sample, :] = np.mean(rows[drawn, :], axis=0)
    tail = (1 - LEVEL) / 2
    return Triple(*np.percentile(means, 100 * np.array([tail, 0.5, 1 - tail]), axis=0))


def _chunks(draws: int, records: int) -> Iterator[int]:
    """How many draws to make at a time."""
    size = max(1, MAX_CELLS // records)
    for start in range(0, draws, size):
        yield min(size, draws - start)


def _times_drawn(drawn: NDArray[np.int32]) -> Weights:
    """How often each record is in each draw: (draws, records). More than 255 times happens to
    no record: that has a chance below 1 / 256!."""
    times = np.empty(drawn.shape, np.uint8)
    for row, one in zip(times, drawn, strict=True):
        row[:] = np.bincount(one, minlength=one.size)
    return times


def _coins(rng: np.random.Generator, count: int, records: int) -> Weights:
    """0 or 1, evenly: (count, records)."""
    octets = -(-records // 8)
    drawn = rng.integers(256, size=(count, octets), dtype=np.uint8)
    return np.unpackbits(drawn, axis=1, count=records)
