"""The seam of a metric: texts in, one score per pair out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:  # naming the metrics must not cost the import of numpy
    import numpy as np
    from numpy.typing import NDArray

ROUGE_TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")


class PairScores(NamedTuple):
    """One value per pair, in the order of the pairs."""

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]


class Metric(Protocol):
    """Scores pairs of texts. A pair's scores never depend on the pairs around it."""

    @property
    def names(self) -> tuple[str, ...]:
        """The scores it gives, in the order they are shown."""

    def signature(self, name: str) -> str:
        """All that decides the number called `name`, as one line to print with it."""

    def score(
        self, predictions: Sequence[str], references: Sequence[str]
    ) -> Mapping[str, PairScores]:
        """The scores of each prediction against the reference at the same place."""
