"""What a batch will take: a linear model that is fitted while the endpoint runs. Pure.

    seconds = a + b x padded input tokens + c x decoding steps + d x (steps x rows)

All four are at least 0: more work never takes less time.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from textmill.core import Params

_FORGET = 0.98
"""What the past counts against the next batch: about the last 50 batches decide."""

_SWEEPS = 40
_LEAST_SECONDS = 1e-4
_FIRST_STEPS = 32.0
_STEPS_FORGET = 0.95


class Work(Struct, frozen=True, kw_only=True):
    """What of a batch costs time.

    padded_tokens: input tokens, padding counted where the engine pads.
    steps: of the longest answer. row_steps: of all decoded rows together.
    """

    padded_tokens: float
    steps: float
    row_steps: float

    @property
    def _features(self) -> tuple[float, float, float, float]:
        return (1.0, self.padded_tokens, self.steps, self.row_steps)


class CostModel:
    """Learns from batches and predicts them. Recent batches count most; errors are relative."""

    def __init__(self) -> None:
        self._products = [[0.0] * 4 for _ in range(4)]
        self._targets = [0.0] * 4
        self.coefficients = [0.0] * 4
        """a, b, c, d; zeros until something was observed."""
        self.observed = 0
        """Batches so far."""

    def observe(self, work: Work, seconds: float) -> None:
        """One batch took so long."""
        # Errors count as shares. Of the longer time: two batches whose ends are seen together seem
        # to take twice and no time, and no time must not be what all others are measured by.
        scale = max(seconds, self.predict(work), _LEAST_SECONDS)
        features = [value / scale for value in work._features]
        for row, left in enumerate(features):
            self._targets[row] = self._targets[row] * _FORGET + left * seconds / scale
            for column, right in enumerate(features):
                cell = self._products[row][column]
                self._products[row][column] = cell * _FORGET + left * right
        self.observed += 1
        self._fit()

    def predict(self, work: Work) -> float:
        """Seconds that a batch will take; 0 before anything was observed."""
        return sum(
            coefficient * value
            for coefficient, value in zip(self.coefficients, work._features, strict=True)
        )

    def fixed_seconds(self, steps: float) -> float:
        """What a batch costs besides its rows: what joining two batches saves."""
        a, _, c, _ = self.coefficients
        return a + c * steps

    @property
    def seconds_per_token(self) -> float:
        """What one more padded input token costs."""
        return self.coefficients[1]

    def _fit(self) -> None:
        """Least squares without negative coefficients, by coordinate descent from the last fit."""
        for _ in range(_SWEEPS):
            for n, row in enumerate(self._products):
                if row[n] <= 0.0:
                    continue
                others = sum(row[m] * self.coefficients[m] for m in range(4) if m != n)
                self.coefficients[n] = max(0.0, (self._targets[n] - others) / row[n])


class Steps:
    """How many tokens answers have, on average and in the longest of a batch."""

    def __init__(self) -> None:
        self.mean = self.longest = _FIRST_STEPS

    def observe(self, steps: Iterable[int]) -> None:
        """The answers of one batch have so many tokens."""
        counts = list(steps)
        if counts:
            self.mean += (sum(counts) / len(counts) - self.mean) * (1 - _STEPS_FORGET)
            self.longest += (max(counts) - self.longest) * (1 - _STEPS_FORGET)

    def expected(self, params: Params) -> float:
        """Tokens that one answer will have."""
        return max(params.min_new_tokens, min(self.mean, params.max_new_tokens))

    def expected_longest(self, params: Params) -> float:
        """Tokens that the longest answer of a batch will have."""
        return max(params.min_new_tokens, min(self.longest, params.max_new_tokens))
