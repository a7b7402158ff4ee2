"""Beam search as transformers does it, for one text."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from textmill.core import FinishReason, Request, Sequence
from textmill.engines.inflight.candidates import largest, log_softmax
from textmill.engines.inflight.constraints import Constraints
from textmill.engines.inflight.ending import Ending
from textmill.engines.inflight.network import Scores, Tokens

_WORST = np.float32(-1e9)
"""transformers' score of what must not win."""


class _Hypothesis(Struct, frozen=True):
    """A finished text. score: with the length penalty."""

    score: float
    said: list[int]
    reason: FinishReason


class Beams:
    """The search of a request with beams: rows that are the best beginnings so far."""

    def __init__(self, request: Request, ending: Ending) -> None:
        params = request.params
        self.width = params.num_beams
        self.tokens: Tokens = np.full(self.width, params.decoder_start_token_id, np.int64)
        self.parents: Tokens = np.zeros(self.width, np.int64)
        self.done = False
        self._params, self._ending = params, ending
        self._constraints = Constraints(params)
        self._history: Tokens = self.tokens[:, None]
        self._scores: Scores = np.full(self.width, _WORST)
        self._scores[0] = 0.0  # all rows are the same at first: only one of them counts
        self._finished: list[_Hypothesis] = []
        self._keep = max(2, 1 + len(params.eos_token_ids)) * self.width

    def advance(self, logits: Scores) -> None:
        """One step, from the logits [rows, vocabulary] of the running beams."""
        scores, vocabulary = self._scored(logits), logits.shape[1]
        places, values = largest(scores, self._keep)
        parents, tokens = np.divmod(places, vocabulary)
        ends = self._endings(parents, tokens)
        self._finish(parents, tokens, values, ends)
        self._go_on(parents, tokens, values, ends)
        self._decide(ends)

    def _scored(self, logits: Scores) -> Scores:
        scores = log_softmax(logits)
        if self._constraints.active(self._generated):
            self._constraints.apply(scores, self._history)
        if self._params.renormalize_logits:
            scores = log_softmax(scores)
        scores += self._scores[:, None]
        return scores

    @property
    def _generated(self) -> int:
        return int(self._history.shape[1]) - 1

    def _endings(self, parents: Tokens, tokens: Tokens) -> list[FinishReason | None]:
        """Why each candidate ends, None where it goes on."""
        late = self._ending.late()
        return [
            self._ending.reason(self._said(parent, token), late=late)
            for parent, token in zip(parents.tolist(), tokens.tolist(), strict=True)
        ]

    def _said(self, parent: int, token: int) -> list[int]:
        return [*self._history[parent, 1:].tolist(), token]

    def _finish(
        self, parents: Tokens, tokens: Tokens, values: Scores, ends: list[FinishReason | None]
    ) -> None:
        """Candidates that end become hypotheses, if they are among the best num_beams."""
        length = np.float32((self._generated + 1) ** self._params.length_penalty)
        for n, reason in enumerate(ends[: self.width]):
            if reason is not None:
                said = self._said(int(parents[n]), int(tokens[n]))
                self._finished.append(_Hypothesis(float(values[n] / length), said, reason))
        self._finished.sort(key=lambda hypothesis: -hypothesis.score)
        del self._finished[self.width :]

    def _go_on(
        self, parents: Tokens, tokens: Tokens, values: Scores, ends: list[FinishReason | None]
    ) -> None:
        """The best candidates that have not ended are the next rows."""
        running = values + np.where([reason is not None for reason in ends], _WORST, np.float32(0))
        chosen = np.argsort(-running, kind="stable")[: self.width]
        self.parents, self.tokens = parents[chosen], tokens[chosen]
        self._scores = running[chosen]
        self._history = np.column_stack((self._history[self.parents], self.tokens))

    def _decide(self, ends: list[FinishReason | None]) -> None:
        """Whether the search is over, by transformers' rules."""
        self.done = (
            None not in ends
            or (self._full and self._params.early_stopping is True)
            or not self._may_improve()
        )

    @property
    def _full(self) -> bool:
        return len(self._finished) == self.width

    def _may_improve(self) -> bool:
        """Whether the best running beam could still beat the worst hypothesis."""
        params = self._params
        never = params.early_stopping == "never" and params.length_penalty > 0
        length = params.max_new_tokens if never else self._generated
        best = self._scores[0] / np.float32(length**params.length_penalty)
        worst = np.float32(self._finished[-1].score) if self._full else _WORST
        return bool(best > worst)

    def sequences(self) -> tuple[Sequence, ...]:
        """The best hypotheses with their scores."""
        return tuple(
            Sequence(self._ending.visible(h.said), h.reason, h.score)
            for h in self._finished[: self._params.num_return_sequences]
        )
