"""Scores of a predictions file against a references file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, to_builtins

from textmill.errors import ParameterError
from textmill.evaluation.base import ROUGE_TYPES, Metric
from textmill.evaluation.join import Counts, Join, Pair, References, id_fields

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCK_PAIRS = 1024


class Score(Struct, frozen=True, kw_only=True):
    """The mean of one metric over all pairs, from 0 to 1.

    value: the F-measure. signature: all that decides the number, as one line.
    """

    name: str
    value: float
    precision: float
    recall: float
    signature: str


class Scores(Struct, frozen=True, kw_only=True):
    """The scores of one predictions file.

    predictions, references: the files. pred, ref: the fields that were compared; `pred` is None
    when no row held a prediction.
    scores: in the order they were asked for.
    failures: how many of the references failed with each code.
    notes: what a reader of the numbers should know, one sentence each.
    """

    predictions: str
    references: str
    pred: str | None
    ref: str
    scores: tuple[Score, ...]
    counts: Counts
    failures: Mapping[str, int]
    notes: tuple[str, ...] = ()

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
    def rougeLsum(self) -> Score:  # noqa: N802
        """ROUGE-Lsum: the longest common subsequences of their lines."""
        return self["rougeLsum"]

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON values; the scores under their names."""
        plain: dict[str, Any] = to_builtins(self)
        plain["scores"] = {score.pop("name"): score for score in plain["scores"]}
        return plain

    def table(self) -> list[dict[str, str | float]]:
        """One row per score: metric, f1, precision, recall, signature."""
        return [
            {
                "metric": score.name,
                "f1": score.value,
                "precision": score.precision,
                "recall": score.recall,
                "signature": score.signature,
            }
            for score in self.scores
        ]


def score(
    predictions: Path | str,
    references: Path | str | Sequence[Path | str],
    *,
    on: str = "id",
    pred: str | None = None,
    ref: str | None = None,
    metrics: Sequence[str] = ROUGE_TYPES,
    stemmer: bool = False,
) -> Scores:
    """Score the predictions of one file against the references of another, or of several.

    Files are JSON Lines or Parquet, told by their content.
    on: the field that joins them; `PREDFIELD=REFFIELD` where the names differ.
    pred: the field of a prediction, text or a list of which the first counts. Default: the first
        of generated_texts, generated_text, text and prediction that there is, else the only text.
    ref: the field of a reference. Default: the only text in a row beside the id.
    metrics: any of rouge1, rouge2, rougeL, rougeLsum (whose sentences are the text's lines).
    stemmer: compare the stems of English words.

    The means are over all references: one without a prediction counts as 0. Raises `InputError`
    for files that cannot be read or joined and `ParameterError` for unknown metrics.
    """
    from textmill.evaluation.rouge import Rouge

    if isinstance(metrics, str) or not metrics:
        raise ParameterError("metrics", metrics, "must be a list of names")
    metric = Rouge(metrics, stemmer=stemmer)
    prediction_id, reference_id = id_fields(on)
    paths = [references] if isinstance(references, str | Path) else references
    held = References([Path(path) for path in paths], id_field=reference_id, field=ref)
    join = Join(Path(predictions), held, id_field=prediction_id, field=pred)
    values = _values(metric, join, len(held.texts))
    return Scores(
        predictions=str(predictions),
        references=held.label,
        pred=join.field,
        ref=held.field,
        scores=tuple(_mean(name, metric, values[name]) for name in metric.names),
        counts=join.counts,
        failures=join.failures,
        notes=_notes(join),
    )


def _values(metric: Metric, join: Join, pairs: int) -> dict[str, NDArray[np.float64]]:
    """Precision, recall and F-measure (rows) of every reference (columns), 0 for the unanswered."""
    import numpy as np

    values = {name: np.zeros((3, pairs)) for name in metric.names}
    for block in _blocks(iter(join)):
        places, found, wanted = zip(*block, strict=True)
        for name, scores in metric.score(found, wanted).items():
            values[name][:, places] = scores
    return values


def _blocks(pairs: Iterator[Pair]) -> Iterator[list[Pair]]:
    while block := list(islice(pairs, BLOCK_PAIRS)):
        yield block


def _mean(name: str, metric: Metric, values: NDArray[np.float64]) -> Score:
    """The exact sum, rounded once, over n: the same for any order of the pairs."""
    precision, recall, f1 = (math.fsum(row.tolist()) / row.size for row in values)
    return Score(
        name=name,
        value=f1,
        precision=precision,
        recall=recall,
        signature=metric.signature(name),
    )


def _notes(join: Join) -> tuple[str, ...]:
    if not join.several:
        return ()
    return (f"{join.several} predictions hold several texts; the first of each was scored.",)
