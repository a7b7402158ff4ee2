"""Training batches: pairs with exchanged names, cut, and packed by length."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from data import read_lines
from tokenizers import Tokenizer

PROMPT = "Briefly summarize this text: "
LONGEST_INPUT = 128
LONGEST_TARGET = 40
SIBLINGS = 2
"""How many pairs with the same first paragraph are taken in an epoch: of Qt's there are 746."""
RARE = 20
"""A word that stands in fewer training documents than this may be exchanged."""
EXCHANGED = 0.7
NAME_WEIGHT = 3.0
"""How much a token of a name counts in the loss: leaving a name out is the dearer mistake."""
LONGEST_PIECE = 16
"""Characters of a SentencePiece piece."""

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.+:-]*[A-Za-z0-9+]")


class Pair(NamedTuple):
    """One description and its synopsis."""

    document: str
    summary: str


class Batch(NamedTuple):
    """ids: rows × length, 0 where nothing is. labels: the same, -100 there. weights: of labels."""

    ids: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor


def read_pairs(path: Path) -> list[Pair]:
    """Of a file that data.py wrote."""
    return [Pair(row["document"], row["summary"]) for row in read_lines(path)]


class Names:
    """Rare words, and pairs in which they are exchanged for others.

    A name that is in the description and in the synopsis is exchanged in both: so what the model
    can learn of it is to copy it.
    """

    def __init__(self, pairs: list[Pair]) -> None:
        counts = Counter(word for pair in pairs for word in self.words(pair.document))
        self._common = {word for word, count in counts.items() if count >= RARE}
        self._pool = sorted(counts.keys() - self._common)

    @staticmethod
    def words(text: str) -> set[str]:
        """The words of a text that can be names."""
        return set(_WORD.findall(text))

    def unusual(self, text: str) -> set[str]:
        """Those that few training documents have, or none."""
        return self.words(text) - self._common

    def shared(self, pair: Pair) -> set[str]:
        """The rare words that the synopsis takes from the description."""
        return self.unusual(pair.summary) & self.words(pair.document)

    def exchanged(self, pair: Pair, chance: random.Random) -> Pair:
        """The pair with some of its names exchanged."""
        others = {
            word: chance.choice(self._pool)
            for word in sorted(self.shared(pair))
            if chance.random() < EXCHANGED
        }
        if not others:
            return pair
        return Pair(*(_WORD.sub(lambda m: others.get(m[0], m[0]), text) for text in pair))


def without_siblings(pairs: list[Pair], chance: random.Random) -> list[Pair]:
    """At most `SIBLINGS` of the pairs with the same first paragraph."""
    families = defaultdict(list)
    for pair in pairs:
        families[pair.document.partition("\n")[0]].append(pair)
    return [
        pair
        for family in families.values()
        for pair in chance.sample(family, min(SIBLINGS, len(family)))
    ]


def batches(
    pairs: list[Pair],
    tokenizer: Tokenizer,
    tokens: int,
    longest: int,
    chance: random.Random,
    *,
    names: Names | None = None,
) -> Iterator[Batch]:
    """All pairs once, in batches of about `tokens` input tokens, lengths alike in each.

    names: those in a synopsis that stand in its description count `NAME_WEIGHT`; none: all are 1.
    """
    inputs = encoded(tokenizer, (PROMPT + pair.document for pair in pairs), longest)
    targets = encoded(tokenizer, (pair.summary for pair in pairs), LONGEST_TARGET)
    weights = [
        token_weights(tokenizer, pair.summary, names.shared(pair) if names else set(), len(target))
        for pair, target in zip(pairs, targets, strict=True)
    ]
    order = sorted(
        range(len(pairs)), key=lambda i: (len(inputs[i]) // 8, len(targets[i]), chance.random())
    )
    groups: list[list[int]] = [[]]
    for index in order:
        if (len(groups[-1]) + 1) * len(inputs[index]) > tokens:
            groups.append([])
        groups[-1].append(index)
    chance.shuffle(groups)
    for group in groups:
        yield Batch(
            padded([inputs[i] for i in group], 0),
            padded([targets[i] for i in group], -100),
            padded([weights[i] for i in group], 0.0),
        )


def token_weights(tokenizer: Tokenizer, summary: str, names: set[str], tokens: int) -> list[float]:
    """`NAME_WEIGHT` for the tokens of the names in a synopsis, 1 for the others."""
    places = [match.span() for match in _WORD.finditer(summary) if match[0] in names]
    if not places:
        return [1.0] * tokens
    offsets = tokenizer.encode(summary).offsets[:tokens]
    inside = [any(a < end and b > start for start, end in places) for a, b in offsets]
    return [NAME_WEIGHT if one else 1.0 for one in inside]


def encoded(tokenizer: Tokenizer, texts: Iterator[str], longest: int) -> list[list[int]]:
    """Token ids with the end of text, cut to `longest`."""
    texts = [text[: longest * LONGEST_PIECE] for text in texts]
    found = [one.ids for one in tokenizer.encode_batch(texts)]
    return [ids if len(ids) <= longest else [*ids[: longest - 1], ids[-1]] for ids in found]


def padded(rows: Sequence[Sequence[float]], value: float) -> torch.Tensor:
    """Rows of one length."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])
