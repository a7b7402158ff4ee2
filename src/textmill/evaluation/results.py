"""The numbers of an evaluation, as values: what Python, JSON and a report show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs, to_builtins

from textmill.errors import UsageError
from textmill.evaluation.join import Counts

if TYPE_CHECKING:
    import pandas as pd

    from textmill.evaluation.records import Records

Cell = str | float | None
Table = list[dict[str, Cell]]


class Score(Struct, frozen=True, kw_only=True):
    """One metric over n records: from 0 to 1, BLEU and chrF from 0 to 100.

    value: of ROUGE, the mean F-measure. low, high: its 95 % interval; None when none was asked
    for. precision, recall: ROUGE only. n: the records it is over. signature: all that decides the
    number, as one line.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    precision: float | None = None
    recall: float | None = None
    n: int
    signature: str


class Moved(Struct, frozen=True, kw_only=True):
    """One record whose value differs from the baseline's. place: the reference's position."""

    place: int
    id: Any
    value: float
    baseline: float
    difference: float


class Comparison(Struct, frozen=True, kw_only=True):
    """One metric against the baseline, over the same n records.

    difference: value - baseline, with its 95 % interval from low to high (None without draws).
    p_bootstrap, p_randomisation: how likely a difference of this size is between systems that
        are alike: by the paired bootstrap, by approximate randomisation.
    wins, ties, losses: records that are better, equal, worse; for the metrics of which neither
        more nor less is better, higher, equal, lower.
    up, down: the records that moved most, up to ten each way.
    """

    name: str
    value: float
    baseline: float
    difference: float
    low: float | None
    high: float | None
    p_bootstrap: float | None
    p_randomisation: float
    wins: int
    ties: int
    losses: int
    n: int
    up: tuple[Moved, ...] = ()
    down: tuple[Moved, ...] = ()

    def __repr__(self) -> str:
        said = (self.name, f"{self.difference:+.4f}", f"p {self.p_randomisation:.4f}")
        return f"<{' '.join(said)} over {self.n:,} records>"


class Baseline(Struct, frozen=True, kw_only=True):
    """Another predictions file over the same references; n records count in both.

    pred, counts, failures, notes: as of `Scores`, of that file.
    """

    predictions: str
    pred: str | None
    counts: Counts
    failures: Mapping[str, int]
    n: int
    comparisons: tuple[Comparison, ...]
    signature: str
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        names = ", ".join(one.name for one in self.comparisons)
        return f"<{self.predictions}: {self.n:,} records compared by {names}>"


class SliceScore(Struct, frozen=True, kw_only=True):
    """One metric within a slice.

    gap: value less the value over all records. difference: value less the baseline's in the same
    slice, with its interval; None without a baseline.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    gap: float
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None


class Slice(Struct, frozen=True, kw_only=True):
    """The records with one value of a column, or a quarter of them by length."""

    column: str
    label: str
    n: int
    scores: tuple[SliceScore, ...]


class Scores(Struct, frozen=True, kw_only=True):
    """The scores of one predictions file.

    predictions, references: the files. pred, ref: the fields that were compared; `pred` is None
    when no row held a prediction. missing: what was done about references without a prediction.
    scores: in the order they were asked for.
    failures: how many of the references failed with each code.
    notes: what a reader of the numbers should know, one sentence each.
    baseline: the comparison with another predictions file, when there is one.
    slices: columns in the order asked for, then quarters by length; within each, the largest
        shortfall of the first metric first, and slices too small for an interval last.
    records: the same numbers for each record.
    """

    predictions: str
    references: str
    pred: str | None
    ref: str
    missing: str
    scores: tuple[Score, ...]
    counts: Counts
    failures: Mapping[str, int]
    records: Records
    notes: tuple[str, ...] = ()
    baseline: Baseline | None = None
    slices: tuple[Slice, ...] = ()

    def __getitem__(self, name: str) -> Score:
        """One score by name. Raises `KeyError` for one that was not asked for."""
        for score in self.scores:
            if score.name == name:
                return score
        raise KeyError(f"{name} was not scored, only {', '.join(s.name for s in self.scores)}")

    @property
    def rouge1(self) -> Score:
        """ROUGE-1: words."""
        return self["rouge1"]

    @property
    def rouge2(self) -> Score:
        """ROUGE-2: pairs of neighbouring words."""
        return self["rouge2"]

    @property
    def rougeL(self) -> Score:  # noqa: N802 — the field writes it so
        """ROUGE-L: the longest common subsequence of the texts."""
        return self["rougeL"]

    @property
    def rougeLsum(self) -> Score:  # noqa: N802 — the field writes it so
        """ROUGE-Lsum: the longest common subsequences of their lines."""
        return self["rougeLsum"]

    def __repr__(self) -> str:
        from textmill.evaluation.verdict import headline

        return f"<{self.predictions}: {headline(self)}>"

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON values, but for the records; the scores under their names. `verdict`
        and `where` are what they say in a sentence; `where` is None without a comparison."""
        from textmill.evaluation.verdict import headline, where

        plain: dict[str, Any] = {
            name: to_builtins(getattr(self, name))
            for name in self.__struct_fields__
            if name != "records"
        }
        plain["scores"] = {score.pop("name"): score for score in plain["scores"]}
        said = "".join(one.text for one in where(self))
        return {**plain, "verdict": headline(self), "where": said or None}

    def table(self) -> Table:
        """One row per score; `pandas.DataFrame(scores.table())` takes it as it is.

        Columns: metric, value, low, high, precision, recall, n, and with a baseline: baseline,
        difference, difference_low, difference_high, p_bootstrap, p_randomisation, wins, ties,
        losses; signature last.
        """
        compared = {one.name: one for one in self.baseline.comparisons} if self.baseline else {}
        return [_table_row(score, compared.get(score.name)) for score in self.scores]

    def slice_table(self) -> Table:
        """One row per slice and metric: column, label, n, and the fields of `SliceScore`."""
        return [
            {
                "column": group.column,
                "label": group.label,
                "n": group.n,
                **_renamed(structs.asdict(score)),
            }
            for group in self.slices
            for score in group.scores
        ]

    def frame(self) -> pd.DataFrame:
        """`table()` as a data frame. Raises `UsageError` where pandas is not installed."""
        return data_frame(self.table())

    def _repr_html_(self) -> str:
        from textmill.evaluation.notebook import scores_html

        return scores_html(self)


def data_frame(table: Table) -> pd.DataFrame:
    """A table as a data frame. Raises `UsageError` where pandas is not installed."""
    try:
        import pandas as pd
    except ImportError as error:
        raise UsageError(
            "data frames need pandas, which is not installed",
            hint="pip install pandas, or use table(), a list of dicts",
        ) from error
    return pd.DataFrame(table)


def _table_row(score: Score, compared: Comparison | None) -> dict[str, Cell]:
    row: dict[str, Cell] = _renamed(structs.asdict(score))
    signature = row.pop("signature")
    if compared:
        row |= {
            "baseline": compared.baseline,
            "difference": compared.difference,
            "difference_low": compared.low,
            "difference_high": compared.high,
            "p_bootstrap": compared.p_bootstrap,
            "p_randomisation": compared.p_randomisation,
            "wins": compared.wins,
            "ties": compared.ties,
            "losses": compared.losses,
        }
    return {**row, "signature": signature}


def _renamed(row: dict[str, Any]) -> dict[str, Cell]:
    return {"metric": row.pop("name"), **row}
