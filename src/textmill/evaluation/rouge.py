"""ROUGE-1, -2, -L and -Lsum, equal to the `rouge_score` package to the last bit.

A block of pairs becomes arrays of token numbers, and all pairs of the block are then scored at
once. `docs/decisions/rouge.md` says which choices are behind the numbers.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from textmill.errors import ParameterError
from textmill.evaluation.base import ROUGE_TYPES, Block, Floats, PairScores
from textmill.evaluation.lcs import Ints, Spans, lcs_lengths, lcs_union
from textmill.evaluation.stemming import stem
from textmill.evaluation.tokens import DEFAULT_TOKENIZER, Split, tokenizer_label
from textmill.evaluation.tokens import tokenizer as splitter

NEWLINE = 0
"""The number of the newline in a `Vocabulary`."""
MAX_VOCABULARY = 1 << 18
"""Words that are remembered from one block to the next."""
MAX_BLOCK_PAIRS = 1 << 12
MAX_BLOCK_CHARS = 1 << 22
MIN_STEMMED_LENGTH = 4


class Rouge:
    """ROUGE scores of pairs of texts. A `Metric`.

    types: any of `ROUGE_TYPES`.
    stemmer: reduce English words of more than three letters to their stem first.
    tokenizer: how texts become words, one of `TOKENIZERS`.

    Sentences, for rougeLsum, are the lines of a text. Of several references the one that gives
    the highest F-measure counts, for each type; the first of equals. Raises `ParameterError` for
    other types and tokenizers.
    """

    def __init__(
        self,
        types: Sequence[str] = ROUGE_TYPES,
        *,
        stemmer: bool = False,
        tokenizer: str = DEFAULT_TOKENIZER,
    ) -> None:
        for name in types:
            if name not in ROUGE_TYPES:
                raise ParameterError("metrics", name, f"is none of {', '.join(ROUGE_TYPES)}")
        self.names = tuple(dict.fromkeys(types))
        self._stemmer = stemmer
        self._tokenizer = tokenizer
        self._split = splitter(tokenizer)
        self._vocabulary = Vocabulary(stemmer=stemmer)

    def signature(self, name: str) -> str:
        """As in `rouge1|stem:no|tok:rouge-score`."""
        stemming = "porter-nltk" if self._stemmer else "no"
        return f"{name}|stem:{stemming}|tok:{tokenizer_label(self._tokenizer)}"

    def widths(self) -> dict[str, int]:
        """Precision, recall and F-measure."""
        return dict.fromkeys(self.names, 3)

    def measure(self, block: Block) -> dict[str, Floats]:
        """Precision, recall and F-measure of each record."""
        sizes = [len(texts) for texts in block.references]
        if all(size == 1 for size in sizes):
            scores = self.score(block.predictions, [texts[0] for texts in block.references])
        else:
            repeated = [
                text
                for text, size in zip(block.predictions, sizes, strict=True)
                for _ in range(size)
            ]
            every = self.score(repeated, list(chain.from_iterable(block.references)))
            scores = {name: _best(pairs, np.array(sizes)) for name, pairs in every.items()}
        return {name: np.stack(scores[name], axis=1) for name in self.names}

    def unanswered(self, name: str, rows: Floats) -> Floats:  # noqa: ARG002  the protocol's
        """An empty text scores 0 already."""
        return rows

    def decisive(self, name: str) -> slice:  # noqa: ARG002  the protocol's
        """The F-measure."""
        return slice(2, 3)

    def values(self, name: str, sums: Floats, records: int) -> Floats:  # noqa: ARG002  the protocol's
        """The mean F-measure."""
        return sums[..., 0] / records

    def each(self, name: str, rows: Floats) -> Floats:  # noqa: ARG002  the protocol's
        """The F-measures."""
        return rows[:, 2]

    def score(self, predictions: Sequence[str], references: Sequence[str]) -> dict[str, PairScores]:
        """Scores of each prediction against the reference at the same place."""
        pairs = len(predictions)
        chars = sum(map(len, predictions)) + sum(map(len, references))
        if pairs > 1 and (pairs > MAX_BLOCK_PAIRS or chars > MAX_BLOCK_CHARS):
            half = pairs // 2
            first = self.score(predictions[:half], references[:half])
            second = self.score(predictions[half:], references[half:])
            return {name: _joined(first[name], second[name]) for name in self.names}
        return self._score_block(predictions, references)

    def _score_block(
        self, predictions: Sequence[str], references: Sequence[str]
    ) -> dict[str, PairScores]:
        if len(self._vocabulary) > MAX_VOCABULARY:
            self._vocabulary = Vocabulary(stemmer=self._stemmer)
        pair = Pairs(
            Tokens(predictions, self._vocabulary, self._split),
            Tokens(references, self._vocabulary, self._split),
            vocabulary_size=len(self._vocabulary),
        )
        how = {
            "rouge1": pair.unigrams,
            "rouge2": pair.bigrams,
            "rougeL": pair.subsequences,
            "rougeLsum": pair.line_subsequences,
        }
        return {name: how[name]() for name in self.names}


class Vocabulary(dict[str, int]):
    """Numbers words as they are met; words with one stem share a number."""

    def __init__(self, *, stemmer: bool) -> None:
        super().__init__({"\n": NEWLINE})
        self._numbers: dict[str, int] | None = {} if stemmer else None

    def __missing__(self, word: str) -> int:
        number = len(self)
        if self._numbers is not None:
            stems = len(word) >= MIN_STEMMED_LENGTH and word.isascii()
            root = stem(word) if stems else word
            number = self._numbers.setdefault(root, number)
        self[word] = number
        return number


class Tokens:
    """The tokens of several texts, one after the other.

    ids: their numbers. text: which text each is from. counts: how many each text has.
    line_starts, line_lengths, line_texts: the lines that have tokens, and whose they are.
    """

    def __init__(self, texts: Sequence[str], vocabulary: Vocabulary, split: Split) -> None:
        flat, sizes = array("i"), array("q")
        for each in texts:
            words = split(each)
            flat.extend(map(vocabulary.__getitem__, words))
            sizes.append(len(words))
        ids = np.frombuffer(flat, np.int32) if flat else np.zeros(0, np.int32)
        text = np.repeat(np.arange(len(texts)), sizes)
        is_word = ids != NEWLINE
        line = (np.cumsum(~is_word) + text)[is_word]
        self.ids = ids[is_word]
        self.text = text[is_word]
        self.counts = np.bincount(self.text, minlength=len(texts))
        _, self.line_starts, self.line_lengths = np.unique(
            line, return_index=True, return_counts=True
        )
        self.line_texts = self.text[self.line_starts]


class Pairs:
    """Predictions and references as tokens, and the four ways to compare them."""

    def __init__(self, prediction: Tokens, reference: Tokens, *, vocabulary_size: int) -> None:
        self._prediction = prediction
        self._reference = reference
        self._words = vocabulary_size

    def unigrams(self) -> PairScores:
        """ROUGE-1."""
        return self._scores(self._overlap(self._unigrams_of_reference()))

    def bigrams(self) -> PairScores:
        """ROUGE-2."""
        span = self._words**2
        found = _bigrams(self._prediction, self._words)
        wanted = _bigrams(self._reference, self._words)
        hits = _overlap(found, wanted, span, self._reference.counts.size)
        return self._scores(hits, shorter_by=1)

    def subsequences(self) -> PairScores:
        """ROUGE-L."""
        predicted, reference = self._prediction.counts, self._reference.counts
        tokens = np.concatenate([self._prediction.ids, self._reference.ids])
        left = Spans(tokens, np.cumsum(predicted) - predicted, predicted)
        starts = self._prediction.ids.size + np.cumsum(reference) - reference
        return self._scores(lcs_lengths(left, Spans(tokens, starts, reference)))

    def line_subsequences(self) -> PairScores:
        """ROUGE-Lsum: for each line of the reference, the union of its LCS with every line of the
        prediction; a token counts no more often than it occurs in both texts."""
        found, wanted = self._prediction, self._reference
        tokens = np.concatenate([found.ids, wanted.ids])
        line, other = _every_line_with_every_line(wanted, found)
        rows = Spans(tokens, found.ids.size + wanted.line_starts[line], wanted.line_lengths[line])
        columns = Spans(tokens, found.line_starts[other], found.line_lengths[other])
        marks = lcs_union(rows, columns)[found.ids.size :]
        return self._scores(self._overlap(self._unigrams_of_reference()[marks]))

    def _unigrams_of_reference(self) -> Ints:
        return _unigrams(self._reference, self._words)

    def _overlap(self, wanted: Ints) -> Ints:
        found = _unigrams(self._prediction, self._words)
        return _overlap(found, wanted, self._words, self._reference.counts.size)

    def _scores(self, hits: Ints, shorter_by: int = 0) -> PairScores:
        precision = hits / np.maximum(self._prediction.counts - shorter_by, 1)
        recall = hits / np.maximum(self._reference.counts - shorter_by, 1)
        return PairScores(precision, recall, _f1(precision, recall))


def _unigrams(tokens: Tokens, words: int) -> Ints:
    """A number for each token that tells text and token."""
    numbers: Ints = tokens.text * words + tokens.ids
    return numbers


def _bigrams(tokens: Tokens, words: int) -> Ints:
    """A number for each two neighbours that tells text and both tokens.

    Fits 63 bits: a block is one pair, or has 2**12 pairs and 2**22 different words at most.
    """
    inside = tokens.text[:-1] == tokens.text[1:]
    first = _unigrams(tokens, words)[:-1][inside]
    numbers: Ints = first * words + tokens.ids[1:][inside]
    return numbers


def _overlap(found: Ints, wanted: Ints, span: int, pairs: int) -> Ints:
    """Per pair, how many of the keys they share, each as often as the side that has fewer."""
    keys, counts = np.unique(found, return_counts=True)
    other_keys, other_counts = np.unique(wanted, return_counts=True)
    shared, index, other_index = np.intersect1d(
        keys, other_keys, assume_unique=True, return_indices=True
    )
    fewer = np.minimum(counts[index], other_counts[other_index])
    return np.bincount(shared // span, weights=fewer, minlength=pairs).astype(np.int64)


def _every_line_with_every_line(left: Tokens, right: Tokens) -> tuple[Ints, Ints]:
    """Indices of lines: within each pair, every line of `left` with every line of `right`."""
    lines = np.bincount(right.line_texts, minlength=right.counts.size)
    first = np.cumsum(lines) - lines
    partners = lines[left.line_texts]
    line = np.repeat(np.arange(partners.size), partners)
    within = np.arange(line.size) - np.repeat(np.cumsum(partners) - partners, partners)
    return line, first[left.line_texts[line]] + within


def _best(pairs: PairScores, sizes: Ints) -> PairScores:
    """Of each record's pairs, which stand together, the first with the highest F-measure."""
    record = np.repeat(np.arange(sizes.size), sizes)
    highest = np.maximum.reduceat(pairs.f1, np.cumsum(sizes) - sizes)
    winners = np.flatnonzero(pairs.f1 == highest[record])
    _, first = np.unique(record[winners], return_index=True)
    return PairScores(*(column[winners[first]] for column in pairs))


def _joined(first: PairScores, second: PairScores) -> PairScores:
    return PairScores(*(np.concatenate(both) for both in zip(first, second, strict=True)))


def _f1(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> NDArray[np.float64]:
    """Harmonic mean, 0 where both are 0; in `rouge_score`'s order of operations."""
    total = precision + recall
    return np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
