"""Engines that misbehave on purpose, for tests of what stands around an engine."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from textmill.core import Batch, Outcome, Params, Request
from textmill.engines.base import BatchError, Capabilities, Engine


class PoisonEngine:
    """Wraps an engine; fails every batch that holds a poisoned request.

    poison: which requests are poison. error: what such a batch dies of. when: "add" or "step".
    calls: every batch it was given, for assertions.
    """

    def __init__(
        self,
        inner: Engine,
        poison: Callable[[Request], bool],
        *,
        error: Exception | None = None,
        when: str = "step",
    ) -> None:
        self._inner, self._poison, self._when = inner, poison, when
        self._error = error or RuntimeError("poison")
        self._doomed: list[Batch] = []
        self.calls: list[Batch] = []

    @property
    def capabilities(self) -> Capabilities:
        """Those of the engine inside."""
        return self._inner.capabilities

    def check(self, params: Params) -> None:
        """As the engine inside."""
        self._inner.check(params)

    def group(self, params: Params) -> Hashable:
        """As the engine inside."""
        return self._inner.group(params)

    def room(self) -> int:
        """As the engine inside, doomed batches counted."""
        return self._inner.room() - len(self._doomed)

    def add(self, batch: Batch) -> None:
        """Take a batch; a poisoned one fails here or in the next step."""
        self.calls.append(batch)
        if not any(map(self._poison, batch.requests)):
            self._inner.add(batch)
        elif self._when == "add":
            raise BatchError(batch) from self._error
        else:
            self._doomed.append(batch)

    def step(self) -> Sequence[Outcome]:
        """Fail a doomed batch, or step the engine inside."""
        if self._doomed:
            raise BatchError(self._doomed.pop()) from self._error
        return self._inner.step()

    def abandon(self) -> None:
        """Forget the doomed, and as the engine inside."""
        self._doomed.clear()
        self._inner.abandon()

    def close(self) -> None:
        """As the engine inside."""
        self._inner.close()
