"""The seam of a metric: texts in, numbers that add up out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from msgspec import Struct

if TYPE_CHECKING:  # naming the metrics must not cost the import of numpy
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
else:
    Floats = Any

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
SACRE_METRICS = ("bleu", "chrf")
TEXT_MEASURES = ("exact_match", "length_ratio", "repetition", "empty", "copy_rate")
METRICS = (*ROUGE_TYPES, *SACRE_METRICS, *TEXT_MEASURES)
DEFAULT_METRICS = (*ROUGE_TYPES, "length_ratio", "repetition", "empty")
"""What is scored when nothing is named; with a source, copy_rate too."""
LOWER_IS_BETTER = frozenset({"repetition", "empty"})
OF_ANSWERS = frozenset({"repetition", "copy_rate"})
"""Shares of what was predicted: a record without a prediction has no part in them."""


class PairScores(NamedTuple):
    """One value per pair, in the order of the pairs."""

    precision: Floats
    recall: Floats
    f1: Floats


class Block(Struct, frozen=True):
    """Records that are scored together.

    predictions: one text each. references: one or more each. sources: the text that the model was
    given, one each; None where nobody said which field holds it.
    """

    predictions: Sequence[str]
    references: Sequence[Sequence[str]]
    sources: Sequence[str] | None = None


class Metric(Protocol):
    """Scores records. A record's numbers never depend on the records around it.

    What it measures of a record is a row of numbers that can be summed: the value over any set of
    records follows from the sum of their rows. A prediction that is not there is measured as an
    empty text, and `unanswered` corrects the rows where that would be a gift.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """The scores it gives, in the order they are shown."""

    def signature(self, name: str) -> str:
        """What decides the number called `name`, as `key:value` joined with `|`."""

    def widths(self) -> Mapping[str, int]:
        """How many numbers each score measures of a record."""

    def measure(self, block: Block) -> Mapping[str, Floats]:
        """The numbers of each record: arrays of shape (records, width)."""

    def unanswered(self, name: str, rows: Floats) -> Floats:
        """The numbers of records without a prediction, from those of the empty text."""

    def decisive(self, name: str) -> slice:
        """Which of a record's numbers the value follows from; the others are shown only."""

    def values(self, name: str, sums: Floats, records: int) -> Floats:
        """The value of each sum of the decisive numbers over `records` records: (…, width) to
        (…)."""

    def each(self, name: str, rows: Floats) -> Floats:
        """The value of each record alone."""
