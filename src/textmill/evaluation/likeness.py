"""How much two sequences of tokens are alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from textmill.evaluation.lcs import Spans, lcs_lengths


def likeness(one: Sequence[int], other: Sequence[int]) -> float:
    """Share of tokens in their longest common subsequence: 1 if they are equal, 0 if strangers.

    This is ROUGE-L's F1 on token ids, so it needs no words and no language.
    """
    if not one or not other:
        return float(len(one) == len(other))
    tokens = np.array([*one, *other])
    left = Spans(tokens, np.array([0]), np.array([len(one)]))
    right = Spans(tokens, np.array([len(one)]), np.array([len(other)]))
    return 2 * int(lcs_lengths(left, right)[0]) / (len(one) + len(other))
