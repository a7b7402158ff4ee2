"""The best of many scores without sorting them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from textmill.engines.inflight.network import Scores, Tokens

_CHUNK = 64


def largest(scores: Scores, count: int) -> tuple[Tokens, Scores]:
    """Flat positions and values of the `count` largest scores, best first, equals by position.

    The maxima of chunks are looked at first: at least `count` scores reach the count-th of them,
    and mostly few more.
    """
    flat = scores.reshape(-1)
    whole = len(flat) // _CHUNK * _CHUNK
    if len(flat) // _CHUNK <= count:
        return _sorted(flat, np.arange(len(flat)), count)
    maxima = flat[:whole].reshape(-1, _CHUNK).max(axis=1)
    least = np.partition(maxima, -count)[-count]
    chunks = np.flatnonzero(maxima >= least)
    positions = (chunks[:, None] * _CHUNK + np.arange(_CHUNK)).reshape(-1)
    positions = np.concatenate((positions, np.arange(whole, len(flat))))
    return _sorted(flat, positions[flat[positions] >= least], count)


def _sorted(flat: Scores, positions: NDArray[np.int64], count: int) -> tuple[Tokens, Scores]:
    values = flat[positions]
    order = np.argsort(-values, kind="stable")[:count]
    return positions[order], values[order]


def log_softmax(logits: Scores) -> Scores:
    """Log-probabilities over the last axis."""
    top = logits.max(axis=-1, keepdims=True)
    shifted = logits - top
    total = np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    logs: Scores = shifted - total
    return logs
