"""What outcomes amount to, for whoever takes them: generated texts, and tokens read and written."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from textmill.core import Completion, Outcome, Usage
from textmill.engines.base import Tokenizer


def generated_texts(tokenizer: Tokenizer, outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    """The texts of each outcome, none for a failure; one tokenizer call for all of them."""
    sequences = [
        [s.ids for s in outcome.sequences] if isinstance(outcome, Completion) else []
        for outcome in outcomes
    ]
    texts = iter(tokenizer.decode([ids for some in sequences for ids in some]))
    return [tuple(islice(texts, len(some))) for some in sequences]


def usage_of(completion: Completion) -> Usage:
    """Tokens as whoever computed them counts them, or else as they stand here."""
    if completion.usage is not None:
        return completion.usage
    written = sum([len(sequence.ids) for sequence in completion.sequences])
    return Usage(len(completion.request.ids), written)
