"""The values that move along the one path, from a line of input to a line of output.

bytes → Record → Request → Batch → Completion → Result → Part → Manifest → Report

All of them are frozen. They are msgspec structs rather than dataclasses because a job makes
millions of them: a frozen struct is built in 0.1 µs, a frozen dataclass in 1.5 µs.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct

from textmill.errors import ErrorCode

JsonText = bytes
"""One JSON value as it was written, so that it can be written again untouched."""


class Record(Struct, frozen=True, kw_only=True, gc=False):
    """One valid line of input.

    ordinal: position among the rows of the whole job, 0-based, over all input files.
    id: the record's id as JSON text; comes back untouched, whatever its type.
    texts: the texts to transform, prompt applied; one, or several when `text_inputs` is a list.
    params: the generation parameters the record itself carries, decoded but not yet checked.
    kept: the columns to copy to the output, as (JSON key, JSON value) texts.
    source: the whole row as it was read, when the job joins its results to it.
    file, line: where it stands; `line` is 1-based.
    """

    ordinal: int
    id: JsonText
    texts: tuple[str, ...]
    params: Mapping[str, Any] | None = None
    kept: tuple[tuple[JsonText, JsonText], ...] = ()
    source: JsonText | None = None
    file: str = ""
    line: int = 0


class Rejected(Struct, frozen=True, kw_only=True, gc=False):
    """One row of input that cannot become a request, and why. `id` is None when unreadable."""

    ordinal: int
    id: JsonText | None
    file: str
    line: int
    code: ErrorCode
    message: str


class FinishReason(StrEnum):
    """Why a sequence ended."""

    EOS = "eos"
    """The model ended it."""
    LENGTH = "length"
    """It met max_new_tokens: the text may be cut."""
    STOP = "stop"
    """A stop string appeared."""
    TIME = "time"
    """max_time was over."""


class Params(Struct, frozen=True, kw_only=True):
    """Generation parameters with every layer resolved: what the engine does, no more questions.

    Names and meanings are those of transformers' `generate`; `docs/reference/parameters.md` is
    generated from the same table (`params/schema.py`) that checks them.
    """

    max_new_tokens: int = 256
    min_new_tokens: int = 0
    num_beams: int = 1
    num_return_sequences: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    no_repeat_ngram_size: int = 0
    repetition_penalty: float = 1.0
    renormalize_logits: bool = False
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    seed: int | None = None
    max_time: float | None = None
    stop: tuple[str, ...] = ()
    src_lang: str | None = None
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | None = None
    bad_words_ids: tuple[tuple[int, ...], ...] = ()
    suppress_tokens: tuple[int, ...] = ()
    decoder_start_token_id: int = 0
    eos_token_ids: tuple[int, ...] = (1,)
    batch_size: int | None = None


class Request(Struct, frozen=True, gc=False):
    """One text of one record, ready for the engine.

    ordinal, index: the record, and which of its texts.
    ids: the input's token ids, special tokens included.
    params: what to do with it.
    """

    ordinal: int
    index: int
    ids: list[int]
    params: Params


class Batch(Struct, frozen=True):
    """Requests that one engine call answers.

    number: names the batch within the job's plan, the same in every run of the job; with the
        job's seed it keys the batch's sampling.
    requests: longest input first.
    """

    number: int
    requests: tuple[Request, ...]


class Sequence(Struct, frozen=True, gc=False):
    """One generated sequence.

    ids: generated token ids, without the start token, forced prefix and end token.
    score: sum of token log-probabilities divided by length ** length_penalty, the value that
        transformers calls `sequences_scores`; None when the engine was not asked for it.
    """

    ids: list[int]
    finish: FinishReason
    score: float | None = None


class Usage(Struct, frozen=True, gc=False):
    """Tokens read and written for one request, as whoever computed it counts them."""

    input_tokens: int
    output_tokens: int


class Completion(Struct, frozen=True, gc=False):
    """The engine's answer to one request: `num_return_sequences` sequences, best first.

    usage: None where the ids of request and sequences are the model's own tokens.
    """

    request: Request
    sequences: tuple[Sequence, ...]
    usage: Usage | None = None


class Failure(Struct, frozen=True, gc=False):
    """A request that the engine could not answer, alone in a batch.

    attempts: how often it was tried alone.
    """

    request: Request
    code: ErrorCode
    message: str
    attempts: int = 1


Outcome = Completion | Failure
