"""The numbers of each record, and the texts behind them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from textmill.evaluation.base import Floats
from textmill.evaluation.join import Join, State
from textmill.evaluation.references import Column, References
from textmill.evaluation.results import data_frame

if TYPE_CHECKING:
    import pandas as pd

    from textmill.evaluation.measuring import Measured


class Example(Struct, frozen=True, kw_only=True):
    """One record with its texts.

    place: the reference's position, over all files. prediction: None where there is none; code:
    then why, where that is known. baseline: the other system's prediction. values,
    baseline_values: of each metric, the value of this record alone.
    """

    place: int
    id: Any
    state: str
    code: str | None
    references: tuple[str, ...]
    source: str | None
    prediction: str | None
    baseline: str | None
    values: Mapping[str, float]
    baseline_values: Mapping[str, float]


class Records:
    """One entry per reference, in the references' order.

    ids: as they were read. states: a `State` each; baseline_states likewise. values: of each
    metric, the value of every record alone, BLEU's and chrF's at sentence level; those without a
    prediction have 0. baseline_values: the other system's. Empty without a baseline.
    words: how many words each prediction and its reference have; None where length_ratio was not
    measured. columns: those that are sliced by.
    """

    def __init__(self, references: References, ours: Measured, theirs: Measured | None) -> None:
        self.ids: Sequence[Any] = references.ids
        self.states = bytes(ours.join.states)
        self.values: Mapping[str, Floats] = {name: ours.each(name) for name in ours.metrics}
        self.baseline_states = bytes(theirs.join.states) if theirs else b""
        self.baseline_values: Mapping[str, Floats] = (
            {name: theirs.each(name) for name in theirs.metrics} if theirs else {}
        )
        self.words = _words(ours)
        self.columns: Sequence[Column] = references.columns
        self._references = references
        self._ours = ours.join
        self._theirs = theirs.join if theirs else None

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"<{len(self):,} records with {', '.join(self.values)}>"

    def table(self) -> list[dict[str, Any]]:
        """One row per record: id, state, a column per metric, and with a baseline
        baseline_state and a column baseline_METRIC each."""
        columns: dict[str, Sequence[Any]] = {
            "id": self.ids,
            "state": [State(state).name.lower() for state in self.states],
            **{name: column.tolist() for name, column in self.values.items()},
        }
        if self._theirs:
            columns["baseline_state"] = [
                State(state).name.lower() for state in self.baseline_states
            ]
            for name, column in self.baseline_values.items():
                columns[f"baseline_{name}"] = column.tolist()
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def frame(self) -> pd.DataFrame:
        """`table()` as a data frame. Raises `UsageError` where pandas is not installed."""
        return data_frame(self.table())

    def code(self, place: int) -> str | None:
        """Why the record at `place` failed; None where it did not, or where that is not known."""
        return self._ours.code(place)

    def examples(self, places: Sequence[int]) -> list[Example]:
        """The records at `places` with their texts, in this order.

        Reads the predictions again, once each. Raises `IndexError` for a place that is not there,
        and `InputError` where the files are gone.
        """
        for place in places:
            if not 0 <= place < len(self):
                raise IndexError(f"there is no record {place}, only 0 to {len(self) - 1:,}")
        ours = _texts_at(self._ours, set(places))
        theirs = _texts_at(self._theirs, set(places)) if self._theirs else {}
        return [self._example(place, ours.get(place), theirs.get(place)) for place in places]

    def _example(self, place: int, prediction: str | None, baseline: str | None) -> Example:
        wanted = self._references[place]
        return Example(
            place=place,
            id=self.ids[place],
            state=State(self.states[place]).name.lower(),
            code=self._ours.code(place),
            references=tuple(wanted.references),
            source=wanted.source,
            prediction=prediction,
            baseline=baseline,
            values={name: float(column[place]) for name, column in self.values.items()},
            baseline_values={
                name: float(column[place]) for name, column in self.baseline_values.items()
            },
        )


def _words(ours: Measured) -> tuple[Floats, Floats] | None:
    if "length_ratio" not in ours.rows:
        return None
    predicted, wanted = ours.rows["length_ratio"].T
    return predicted, wanted


def _texts_at(join: Join, places: Collection[int]) -> dict[int, str]:
    """The predictions at `places`; of an id that is answered twice, the first."""
    return {pair.place: pair.prediction for pair in join.again() if pair.place in places}
