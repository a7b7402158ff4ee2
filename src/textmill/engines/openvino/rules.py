"""What the openvino engine declares, allows and groups: a value, known without loading a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from textmill.core import Params
from textmill.engines.base import Capabilities
from textmill.engines.openvino.precision import Arithmetic
from textmill.errors import UnsupportedParameter

if TYPE_CHECKING:  # a process that only computes reads no checkpoints
    from textmill.engines.checkpoint import Architecture

_BATCH_TOKENS, _BATCH_ROWS = 16384, 64
"""A batch is only how requests arrive; these fill the slots without piling up."""

_NOTES = ("Texts under max_time depend on the speed of the machine.",)
_ROUNDING_NOTE = (
    "In {} a text may depend on the records that are computed beside it, by rounding alone."
)


class OpenvinoRules(Struct, frozen=True, kw_only=True):
    """Everything about an openvino engine except its weights. Plain data: it crosses processes.

    precision: one of `PRECISIONS`. half: bfloat16 where int8 is not.
    threads: CPU threads in all.
    decoder_vocab_size, max_positions: as in `checkpoint.Architecture`.
    """

    precision: str
    half: bool
    threads: int
    decoder_vocab_size: int
    vocab_size: int
    max_positions: int | None

    @classmethod
    def of(
        cls, architecture: Architecture, *, precision: str, half: bool, threads: int
    ) -> OpenvinoRules:
        """The rules for a model."""
        return cls(
            precision=precision,
            half=half,
            threads=threads,
            vocab_size=architecture.vocab_size,
            decoder_vocab_size=architecture.decoder_vocab_size,
            max_positions=architecture.max_positions,
        )

    @property
    def arithmetic(self) -> Arithmetic:
        """How it computes."""
        return Arithmetic(int8=self.precision == "int8", half=self.half)

    @property
    def lanes(self) -> int:
        """Decoders that work side by side: small products do not scale over threads."""
        return min(self.threads, _MOST_LANES)

    @property
    def capabilities(self) -> Capabilities:
        """Continuous, any parameters together; float32 texts do not depend on their batch."""
        exact = self.precision == "float32"
        return Capabilities(
            name="openvino",
            precision=self.precision,
            continuous=True,
            padded=False,
            parallel=2 * self.lanes,
            batch_invariant=exact,
            max_batch_tokens=_BATCH_TOKENS,
            max_batch_rows=_BATCH_ROWS,
            libraries=("numpy", "openvino"),
            notes=_NOTES if exact else (*_NOTES, _ROUNDING_NOTE.format(self.precision)),
        )

    def check(self, params: Params) -> None:
        """Raise `UnsupportedParameter` for what cannot be done as transformers does it."""
        self._check_positions(params)
        self._check_ids(params)
        _check_sequences(params)

    def group(self, params: Params) -> None:
        """All requests may share a batch."""

    def _check_positions(self, params: Params) -> None:
        limit = self.max_positions
        if limit is not None and params.max_new_tokens > limit:
            raise _refuse(
                params,
                "max_new_tokens",
                f"allows at most {limit}, all the positions this model has",
            )

    def _check_ids(self, params: Params) -> None:
        size = self.decoder_vocab_size
        single = ("forced_bos_token_id", "forced_eos_token_id", "decoder_start_token_id")
        ids: dict[str, tuple[int | None, ...]] = {name: (getattr(params, name),) for name in single}
        ids |= {name: getattr(params, name) for name in ("eos_token_ids", "suppress_tokens")}
        ids["bad_words_ids"] = tuple(n for word in params.bad_words_ids for n in word)
        for name, values in ids.items():
            if any(n is not None and not 0 <= n < size for n in values):
                raise _refuse(
                    params, name, f"allows token ids under {size}, the model's vocabulary"
                )


_MOST_LANES = 4


def _check_sequences(params: Params) -> None:
    if params.do_sample and params.num_beams > 1:
        raise _refuse(params, "do_sample", "samples only with num_beams=1")
    if params.do_sample or params.num_return_sequences == 1:
        return
    if params.num_beams == 1:
        raise _refuse(params, "num_return_sequences", "allows more than 1 only with beams")
    if params.num_return_sequences > params.num_beams:
        raise _refuse(params, "num_return_sequences", "allows at most num_beams")


def _refuse(params: Params, name: str, rule: str) -> UnsupportedParameter:
    return UnsupportedParameter(name, getattr(params, name), f"the openvino engine {rule}")
