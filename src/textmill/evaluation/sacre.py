"""BLEU and chrF, by sacrebleu: on its scale from 0 to 100, with its signature.

Needs the extra `textmill[metrics]`. The counts of each segment and the score of their sum come
from the methods that sacrebleu's own tests of significance are built on.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from textmill.errors import ParameterError, UsageError
from textmill.evaluation.base import SACRE_METRICS, Block, Floats
from textmill.evaluation.tokens import DEFAULT_TOKENIZER

BLEU_TOKENIZERS: dict[str, str] = {DEFAULT_TOKENIZER: "13a", "unicode": "intl", "cjk": "zh"}
WIDTHS = {"bleu": 10, "chrf": 18}


class Sacre:
    """Corpus BLEU and chrF. A `Metric`.

    tokenizer: decides how BLEU splits: sacrebleu's 13a, intl for unicode, zh for cjk.

    A record alone has sentence-level scores, BLEU's with effective order. Raises `UsageError`
    where sacrebleu is not installed.
    """

    def __init__(self, names: Sequence[str], *, tokenizer: str = DEFAULT_TOKENIZER) -> None:
        for name in names:
            if name not in SACRE_METRICS:
                raise ParameterError("metrics", name, f"is none of {', '.join(SACRE_METRICS)}")
        self.names = tuple(dict.fromkeys(names))
        bleu, chrf = _classes()
        self._corpus: dict[str, Any] = {
            "bleu": bleu(tokenize=BLEU_TOKENIZERS[tokenizer], force=True),
            "chrf": chrf(),
        }
        self._sentence = {**self._corpus, "bleu": bleu(effective_order=True, force=True)}

    def signature(self, name: str) -> str:
        """As in `bleu|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0`."""
        metric = self._corpus[name]
        metric.num_refs = 1  # it would count references of the last block; ours counts all
        parts = metric.get_signature().format().split("|")
        return "|".join([name, *(part for part in parts if not part.startswith("nrefs:"))])

    def widths(self) -> dict[str, int]:
        """Counts of n-grams and lengths."""
        return {name: WIDTHS[name] for name in self.names}

    def measure(self, block: Block) -> dict[str, Floats]:
        """The counts of each record."""
        streams = list(zip_longest(*block.references))
        counts = {
            name: self._corpus[name]._extract_corpus_statistics(block.predictions, streams)
            for name in self.names
        }
        return {
            name: np.array(rows, np.float64).reshape(-1, WIDTHS[name])
            for name, rows in counts.items()
        }

    def unanswered(self, name: str, rows: Floats) -> Floats:  # noqa: ARG002  the protocol's
        """An empty text matches nothing already, and its reference counts."""
        return rows

    def decisive(self, name: str) -> slice:  # noqa: ARG002  the protocol's
        """All."""
        return slice(None)

    def values(self, name: str, sums: Floats, records: int) -> Floats:  # noqa: ARG002  the protocol's
        """The corpus score of each sum."""
        return _scored(self._corpus[name], sums)

    def each(self, name: str, rows: Floats) -> Floats:
        """The sentence scores."""
        return _scored(self._sentence[name], rows)


def _scored(metric: Any, sums: Floats) -> Floats:
    flat = sums.reshape(-1, sums.shape[-1]).tolist()
    scores = [metric._compute_score_from_stats(row).score for row in flat]
    return np.array(scores, np.float64).reshape(sums.shape[:-1])


def _classes() -> tuple[Any, Any]:
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as error:
        raise UsageError(
            "bleu and chrf are computed by sacrebleu, which is not installed",
            hint="pip install 'textmill[metrics]'",
        ) from error
    return BLEU, CHRF
