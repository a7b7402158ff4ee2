"""What a client gets for one text: the generated texts, or why there are none."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from textmill.core import Failure, FinishReason, Outcome
from textmill.engines.base import Tokenizer
from textmill.engines.outcomes import generated_texts, usage_of
from textmill.errors import ErrorCode
from textmill.serving.faults import log_fault


class Generated(Struct, frozen=True):
    """What the model made of one text: the sequences' texts, best first, and why each ended."""

    texts: tuple[str, ...]
    finish: tuple[FinishReason, ...]
    input_tokens: int
    output_tokens: int


Answer = Generated | Failure


def answers_of(tokenizer: Tokenizer, outcomes: Sequence[Outcome]) -> list[Answer]:
    """One each: by one call of the tokenizer for all, or one for each if that fails."""
    try:
        texts = generated_texts(tokenizer, outcomes)
    except Exception as error:  # noqa: BLE001 - whatever it was, only its text may suffer
        if len(outcomes) == 1:
            log_fault("a text could not be decoded", error)
            message = "the model's tokenizer fails on the generated text"
            return [Failure(outcomes[0].request, ErrorCode.ENGINE_ERROR, message)]
        return [answer for one in outcomes for answer in answers_of(tokenizer, [one])]
    return list(map(_answer, outcomes, texts))


def _answer(outcome: Outcome, texts: tuple[str, ...]) -> Answer:
    if isinstance(outcome, Failure):
        return outcome
    usage = usage_of(outcome)
    reasons = tuple(sequence.finish for sequence in outcome.sequences)
    return Generated(texts, reasons, usage.input_tokens, usage.output_tokens)
