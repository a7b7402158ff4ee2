"""Answers of calls that a client may send again: one that is retried does not run twice. Pure.

AWS clients name each call (`amz-sdk-invocation-id`) and repeat the name when they repeat the call.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

from textmill.batching.clock import Clock

Kept = TypeVar("Kept")

KEEP_SECONDS = 300.0
_MOST = 1024


class Replays(Generic[Kept]):
    """What was begun for a named call, remembered for a while."""

    def __init__(self, clock: Clock, *, keep_seconds: float = KEEP_SECONDS) -> None:
        self._clock, self._keep_seconds = clock, keep_seconds
        self._kept: OrderedDict[Hashable, tuple[float, Kept]] = OrderedDict()

    def find(self, key: Hashable) -> Kept | None:
        """What was begun under this key, if it is still remembered."""
        self._forget_old()
        found = self._kept.get(key)
        return None if found is None else found[1]

    def keep(self, key: Hashable, kept: Kept) -> None:
        """Remember it; of too many the oldest is forgotten."""
        self._kept[key] = (self._clock.now() + self._keep_seconds, kept)
        if len(self._kept) > _MOST:
            self._kept.popitem(last=False)

    def drop(self, key: Hashable) -> None:
        """It came to nothing: a retry may run."""
        self._kept.pop(key, None)

    def _forget_old(self) -> None:
        now = self._clock.now()
        while self._kept:
            key, (until, _) = next(iter(self._kept.items()))
            if until > now:
                return
            del self._kept[key]
