"""What a request's parameters forbid, force and penalize, as transformers' processors do it.

They apply in transformers' order, to logits in greedy search and sampling, to log-probabilities
in beam search.
"""

from __future__ import annotations

import numpy as np

from textmill.core import Params
from textmill.engines.inflight.network import Scores, Tokens

_NEVER = np.float32(-np.inf)


class Constraints:
    """The constraints of one request."""

    def __init__(self, params: Params) -> None:
        self._params = params
        ends = {(end,) for end in params.eos_token_ids}
        words = [word for word in params.bad_words_ids if word and word not in ends]
        self._ends = list(params.eos_token_ids)
        self._banned = [word[0] for word in words if len(word) == 1]
        self._words = [(np.array(word[:-1]), word[-1]) for word in words if len(word) > 1]
        self._suppressed = list(params.suppress_tokens)
        self._always = bool(
            words
            or self._suppressed
            or params.no_repeat_ngram_size
            or params.repetition_penalty != 1.0
        )

    def active(self, generated: int) -> bool:
        """Whether anything applies when so many tokens were generated."""
        params = self._params
        return (
            self._always or generated < params.min_new_tokens or self._forced(generated) is not None
        )

    def apply(self, scores: Scores, history: Tokens) -> None:
        """Change `scores` [rows, vocabulary] in place.

        history: [rows, tokens so far], the start token included.
        """
        params, generated = self._params, history.shape[1] - 1
        if params.repetition_penalty != 1.0:
            _penalize(scores, history, np.float32(params.repetition_penalty))
        if params.no_repeat_ngram_size:
            _ban_repeats(scores, history, params.no_repeat_ngram_size)
        self._ban_words(scores, history)
        if generated < params.min_new_tokens:
            scores[:, self._ends] = _NEVER
        forced = self._forced(generated)
        if forced is not None:
            scores[:] = _NEVER
            scores[:, forced] = 0.0
        if self._suppressed:
            scores[:, self._suppressed] = _NEVER

    def _forced(self, generated: int) -> int | None:
        """The only token that may come now."""
        params = self._params
        if params.forced_eos_token_id is not None and generated == params.max_new_tokens - 1:
            return params.forced_eos_token_id
        return params.forced_bos_token_id if generated == 0 else None

    def _ban_words(self, scores: Scores, history: Tokens) -> None:
        if self._banned:
            scores[:, self._banned] = _NEVER
        for beginning, last in self._words:
            if len(beginning) <= history.shape[1]:
                begun = (history[:, -len(beginning) :] == beginning).all(axis=1)
                scores[begun, last] = _NEVER


def _penalize(scores: Scores, history: Tokens, penalty: np.float32) -> None:
    seen = np.take_along_axis(scores, history, axis=1)
    np.put_along_axis(scores, history, np.where(seen < 0, seen * penalty, seen / penalty), axis=1)


def _ban_repeats(scores: Scores, history: Tokens, size: int) -> None:
    """No token that would complete a run of `size` tokens a second time."""
    length = history.shape[1]
    if length < size:
        return
    windows = np.lib.stride_tricks.sliding_window_view(history, size, axis=1)
    beginning = history[:, length - size + 1 :]
    row, place = np.nonzero((windows[:, :, :-1] == beginning[:, None, :]).all(axis=2))
    scores[row, windows[row, place, -1]] = _NEVER
