"""Every reason why a call has no answer: a closed list of codes, each with its HTTP status."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from textmill.errors import ErrorCode


class Code(StrEnum):
    """What a client may match on. The first ten are those of `textmill run`."""

    BAD_JSON = "bad_json"
    """The body is not strict JSON in UTF-8."""
    BAD_RECORD = "bad_record"
    """The body is JSON, but a field has the wrong type or a value that cannot be used."""
    MISSING_FIELD = "missing_field"
    """A field that is needed is not there."""
    BAD_PARAMETER = "bad_parameter"
    """A generation parameter is unknown, out of range or cannot be honoured."""
    TOO_LONG = "too_long"
    """The text is over the model's input limit."""
    EMPTY = "empty"
    """There is no text to work on."""
    OOM = "oom"
    """The engine ran out of memory on this text alone."""
    ENGINE_ERROR = "engine_error"
    """The engine failed on this text alone."""
    TIMEOUT = "timeout"
    """There was no answer in the time that the client or the endpoint allows."""
    CRASHED = "crashed"
    """The engine's process died on this text."""
    TOO_LARGE = "too_large"
    """The call is over a limit of this endpoint: bytes, nesting, texts, tokens, beams or work."""
    UNAUTHORIZED = "unauthorized"
    """The key is missing or wrong."""
    FORBIDDEN = "forbidden"
    """A web page of another site, or a name that this endpoint does not answer to, is asking."""
    NOT_FOUND = "not_found"
    """There is no such address, model or endpoint here."""
    METHOD_NOT_ALLOWED = "method_not_allowed"
    """The address is asked in another way."""
    NOT_ACCEPTABLE = "not_acceptable"
    """The type that `Accept` asks for cannot be given."""
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    """The body is of a type that is not read."""
    SLOW_REQUEST = "slow_request"
    """The body took too long to come."""
    RATE_LIMITED = "rate_limited"
    """The client asks more often than it may."""
    OVERLOADED = "overloaded"
    """The answer would come too late; `Retry-After` says when to try again."""
    NOT_READY = "not_ready"
    """The endpoint is starting or stopping, or its engine does not answer."""
    INTERNAL = "internal"
    """A fault of the endpoint; its log tells more."""


STATUS: dict[Code, int] = {
    Code.BAD_JSON: 400,
    Code.BAD_RECORD: 400,
    Code.MISSING_FIELD: 400,
    Code.BAD_PARAMETER: 400,
    Code.TOO_LONG: 400,
    Code.EMPTY: 400,
    Code.OOM: 422,
    Code.ENGINE_ERROR: 500,
    Code.TIMEOUT: 504,
    Code.CRASHED: 422,
    Code.TOO_LARGE: 413,
    Code.UNAUTHORIZED: 401,
    Code.FORBIDDEN: 403,
    Code.NOT_FOUND: 404,
    Code.METHOD_NOT_ALLOWED: 405,
    Code.NOT_ACCEPTABLE: 406,
    Code.UNSUPPORTED_MEDIA_TYPE: 415,
    Code.SLOW_REQUEST: 408,
    Code.RATE_LIMITED: 429,
    Code.OVERLOADED: 429,
    Code.NOT_READY: 503,
    Code.INTERNAL: 500,
}


class Refused(Exception):
    """A call, or one record of it, has no answer.

    code: why. message: a sentence for whoever sent it; it holds no text of other callers.
    retry_after_s: when to try again; None where that is of no use.
    allowed: methods of HTTP that the address knows, where another one was used.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        retry_after_s: float | None = None,
        allowed: Sequence[str] = (),
    ) -> None:
        self.code, self.message = code, message
        self.retry_after_s, self.allowed = retry_after_s, tuple(allowed)
        super().__init__(message)

    @property
    def status(self) -> int:
        """Of HTTP."""
        return STATUS[self.code]


def code_of(code: ErrorCode) -> Code:
    """The same reason for a call. Each code of a record but `duplicate_id` is one of a call."""
    return Code.BAD_RECORD if code is ErrorCode.DUPLICATE_ID else Code(code.value)
