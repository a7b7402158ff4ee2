"""From a predictions file to the numbers of each record."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from textmill.errors import InputError
from textmill.evaluation.base import OF_ANSWERS, Block, Floats, Metric
from textmill.evaluation.join import Join, Pair, State
from textmill.evaluation.references import References
from textmill.words import written

BLOCK_PAIRS = 1024

Mask = NDArray[np.bool_]
"""One flag per record."""


class Measured:
    """One predictions file, measured against references.

    rows: of each score, the numbers of each record (references, width), in the references' order.
    counted: which records count, as `missing` (zero, skip or fail) has it. answered: which have a
    prediction.
    """

    def __init__(
        self, metrics: Mapping[str, Metric], join: Join, references: References, missing: str
    ) -> None:
        """Raises `InputError` under `fail` for unanswered references, and where none counts."""
        self.join = join
        self.metrics = metrics
        self._references = references
        self._order = np.array(references.order)
        self._families = {id(metric): metric for metric in metrics.values()}.values()
        self.rows = _empty_rows(self._families, len(references))
        for pairs in _blocks(join):
            self._measure(pairs, answered=True)
        self.answered: Mask = np.frombuffer(join.states, np.uint8) == State.SCORED.value
        self.counted = self.answered
        if missing == "fail":
            _refuse_unanswered(join, references)
        if missing == "zero":
            unanswered = np.flatnonzero(~self.answered).tolist()
            for pairs in _blocks(Pair(place, "") for place in unanswered):
                self._measure(pairs, answered=False)
            self.counted = np.ones_like(self.counted)
        if not self.counted.any():
            raise InputError(
                f"{join.path}: no reference has a prediction, so there is nothing to score",
                hint="with --missing zero they would all score 0",
            )

    def each(self, name: str) -> Floats:
        """The value of each record alone."""
        return self.metrics[name].each(name, self.rows[name])

    def sums(self, name: str, records: Mask) -> Floats:
        """The numbers of some records, summed exactly and rounded once: in any order the same."""
        return _exact_sums(self.rows[name][records])

    def value(self, name: str, records: Mask) -> float:
        """The value over some records, at least one."""
        return float(self.values_of(name, self.decisive_sums(name, records), records))

    def decisive(self, name: str, records: Mask) -> Floats:
        """Of some records, the numbers that decide the value, in the order of their ids."""
        places = self._order[records[self._order]]
        return self.rows[name][places, self.metrics[name].decisive(name)]

    def decisive_sums(self, name: str, records: Mask) -> Floats:
        """The sums of these numbers, exact."""
        return _exact_sums(self.decisive(name, records))

    def with_answers_of(self, answered: Mask) -> Measured:
        """The same, but for shares of what was predicted (`OF_ANSWERS`), in which only these
        records have a part."""
        reduced = copy(self)
        rows = {name: np.where(answered[:, None], self.rows[name], 0)
                for name in OF_ANSWERS & self.rows.keys()}  # fmt: skip
        reduced.rows = {**self.rows, **rows}
        return reduced

    def values_of(self, name: str, sums: Floats, records: Mask) -> Floats:
        """The value of each sum over as many records as in `records`."""
        return self.metrics[name].values(name, sums, int(records.sum()))

    def _measure(self, pairs: list[Pair], *, answered: bool) -> None:
        places = [pair.place for pair in pairs]
        wanted = [self._references[place] for place in places]
        block = Block(
            [pair.prediction for pair in pairs],
            [one.references for one in wanted],
            [one.source or "" for one in wanted] if self._references.source else None,
        )
        for metric in self._families:
            for name, rows in metric.measure(block).items():
                self.rows[name][places] = rows if answered else metric.unanswered(name, rows)


def _empty_rows(families: Iterable[Metric], records: int) -> dict[str, Floats]:
    return {
        name: np.zeros((records, width))
        for metric in families
        for name, width in metric.widths().items()
    }


def _exact_sums(rows: Floats) -> Floats:
    return np.array([math.fsum(column) for column in rows.T.tolist()])


def _blocks(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    left = iter(pairs)
    while block := list(islice(left, BLOCK_PAIRS)):
        yield block


def _refuse_unanswered(join: Join, references: References) -> None:
    counts = join.counts
    unanswered = counts.pairs - counts.scored
    if not unanswered:
        return
    place = next(at for at, state in enumerate(join.states) if state != State.SCORED)
    raise InputError(
        f"{join.path}: {unanswered:,} of {counts.pairs:,} references have no prediction to score: "
        f"failed {counts.failed:,}, missing {counts.missing:,}, duplicate {counts.duplicate:,}; "
        f"for example {written(references.ids[place])} ({State(join.states[place]).name.lower()})",
        hint="--missing zero counts them as 0, --missing skip leaves them out",
    )
