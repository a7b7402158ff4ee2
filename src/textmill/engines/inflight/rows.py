"""Rows that do not know of each other: greedy search, or several samples of one text."""

from __future__ import annotations

import numpy as np

from textmill.core import FinishReason, Request, Sequence
from textmill.engines.inflight.constraints import Constraints
from textmill.engines.inflight.ending import Ending
from textmill.engines.inflight.network import Scores, Tokens
from textmill.engines.inflight.sampling import draw, sampling_key, uniform


class Rows:
    """The search of a request without beams: each row takes the best token, or draws one.

    Rows that have ended go on beside the others; what they say then is not heard.
    """

    def __init__(self, request: Request, ending: Ending, *, job_seed: int) -> None:
        params = request.params
        self.width = params.num_return_sequences
        self.tokens: Tokens = np.full(self.width, params.decoder_start_token_id, np.int64)
        self.parents: Tokens = np.arange(self.width)
        self._params, self._ending = params, ending
        self._constraints = Constraints(params)
        self._said: list[list[int]] = [[] for _ in range(self.width)]
        self._ends: dict[int, Sequence] = {}
        self._key = sampling_key(request, job_seed) if params.do_sample else 0

    @property
    def takes_best(self) -> bool:
        """Whether the likeliest token is all that the next step needs to know."""
        return not self._params.do_sample and not self._constraints.active(len(self._said[0]))

    def advance(self, logits: Scores) -> None:
        """Choose the next token of each row from its logits [rows, vocabulary]."""
        if self._constraints.active(len(self._said[0])):
            self._constraints.apply(logits, self._history())
        if self._params.do_sample:
            self.take([self._draw(row, logits[row]) for row in range(self.width)])
        else:
            self.take(logits.argmax(axis=1).tolist())

    def take(self, chosen: list[int]) -> None:
        """Go on with these tokens, one for each row."""
        late = self._ending.late()
        for row, token in enumerate(chosen):
            self._said[row].append(token)
            if row not in self._ends:
                reason = self._ending.reason(self._said[row], late=late)
                if reason is not None:
                    self._end(row, reason)
        self.tokens[:] = chosen

    def _end(self, row: int, reason: FinishReason) -> None:
        self._ends[row] = Sequence(self._ending.visible(self._said[row]), reason)

    @property
    def done(self) -> bool:
        """Whether all rows have ended."""
        return len(self._ends) == self.width

    def sequences(self) -> tuple[Sequence, ...]:
        """What was generated, in the order of the samples."""
        return tuple(self._ends[row] for row in range(self.width))

    def _history(self) -> Tokens:
        start = self._params.decoder_start_token_id
        return np.array([[start, *said] for said in self._said])

    def _draw(self, row: int, logits: Scores) -> int:
        return draw(logits, self._params, uniform(self._key, row, len(self._said[row])))
