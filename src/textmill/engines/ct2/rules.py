"""What the ct2 engine declares, allows and groups: a value, known without loading a model."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from msgspec import Struct

from textmill.core import Params
from textmill.engines.base import Capabilities
from textmill.engines.ct2 import options

if TYPE_CHECKING:  # a process that only computes reads no checkpoints
    from textmill.engines.checkpoint import Architecture

_BATCH_TOKENS = 2048
"""Smaller batches leave the decoder idle, larger ones leave the cache (docs/performance.md)."""

_NOTES = (
    "Beam search ends as CTranslate2 ends it, so that some texts differ from those of "
    "transformers.",
    "Sampled texts depend on the seed and on the records that share a batch.",
    "Beam search that bans tokens (minimum length, n-grams, words) scores what is left as "
    "transformers does with renormalize_logits=true, so that texts may differ without it.",
    "Texts under max_time depend on the speed of the machine.",
)
_INT8_NOTE = "In int8 a text may depend on the records that share its batch."


class Ct2Rules(Struct, frozen=True, kw_only=True):
    """Everything about a ct2 engine except its weights. Plain data: it crosses processes.

    precision: "int8" or "float32".
    workers: batches computed at a time, on one thread each.
    vocab_size, decoder_vocab_size, max_positions: as in `checkpoint.Architecture`.
    """

    precision: str
    workers: int
    vocab_size: int
    decoder_vocab_size: int
    max_positions: int | None

    @classmethod
    def of(cls, architecture: Architecture, *, precision: str, workers: int) -> Ct2Rules:
        """The rules for a model."""
        return cls(
            precision=precision,
            workers=workers,
            vocab_size=architecture.vocab_size,
            decoder_vocab_size=architecture.decoder_vocab_size,
            max_positions=architecture.max_positions,
        )

    @property
    def capabilities(self) -> Capabilities:
        """Static batches, padded; float32 texts do not depend on their batch unless sampled."""
        exact = self.precision == "float32"
        return Capabilities(
            name="ct2",
            precision=self.precision,
            batch_invariant=exact,
            max_batch_tokens=_BATCH_TOKENS,
            parallel=self.workers,
            libraries=("ctranslate2",),
            notes=_NOTES if exact else (*_NOTES, _INT8_NOTE),
        )

    def check(self, params: Params) -> None:
        """Raise `UnsupportedParameter` for what CTranslate2 cannot do as transformers does it."""
        options.check(params, self)

    def group(self, params: Params) -> Hashable:
        """Everything but stop strings and the language to write."""
        return options.group(params)
