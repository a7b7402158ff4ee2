"""Byte-pair merges from a SentencePiece vocabulary.

A SentencePiece BPE model has no list of merges: two neighbours merge when their texts together
are a piece, best score first, leftmost first. The `tokenizers` library wants ranked pairs. The
two agree unless one piece can be made from two different pairs that overlap in a word, which
needs a word that repeats itself (`ababa`, `-----`): then "leftmost" decides, which ranks cannot
say. `cut` does those words.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Mapping
from itertools import groupby

_OVERLAP = re.compile(r"(.)(.{0,15}?)\1\2\1", re.DOTALL)


def repeats_itself(text: str) -> bool:
    """True where overlapping repeats make ranked merges ambiguous, such as `ababa`."""
    return _OVERLAP.search(text) is not None


def merges_by_id(ids: Mapping[str, int]) -> list[tuple[str, str]]:
    """Every pair that makes a piece, in the order of the pieces' ids.

    Where several pairs make one piece, the shorter left half goes first.
    """
    merges: list[tuple[str, str]] = []
    for text in sorted(ids, key=ids.__getitem__):
        for at in range(1, len(text)):
            left, right = text[:at], text[at:]
            if left in ids and right in ids:
                merges.append((left, right))
    return merges


def cut(text: str, scores: Mapping[str, float]) -> list[str]:
    """The pieces of `text` as SentencePiece's BPE cuts it; unknown characters stay single."""
    symbols: list[str] = list(text)
    after = list(range(1, len(symbols) + 1))
    before = list(range(-1, len(symbols) - 1))
    queue: list[tuple[float, int, str]] = []

    def offer(left: int) -> None:
        if left >= 0 and after[left] < len(symbols):
            merged = symbols[left] + symbols[after[left]]
            if merged in scores:
                heapq.heappush(queue, (-scores[merged], left, merged))

    for at in range(len(symbols) - 1):
        offer(at)
    while queue:
        _, left, merged = heapq.heappop(queue)
        right = after[left]
        if not symbols[left] or right >= len(symbols) or symbols[left] + symbols[right] != merged:
            continue  # one of the two has merged otherwise since
        symbols[left], symbols[right] = merged, ""
        after[left] = after[right]
        if after[left] < len(symbols):
            before[after[left]] = left
        offer(before[left])
        offer(left)
    return [symbol for symbol in symbols if symbol]


def fuse_unknown(pieces: Iterable[str], known: Mapping[str, float]) -> list[str]:
    """Neighbouring unknown pieces as one, as SentencePiece gives them out."""
    fused: list[str] = []
    for unknown, run in groupby(pieces, key=lambda piece: piece not in known):
        together = list(run)
        fused += ["".join(together)] if unknown else together
    return fused
