"""The token budget of a batch: up slowly, halved on a miss or for want of memory. Pure."""

from __future__ import annotations

BATCH_SHARE = 0.5
"""Of the latency target: a request waits for the batch that runs, and then for its own."""

_STEP_SHARE = 1 / 32
_CALM = 0.9


class Budget:
    """Follows the time that batches take.

    tokens: padded input tokens that a batch may have now.
    batch_seconds: what a batch may take; None without a latency target.
    """

    def __init__(self, most_tokens: int, *, slo_seconds: float | None = None) -> None:
        """Begins with the most; the cost model keeps predictable batches short all the same."""
        self._most = most_tokens
        self._step = max(1, int(most_tokens * _STEP_SHARE))
        self.tokens = most_tokens
        self.batch_seconds = None if slo_seconds is None else slo_seconds * BATCH_SHARE
        self.halvings = 0
        """How often it was halved."""

    def batch_done(self, padded_tokens: int, seconds: float, *, full: bool) -> None:
        """A batch took so long. full: it was as large as the budget let it be."""
        if self.batch_seconds is None:
            return
        if seconds > self.batch_seconds:
            self._halve(padded_tokens)
        elif full and seconds < self.batch_seconds * _CALM:
            self.tokens = min(self._most, self.tokens + self._step)

    def out_of_memory(self, tokens: int) -> None:
        """Memory allows for so many tokens at most, now and later."""
        self._most = max(1, min(self._most, tokens))
        if self.tokens > self._most:
            self.tokens = self._most
            self.halvings += 1

    def _halve(self, padded_tokens: int) -> None:
        """Half of the batch that was too slow: its neighbours of the same size halve it once."""
        half = max(self._step, padded_tokens // 2)
        if half < self.tokens:
            self.tokens = half
            self.halvings += 1
