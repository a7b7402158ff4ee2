"""What becomes of a request after one attempt: pure, and the one place that knows status codes."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from msgspec import Struct

from textmill.engines.openai_api.wire import Complaint, is_cut, read_complaint
from textmill.errors import ErrorCode


class Reply(Struct, frozen=True):
    """A whole answer. headers: names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Trouble(Enum):
    """Why there is no whole answer."""

    UNREACHABLE = "the server cannot be reached"
    BROKEN = "the connection broke"
    TIMEOUT = "no answer in time"
    TOO_LARGE = "the answer is larger than any answer may be"
    UNTRUSTED = "the server's certificate cannot be verified"


class Fate(Enum):
    """What to do next."""

    READ = "read the answer"
    FAIL = "the record is at fault, or nobody will ever know better: a failure at once"
    AGAIN = "this request again, after a while"
    HOLD = "no request at all for a while, then this one again"
    STOP = "no request of this job can succeed"


class Verdict(Struct, frozen=True, kw_only=True):
    """One attempt, judged.

    message: what happened, in the server's words where it had some; not yet fit to print.
    code: of the failure, should it come to that.
    counts: whether it is one of the attempts that a request has.
    hint: what to do about it, should the job stop.
    """

    fate: Fate
    message: str = ""
    code: ErrorCode = ErrorCode.ENGINE_ERROR
    counts: bool = True
    hint: str | None = None


def judge(attempt: Reply | Trouble) -> Verdict:
    """What to do after an attempt."""
    if isinstance(attempt, Trouble):
        return _TROUBLES[attempt]
    if 200 <= attempt.status < 300:
        return _TROUBLES[Trouble.BROKEN] if is_cut(attempt.body) else Verdict(fate=Fate.READ)
    complaint = read_complaint(attempt.body)
    return Verdict(
        fate=_fate(attempt.status, complaint),
        message=f"the server answers {attempt.status}: {complaint.message or 'nothing more'}",
        code=_code(attempt.status, complaint),
        hint=_hint(attempt.status),
    )


_TROUBLES = {
    Trouble.UNREACHABLE: Verdict(fate=Fate.HOLD, message=Trouble.UNREACHABLE.value, counts=False),
    Trouble.BROKEN: Verdict(fate=Fate.AGAIN, message=Trouble.BROKEN.value),
    Trouble.TIMEOUT: Verdict(
        fate=Fate.AGAIN, message=Trouble.TIMEOUT.value, code=ErrorCode.TIMEOUT
    ),
    Trouble.TOO_LARGE: Verdict(fate=Fate.FAIL, message=Trouble.TOO_LARGE.value),
    Trouble.UNTRUSTED: Verdict(
        fate=Fate.STOP,
        message=Trouble.UNTRUSTED.value,
        hint="SSL_CERT_FILE names certificates to trust",
    ),
}

_STOPS = frozenset({401, 402, 403, 404, 405, 407, 501})
"""Key, account, route or model: the same for every request of a job."""
_HOLDS = frozenset({429, 502, 503, 529})
"""The server has too much to do, or is not there behind its gateway."""
_AGAIN = frozenset({408, 409, 425})
_SPENT = "insufficient_quota"
_TOO_LONG = frozenset({"context_length_exceeded", "exceed_context_size_error"})
"""OpenAI's word and llama.cpp's."""


def _fate(status: int, complaint: Complaint) -> Fate:
    if status in _STOPS or status < 400 or complaint.code == _SPENT:
        return Fate.STOP  # under 400 it is a redirect: another server than the one that was named
    if status in _HOLDS:
        return Fate.HOLD
    return Fate.AGAIN if status in _AGAIN or status >= 500 else Fate.FAIL


def _code(status: int, complaint: Complaint) -> ErrorCode:
    if status in {408, 504}:
        return ErrorCode.TIMEOUT
    if status == 413 or complaint.code in _TOO_LONG:
        return ErrorCode.TOO_LONG
    return ErrorCode.ENGINE_ERROR


def _hint(status: int) -> str | None:
    if status < 400:
        return "give the address that it sends you to, if you trust it"
    return _HINTS.get(status)


_KEY = "set OPENAI_API_KEY, or name a file with the key: --api-key-file"
_ROUTE = (
    "is the model's name right (--model ADDRESS#name), and does the address end as the server"
    " wants it (most end in /v1)?"
)
_HINTS = {401: _KEY, 403: _KEY, 404: _ROUTE, 405: _ROUTE}
