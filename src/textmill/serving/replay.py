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
_MOST = 4096
_MOST_BYTES = 32 * 1024 * 1024


class _Entry(Generic[Kept]):
    """What was begun. size: bytes of its answer, once it is there."""

    def __init__(self, kept: Kept, until: float) -> None:
        self.kept, self.until, self.size = kept, until, 0


class Replays(Generic[Kept]):
    """What was begun for a named call, remembered for a while and within limits."""

    def __init__(
        self, clock: Clock, *, keep_seconds: float = KEEP_SECONDS, most_bytes: int = _MOST_BYTES
    ) -> None:
        self._clock, self._keep_seconds, self._most_bytes = clock, keep_seconds, most_bytes
        self._entries: OrderedDict[Hashable, _Entry[Kept]] = OrderedDict()
        self._bytes = 0

    def find(self, key: Hashable) -> Kept | None:
        """What was begun under this key, if it is still remembered."""
        self._forget_old()
        found = self._entries.get(key)
        return None if found is None else found.kept

    def keep(self, key: Hashable, kept: Kept) -> None:
        """Remember it; of too many the oldest is forgotten."""
        self.drop(key)
        self._entries[key] = _Entry(kept, self._clock.now() + self._keep_seconds)
        if len(self._entries) > _MOST:
            self._drop_oldest()

    def answered(self, key: Hashable, size: int) -> None:
        """Its answer has so many bytes; of too many the oldest are forgotten."""
        entry = self._entries.get(key)
        if entry is None:
            return
        entry.size = size
        self._bytes += size
        while self._bytes > self._most_bytes:
            self._drop_oldest()

    def drop(self, key: Hashable) -> None:
        """It came to nothing: a retry may run."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size

    def _drop_oldest(self) -> None:
        self.drop(next(iter(self._entries)))

    def _forget_old(self) -> None:
        now = self._clock.now()
        while self._entries and next(iter(self._entries.values())).until <= now:
            self._drop_oldest()
