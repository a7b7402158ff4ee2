"""A deterministic, device-free engine that answers each text with itself.

It is `--engine echo`: dry runs of a data pipeline, load tests of everything but the model, and the
engine of most tests.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import repeat

from textmill.core import Batch, Completion, FinishReason, Outcome, Params
from textmill.core import Sequence as GeneratedSequence
from textmill.engines.base import Capabilities
from textmill.engines.bytes_tokenizer import ByteTokenizer
from textmill.errors import UnsupportedParameter

EchoTokenizer = ByteTokenizer
"""Its tokens are the UTF-8 bytes of the text."""


class EchoEngine:
    """Returns every input unchanged, cut at max_new_tokens. Mixes any parameters in a batch."""

    capabilities = Capabilities(name="echo", precision="none", padded=False)

    def __init__(self) -> None:
        self._waiting: deque[Batch] = deque()

    def check(self, params: Params) -> None:
        """Refuse what an echo cannot do: choose, penalise or stop."""
        for name, neutral in _NEUTRAL.items():
            value = getattr(params, name)
            if value != neutral:
                raise UnsupportedParameter(name, value, "the echo engine only repeats its input")

    def group(self, params: Params) -> None:
        """All requests may share a batch."""

    def room(self) -> int:
        """Two batches at a time, as an engine with one busy and one waiting has."""
        return 2 - len(self._waiting)

    def add(self, batch: Batch) -> None:
        """Take a batch."""
        self._waiting.append(batch)

    def step(self) -> Sequence[Outcome]:
        """Answer the oldest batch."""
        if not self._waiting:
            return ()
        return [
            Completion(request, _echo(request.ids, request.params))
            for request in self._waiting.popleft().requests
        ]

    def abandon(self) -> None:
        """Forget what is in flight."""
        self._waiting.clear()

    def close(self) -> None:
        """Forget what is in flight."""
        self.abandon()


_NEUTRAL = {
    "do_sample": False,
    "forced_bos_token_id": None,
    "min_new_tokens": 0,
    "no_repeat_ngram_size": 0,
    "repetition_penalty": 1.0,
    "src_lang": None,
    "stop": (),
}


def _echo(ids: list[int], params: Params) -> tuple[GeneratedSequence, ...]:
    if len(ids) > params.max_new_tokens:
        one = GeneratedSequence(ids[: params.max_new_tokens], FinishReason.LENGTH)
    else:
        one = GeneratedSequence(ids, FinishReason.EOS)
    return tuple(repeat(one, params.num_return_sequences))
