"""The seam between textmill and whatever computes: two small protocols.

An engine is driven by *our* scheduler: it never re-batches, never reorders a batch's meaning, and
never drops a request. Static engines (CTranslate2) take a batch and return it whole; continuous
engines take requests into slots and return them as they finish. The Loop cannot tell them apart.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol, runtime_checkable

from msgspec import Struct

from textmill.core import Batch, Outcome, Params


class Capabilities(Struct, frozen=True, kw_only=True):
    """What an engine declares about itself.

    name: as in `--engine`.
    precision: what it computes in, e.g. "int8".
    continuous: True when it refills slots, False when it returns whole batches.
    padded: True when a batch costs rows x longest input, False when it costs the sum of inputs.
    batch_invariant: True when the same request gives the same text in any batch, bit for bit.
    max_batch_tokens, max_batch_rows: batches larger than this gain no speed; the default budget.
    parallel: batches that it computes at a time; more that it is given wait in it.
    local: True when it computes on this machine, so that a record may end the whole job there.
    libraries: packages of which another version may give other texts.
    notes: limits that the manifest repeats, one sentence each.
    """

    name: str
    precision: str
    continuous: bool = False
    padded: bool = True
    batch_invariant: bool = True
    max_batch_tokens: int = 8192
    max_batch_rows: int = 256
    parallel: int = 1
    local: bool = True
    libraries: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Engine(Protocol):
    """Computes batches. One Loop owns it; `check` and `group` may be called from any thread."""

    @property
    def capabilities(self) -> Capabilities:
        """Constant over the engine's life."""

    def check(self, params: Params) -> None:
        """Raise `UnsupportedParameter` for parameters this engine cannot honour exactly."""

    def group(self, params: Params) -> Hashable:
        """Requests whose groups are equal may share a batch. Equal params: equal groups."""

    def room(self) -> int:
        """How many more batches `add` accepts now without blocking; 0 means call `step`."""

    def add(self, batch: Batch) -> None:
        """Start a batch. All its requests are of one group. Never blocks for its result.

        An error of the batch is raised here or in `step`, as `BatchError`.
        """

    def step(self) -> Sequence[Outcome]:
        """Wait until some requests are done and return their outcomes, in any order.

        An outcome's request is the very object that `add` was given.

        Returns an empty sequence when nothing is in flight. Raises `BatchError` when a batch
        failed as a whole; the batch is then forgotten, and other batches in flight go on.
        """

    def abandon(self) -> None:
        """Forget all batches in flight: `step` will not return them. For a Loop that was broken."""

    def close(self) -> None:
        """Give memory and threads back. Idempotent; batches in flight are abandoned."""


@runtime_checkable
class Interruptible(Protocol):
    """An engine whose `step` can be ended early, so that new batches reach it meanwhile."""

    def interrupt(self) -> None:
        """Let the `step` under way return now, or else the next one. From any thread.

        One call ends one step at most; that step may return nothing though batches are in flight.
        """


class BatchError(Exception):
    """A batch failed as a whole; the Loop splits it to find the culprit. `__cause__` says why.

    attempts: how often it was tried without others beside it.
    """

    def __init__(self, batch: Batch, *, attempts: int = 1) -> None:
        self.batch = batch
        self.attempts = attempts
        super().__init__(f"batch {batch.number} of {len(batch.requests)} requests failed")


class Tokenizer(Protocol):
    """Texts to token ids and back. Thread-safe; may use several threads itself."""

    def encode(self, texts: Sequence[str], *, src_lang: str | None = None) -> list[list[int]]:
        """Token ids of each text, special tokens added, never truncated.

        src_lang: source language for models that need one (M2M100, NLLB, mBART); None means the
        model's default. Raises `ParameterError` for a language the model does not know.
        """

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """Text of each id sequence, special tokens left out, spaces cleaned as the model's own
        tokenizer does."""

    def language_token_id(self, lang: str) -> int:
        """Id of a language's token, for `tgt_lang`. Raises `ParameterError` if there is none."""

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that `src_lang` and `tgt_lang` accept; empty for models without them."""
