"""Which words of two texts agree, where they stand: what ROUGE-1 counts, to be looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from textmill.evaluation.rouge import MIN_STEMMED_LENGTH
from textmill.evaluation.stemming import stem
from textmill.evaluation.tokens import DEFAULT_TOKENIZER, places_of_words, tokenizer

MAX_GAP = 2
"""Characters between two shared words that do not break a mark."""


class Segment(NamedTuple):
    """A piece of a text, and whether the other text has its words."""

    text: str
    shared: bool


class Overlap:
    """Marks shared words as a tokenizer sees them, each as often as the other text has it."""

    def __init__(self, name: str = DEFAULT_TOKENIZER, *, stemmer: bool = False) -> None:
        self._split, self._places = tokenizer(name), places_of_words(name)
        self._stemmer = stemmer

    def segments(self, text: str, others: Iterable[str]) -> list[Segment]:
        """The text cut where being shared begins and ends; the pieces make up the text.

        others: one or several texts; a word is shared as often as the one that has it most often
        has it.
        """
        left: Counter[tuple[str, ...]] = Counter()
        for other in others:
            left |= Counter(key for _, _, key in self._words(other))
        marked: list[tuple[int, int]] = []
        end_of_word = 0
        for start, end, key in self._words(text):
            if left[key] > 0:
                left[key] -= 1
                goes_on = marked and marked[-1][1] == end_of_word and start - end_of_word <= MAX_GAP
                marked.append((marked.pop()[0] if goes_on else start, end))
            end_of_word = end
        return _cut(text, marked)

    def _words(self, text: str) -> Iterable[tuple[int, int, tuple[str, ...]]]:
        for start, end in self._places(text):
            found = (word for word in self._split(text[start:end]) if word != "\n")
            key = tuple(self._reduced(word) for word in found)
            if key:
                yield start, end, key

    def _reduced(self, word: str) -> str:
        stems = self._stemmer and len(word) >= MIN_STEMMED_LENGTH and word.isascii()
        return stem(word) if stems else word


def _cut(text: str, marked: Sequence[tuple[int, int]]) -> list[Segment]:
    edges = [0, *(edge for one in marked for edge in one), len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]
    return [Segment(piece, bool(at % 2)) for at, piece in enumerate(pieces) if piece]
