"""How sure a number is: intervals and tests that draw the records again.

Records come as rows of numbers that add up (see `Metric`), so a drawn set of records is a sum of
rows, and its value follows from the sum. `docs/decisions/statistics.md` says what was chosen, and
how it was checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from textmill.evaluation.base import Floats

LEVEL = 0.95
MAX_CELLS = 1 << 22
"""Draws x records that are held at a time: 32 MiB."""
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


def bootstrap_sums(parts: Mapping[str, Floats], draws: Draws) -> dict[str, Floats]:
    """Of each part's rows, sums over `samples` sets of as many, drawn with replacement.

    All parts have the same number of rows. What is drawn does not depend on their order, nor on
    which other parts there are.
    """
    records = len(next(iter(parts.values())))
    rng = np.random.default_rng(draws.seed)
    drawn = (
        _times_drawn(rng.integers(records, size=(count, records)))
        for count in _chunks(draws.samples, records)
    )
    return _sums(parts, drawn)


def swapped_sums(parts: Mapping[str, Floats], draws: Draws) -> dict[str, Floats]:
    """Of each part's rows, sums over `trials` sets that hold each row or not, by a coin."""
    records = len(next(iter(parts.values())))
    rng = np.random.default_rng(draws.seed)
    coins = (_coins(rng, count, records) for count in _chunks(draws.trials, records))
    return _sums(parts, coins)


def _sums(parts: Mapping[str, Floats], weights: Iterable[Floats]) -> dict[str, Floats]:
    stack = np.hstack([_in_canonical_order(rows) for rows in parts.values()])
    sums = np.concatenate([times @ stack for times in weights])
    edges = np.cumsum([rows.shape[1] for rows in parts.values()])[:-1]
    return dict(zip(parts, np.split(sums, edges, axis=1), strict=True))


def _in_canonical_order(rows: Floats) -> Floats:
    """Sorted by their numbers, so that the order in which records come decides nothing."""
    return rows[np.lexsort(rows.T)]


def bounds(drawn: Floats | None) -> tuple[float, float] | tuple[None, None]:
    """The middle 95 % of drawn values: low, high. Nothing of nothing."""
    if drawn is None:
        return None, None
    low, high = np.percentile(drawn, [50 * (1 - LEVEL), 50 * (1 + LEVEL)]).tolist()
    return low, high


def bootstrap_p(drawn: Floats, observed: float) -> float:
    """p of a difference, from differences of sets drawn for both systems alike.

    How often a drawn difference exceeds the mean of the drawn by more than the observed one, as
    sacrebleu's `bs` has it; never 0.
    """
    sizes = np.abs(drawn)
    beyond = int(np.sum(sizes - sizes.mean() > abs(observed) + TOLERANCE))
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


def _times_drawn(drawn: NDArray[np.int64]) -> Floats:
    """How often each record is in each draw: (draws, records)."""
    count, records = drawn.shape
    flat = (drawn + np.arange(count)[:, None] * records).ravel()
    return np.bincount(flat, minlength=count * records).reshape(count, records).astype(np.float64)


def _coins(rng: np.random.Generator, count: int, records: int) -> Floats:
    """0 or 1, evenly: (count, records)."""
    octets = -(-records // 8)
    drawn = rng.integers(256, size=(count, octets), dtype=np.uint8)
    return np.unpackbits(drawn, axis=1, count=records).astype(np.float64)
