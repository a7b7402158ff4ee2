"""When calls are made, and at which rate next. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence

from msgspec import Struct

_GROWTH = 1.6
_BISECTIONS = 3
_LEAST_RATE = 0.2
_KEPT_SHARE = 0.95
"""Of what was offered a server must answer so much, or it does not keep up."""


def poisson(rate: float, seconds: float, seed: int) -> list[float]:
    """Moments from 0 to `seconds` at which independent users would call, `rate` a second."""
    chance = random.Random(seed)  # noqa: S311 - a load, not a secret
    moments, now = [], chance.expovariate(rate)
    while now < seconds:
        moments.append(now)
        now += chance.expovariate(rate)
    return moments


class Stage(Struct, frozen=True, kw_only=True):
    """What became of the calls of one rate.

    rate: calls a second, offered. sent, ok, refused, failed: calls. refused: with 429 or 503.
    seconds: of latency of those answered, from the moment each was due, ascending.
    duration: seconds. lag: how late the 99th of a hundred calls was made, in seconds.
    batch_tokens: the server's budget of a batch then, where it tells.
    """

    rate: float
    duration: float
    sent: int
    refused: int
    failed: int
    seconds: tuple[float, ...]
    lag: float = 0.0
    batch_tokens: float | None = None

    @property
    def ok(self) -> int:
        """Calls that were answered."""
        return len(self.seconds)

    def percentile(self, share: float) -> float | None:
        """Latency that this share of the answered calls kept."""
        if not self.seconds:
            return None
        return self.seconds[min(len(self.seconds) - 1, int(share * len(self.seconds)))]

    def goodput(self, slo: float | None) -> float:
        """Calls a second that were answered, within the target if there is one."""
        good = self.seconds if slo is None else [s for s in self.seconds if s <= slo]
        return len(good) / self.duration

    def keeps(self, slo: float | None) -> bool:
        """Whether nearly all calls were answered, and 95 of 100 of them within the target."""
        p95 = self.percentile(0.95)
        if p95 is None or self.ok < _KEPT_SHARE * self.sent:
            return False
        return slo is None or p95 <= slo


class Sweep:
    """Which rate to try next: up by a factor until the target is lost, then between the two."""

    def __init__(self, first: float, slo: float | None) -> None:
        self._next: float | None = max(_LEAST_RATE, first)
        self._slo = slo
        self._good = 0.0
        self._bad: float | None = None
        self._bisections = 0

    def __iter__(self) -> Iterator[float]:
        while self._next is not None:
            yield self._next

    def done(self, stage: Stage) -> None:
        """A rate was tried."""
        keeps = stage.keeps(self._slo)
        if keeps:
            self._good = max(self._good, stage.rate)
        else:
            self._bad = min(stage.rate, self._bad or stage.rate)
        self._next = self._after()

    def _after(self) -> float | None:
        if self._bad is None:
            return self._good * _GROWTH
        if not self._good:
            lower = self._bad / _GROWTH**2
            return lower if lower >= _LEAST_RATE else None
        if self._bisections == _BISECTIONS:
            return None
        self._bisections += 1
        return math.sqrt(self._good * self._bad)


def best(stages: Sequence[Stage], slo: float | None) -> Stage | None:
    """The stage of the highest rate that keeps the target."""
    keeping = [stage for stage in stages if stage.keeps(slo)]
    return max(keeping, key=lambda stage: stage.rate, default=None)


def knee(stages: Sequence[Stage]) -> Stage | None:
    """The stage of the highest throughput, whatever its latency."""
    return max(stages, key=lambda stage: stage.goodput(None), default=None)
