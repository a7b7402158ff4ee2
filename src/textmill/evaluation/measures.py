"""What can be said of a text without a model of quality: length, copying, repetition, emptiness."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from textmill.errors import ParameterError
from textmill.evaluation.base import TEXT_MEASURES, Block, Floats
from textmill.evaluation.tokens import DEFAULT_TOKENIZER, tokenizer_label
from textmill.evaluation.tokens import tokenizer as splitter

NGRAM = 4
"""The n of the n-grams that are looked for in the source and in the text itself."""

Counted = tuple[float, float]
"""Part and whole; a value is the sum of the parts over the sum of the wholes."""


class TextMeasures:
    """Shares and ratios. A `Metric`; each measures (part, whole), and its value is their ratio.

    exact_match: records whose prediction is one of the references, white space at the ends apart.
    length_ratio: words of the predictions over words of the references, of several references
        the one nearest in length, as BLEU has it.
    repetition: 4-grams of the predictions that stood before in the same prediction.
    empty: records whose prediction is nothing but white space, or not there.
    copy_rate: 4-grams of the predictions that stand in the record's source. Needs sources.
    """

    def __init__(self, names: Sequence[str], *, tokenizer: str = DEFAULT_TOKENIZER) -> None:
        for name in names:
            if name not in TEXT_MEASURES:
                raise ParameterError("metrics", name, f"is none of {', '.join(TEXT_MEASURES)}")
        self.names = tuple(dict.fromkeys(names))
        self._tokenizer = tokenizer
        self._split = splitter(tokenizer)

    def signature(self, name: str) -> str:
        """As in `repetition|n:4|tok:rouge-score`."""
        if name == "empty":
            return name
        if name == "exact_match":
            return f"{name}|trim:yes|case:yes"
        size = f"|n:{NGRAM}" if name in {"repetition", "copy_rate"} else ""
        return f"{name}{size}|tok:{tokenizer_label(self._tokenizer)}"

    def widths(self) -> dict[str, int]:
        """Part and whole."""
        return dict.fromkeys(self.names, 2)

    def measure(self, block: Block) -> dict[str, Floats]:
        """Part and whole of each record."""
        found = [self._words(text) for text in block.predictions]
        how: dict[str, Callable[[], list[Counted]]] = {
            "exact_match": lambda: [
                (text.strip() in {one.strip() for one in wanted}, 1)
                for text, wanted in zip(block.predictions, block.references, strict=True)
            ],
            "length_ratio": lambda: [
                (len(words), self._nearest_length(len(words), wanted))
                for words, wanted in zip(found, block.references, strict=True)
            ],
            "repetition": lambda: [repeated(words) for words in found],
            "empty": lambda: [(not text.strip(), 1) for text in block.predictions],
            "copy_rate": lambda: [
                copied(words, self._words(source))
                for words, source in zip(found, block.sources or (), strict=True)
            ],
        }
        return {name: np.array(how[name](), np.float64).reshape(-1, 2) for name in self.names}

    def unanswered(self, name: str, rows: Floats) -> Floats:
        """No answer never matches, not even an empty reference."""
        return rows * (0, 1) if name == "exact_match" else rows

    def decisive(self, name: str) -> slice:  # noqa: ARG002  the protocol's
        """All."""
        return slice(None)

    def values(self, name: str, sums: Floats, records: int) -> Floats:  # noqa: ARG002  the protocol's
        """Part over whole; 0 where there is no whole."""
        part, whole = sums[..., 0], sums[..., 1]
        return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)

    def each(self, name: str, rows: Floats) -> Floats:
        """Part over whole of each record."""
        return self.values(name, rows, 1)

    def _words(self, text: str) -> list[str]:
        words = self._split(text)
        return [word for word in words if word != "\n"] if "\n" in words else words

    def _nearest_length(self, length: int, references: Sequence[str]) -> int:
        lengths = [len(self._words(text)) for text in references]
        if len(lengths) == 1:
            return lengths[0]
        return min(lengths, key=lambda other: (abs(other - length), other))


def ngrams(words: list[str]) -> list[tuple[str, ...]]:
    """The 4-grams of a text, in order."""
    return list(zip(*(words[start:] for start in range(NGRAM)), strict=False))


def repeated(words: list[str]) -> Counted:
    """4-grams that stood before, and all."""
    if len(set(words)) == len(words):  # most summaries, at a third of the time
        return 0, max(0, len(words) - NGRAM + 1)
    grams = ngrams(words)
    return len(grams) - len(set(grams)), len(grams)


def copied(words: list[str], source: list[str]) -> Counted:
    """4-grams that stand in the source, and all."""
    grams = ngrams(words)
    if not grams:
        return 0, 0
    there = set(ngrams(source))
    return sum(gram in there for gram in grams), len(grams)
