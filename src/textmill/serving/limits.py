"""How much one call, and all calls together, may ask for."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from textmill.batching.scheduler import decoded_rows
from textmill.core import Params, Request
from textmill.serving.refusals import Code, Refused


class Limits(Struct, frozen=True, kw_only=True):
    """What is refused before any work is done on it.

    max_header_bytes, header_seconds: of a request's head, and how long it may take to come.
    max_body_bytes, body_seconds: the same of its body.
    max_nesting: levels of arrays and objects in JSON. max_fields: members of one object.
    max_texts: of one call. max_input_tokens: of one text; None leaves it to the model.
    max_new_tokens, max_beams, max_sequences: of one text.
    max_work: decoded tokens of one call, were every text as long as it may be.
    max_waiting_texts, max_waiting_tokens: of all calls together.
    max_connections: open at a time.
    seconds: that a call may take when its client sets no deadline of its own.
    """

    max_header_bytes: int = 16 * 1024
    header_seconds: float = 10.0
    max_body_bytes: int = 1024 * 1024
    body_seconds: float = 30.0
    max_nesting: int = 32
    max_fields: int = 64
    max_texts: int = 256
    max_input_tokens: int | None = 16_384
    max_new_tokens: int = 2048
    max_beams: int = 16
    max_sequences: int = 16
    max_work: int = 256 * 1024
    max_waiting_texts: int = 4096
    max_waiting_tokens: int = 1_000_000
    max_connections: int = 1024
    seconds: float = 60.0

    def check_texts(self, count: int) -> None:
        """Raise `Refused` for more texts than one call may hold."""
        if count > self.max_texts:
            raise _over("texts in one call", count, self.max_texts)

    def check_requests(self, requests: Sequence[Request]) -> None:
        """Raise `Refused` for a call whose texts or parameters are over a limit."""
        self.check_texts(len(requests))
        work = 0
        for request in requests:
            if self.max_input_tokens is not None and len(request.ids) > self.max_input_tokens:
                raise _over("input tokens of one text", len(request.ids), self.max_input_tokens)
            self._check_params(request.params)
            work += decoded_rows(request.params) * request.params.max_new_tokens
        if work > self.max_work:
            raise _over("texts x beams x new tokens of one call", work, self.max_work)

    def _check_params(self, params: Params) -> None:
        for name, limit in (
            ("max_new_tokens", self.max_new_tokens),
            ("num_beams", self.max_beams),
            ("num_return_sequences", self.max_sequences),
        ):
            if getattr(params, name) > limit:
                raise _over(name, getattr(params, name), limit)


def _over(what: str, value: int, limit: int) -> Refused:
    return Refused(Code.TOO_LARGE, f"{what}: {value:,}; this endpoint allows {limit:,}")
