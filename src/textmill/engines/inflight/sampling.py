"""Drawing a token: the distribution of transformers, and random numbers that can be found again.

A number is a function of key, sample and step, not of what was drawn before: no batch, order or
restart changes it.
"""

from __future__ import annotations

import hashlib

import numpy as np

from textmill.core import Params, Request
from textmill.engines.inflight.candidates import largest
from textmill.engines.inflight.network import Scores


def sampling_key(request: Request, job_seed: int) -> int:
    """128 bits that the request's random numbers depend on.

    With a seed of its own a request gets the same texts for the same input wherever it stands;
    without one, the job's seed and its place in the job decide.
    """
    if request.params.seed is None:
        text = f"job {job_seed} {request.ordinal} {request.index}"
    else:
        text = f"own {request.params.seed} {request.ids}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "big")


def uniform(key: int, sample: int, step: int) -> float:
    """A number from 0 to just under 1."""
    raw = int(np.random.Philox(key=key, counter=(sample << 64) | (step << 2)).random_raw())
    return (raw >> 11) * 2.0**-53


def draw(logits: Scores, params: Params, chance: float) -> int:
    """A token of the distribution that `logits` [vocabulary] and the parameters give.

    As in transformers: temperature, then top_k, then top_p.
    """
    scores = logits / np.float32(params.temperature) if params.temperature != 1.0 else logits
    kept = _among_best(scores, params.top_k)
    values = scores[kept].astype(np.float64)
    shares = np.exp(values - values.max())
    shares /= shares.sum()
    if params.top_p < 1.0:
        kept, shares = _nucleus(kept, shares, params.top_p)
    total = np.cumsum(shares)
    place = int(np.searchsorted(total, chance * total[-1], side="right"))
    return int(kept[min(place, len(kept) - 1)])


def _among_best(scores: Scores, top_k: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Tokens in order of their ids that score no less than the top_k-th best."""
    if not 0 < top_k < len(scores):
        return np.arange(len(scores))
    least = largest(scores, top_k)[1][-1]
    return np.flatnonzero(scores >= least)


def _nucleus(
    tokens: np.ndarray[tuple[int], np.dtype[np.int64]],
    shares: np.ndarray[tuple[int], np.dtype[np.float64]],
    top_p: float,
) -> tuple[
    np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.float64]]
]:
    """The fewest of the likeliest tokens that together reach top_p; one at least."""
    order = np.argsort(shares, kind="stable")
    gone = np.cumsum(shares[order]) <= 1 - top_p
    gone[-1] = False
    kept = np.sort(order[~gone])
    return tokens[kept], shares[kept]
