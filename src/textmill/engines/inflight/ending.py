"""When a sequence ends, other than by the end of a beam search."""

from __future__ import annotations

from collections.abc import Callable

from textmill.core import FinishReason, Params
from textmill.engines.stopping import Decode, cut_at_stop

Clock = Callable[[], float]


class Ending:
    """The rules by which one request's sequences end. The clock starts with it."""

    def __init__(self, params: Params, decode: Decode, clock: Clock) -> None:
        self._params, self._decode, self._clock = params, decode, clock
        limit = params.max_time
        self._deadline = None if limit is None else clock() + limit
        self._ends = frozenset(params.eos_token_ids)

    def late(self) -> bool:
        """Whether max_time is over."""
        return self._deadline is not None and self._clock() > self._deadline

    def reason(self, generated: list[int], *, late: bool) -> FinishReason | None:
        """Why a sequence ends with the last of its generated tokens; None when it goes on."""
        params = self._params
        full = len(generated) >= params.max_new_tokens
        if full and params.forced_eos_token_id is not None:
            return FinishReason.LENGTH
        if generated[-1] in self._ends:
            return FinishReason.EOS
        if params.stop and self._stops(generated):
            return FinishReason.STOP
        if full:
            return FinishReason.LENGTH
        return FinishReason.TIME if late else None

    def _stops(self, generated: list[int]) -> bool:
        return cut_at_stop(self.visible(generated), self._params.stop, self._decode) is not None

    def visible(self, generated: list[int]) -> list[int]:
        """Generated tokens without forced beginning and end token."""
        ended = generated[-1] in self._ends
        start = self._params.forced_bos_token_id is not None
        return generated[start : len(generated) - ended]
