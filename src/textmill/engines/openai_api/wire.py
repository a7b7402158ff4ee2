"""Requests and answers as JSON: pure functions of bytes and values.

Answers are a stranger's bytes: whatever has another shape than promised fails its record.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from textmill.core import Completion, Failure, FinishReason, Outcome, Params, Request, Usage
from textmill.core import Sequence as Generated
from textmill.engines.openai_api.address import CHAT
from textmill.errors import ErrorCode, UnsupportedParameter
from textmill.words import written

_Count = Annotated[int, Meta(ge=0, le=2**40)]


def check_params(params: Params) -> None:
    """Raise `UnsupportedParameter` for what the API has no word for."""
    for name, neutral in _NEUTRAL.items():
        value = getattr(params, name)
        if value != neutral:
            raise UnsupportedParameter(name, value, _NO_WORD, hint=_HINTS.get(name))
    if params.do_sample and params.top_k not in _NO_TOP_K:
        raise UnsupportedParameter("top_k", params.top_k, _NO_WORD, hint="use top_p")


_NO_WORD = "OpenAI's API has no word for it, so the server cannot be asked"
_HINTS = {
    "batch_size": "how many texts are sent at once is --concurrency",
    "max_time": "how long one answer may take is --timeout",
}
_NEUTRAL: dict[str, Any] = {
    "bad_words_ids": (),
    "batch_size": None,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "max_time": None,
    "min_new_tokens": 0,
    "no_repeat_ngram_size": 0,
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "src_lang": None,
    "suppress_tokens": (),
}
_NO_TOP_K = (0, Params().top_k)
"""Values that a run may have without the user's having asked for a limit."""


def request_body(request: Request, *, route: str, model: str, seed: int) -> bytes:
    """What is sent for a request; the same bytes in every run.

    seed: the job's, for requests whose parameters have none. Raises `UnicodeDecodeError` for ids
    that are not a text's bytes.
    """
    text = bytes(request.ids).decode()
    params = request.params
    body: dict[str, Any] = {"model": model}
    if route == CHAT:
        body["messages"] = [{"role": "user", "content": text}]
    else:
        body["prompt"] = text
    body["max_tokens"] = params.max_new_tokens
    if params.do_sample:
        body |= {"temperature": params.temperature, "top_p": params.top_p}
        body["seed"] = request_seed(request, seed)
    else:
        body["temperature"] = 0
    if params.num_return_sequences > 1:
        body["n"] = params.num_return_sequences
    if params.stop:
        body["stop"] = params.stop
    return msgspec.json.encode(body)


def request_seed(request: Request, job_seed: int) -> int:
    """31 bits of the seed and the request's place in the job, so that batching plays no part."""
    seed = job_seed if request.params.seed is None else request.params.seed
    key = f"{seed} {request.ordinal} {request.index}".encode()
    return int.from_bytes(blake2b(key, digest_size=4).digest()) >> 1


class _Message(Struct):
    content: str | None = None


class _Choice(Struct):
    finish_reason: str | None = None
    index: _Count = 0
    message: _Message | None = None
    text: str | None = None


class _Usage(Struct):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None


class _Answer(Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode

_FINISH = {
    "stop": FinishReason.EOS,  # of a stop string, too: the API does not tell them apart
    "length": FinishReason.LENGTH,
    "eos_token": FinishReason.EOS,  # TGI's own words
    "stop_sequence": FinishReason.STOP,
}


class _Unusable(Exception):
    """An answer without the texts that were asked for."""


def read_answer(body: bytes, request: Request, *, route: str) -> Outcome:
    """The texts of a successful answer, or a failure that says what is wrong with it."""
    try:
        answer = _decode_answer(body)
        sequences = _sequences(answer, request.params.num_return_sequences, route)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        message = f"the server's answer is not a completion: {_said_instead(body) or error}"
    except _Unusable as error:
        message = f"the server's answer cannot be used: {error}"
    else:
        return Completion(request, sequences, usage=_usage(answer.usage))
    return Failure(request, ErrorCode.ENGINE_ERROR, message)


def is_cut(body: bytes) -> bool:
    """Whether an answer's object ends before it is whole: of an answer that does not say how long
    it is, nothing else tells that the connection broke."""
    if not body.lstrip().startswith(b"{"):
        return False
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        return "truncated" in str(error)
    return False


def _said_instead(body: bytes) -> str:
    """The server's complaint in an answer whose status says success."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""
    return _complaint(found).message if isinstance(found, dict) and found.get("error") else ""


def _sequences(answer: _Answer, wanted: int, route: str) -> tuple[Generated, ...]:
    choices = sorted(answer.choices, key=lambda choice: choice.index)
    if len(choices) != wanted:
        raise _Unusable(f"{wanted} texts were asked for, {len(choices)} came")
    return tuple(_sequence(choice, route) for choice in choices)


def _sequence(choice: _Choice, route: str) -> Generated:
    finish = _FINISH.get(choice.finish_reason or "")
    if finish is None:
        raise _Unusable(f"it ended for the reason {written(choice.finish_reason)}")
    text = choice.text
    if route == CHAT:
        text = choice.message.content if choice.message else None
    if text is None:
        raise _Unusable(f"it holds no text (finish_reason {written(choice.finish_reason)})")
    return Generated(list(text.encode()), finish)


def _usage(usage: _Usage | None) -> Usage:
    if usage is None:
        return Usage(0, 0)
    return Usage(usage.prompt_tokens or 0, usage.completion_tokens or 0)


class Complaint(Struct, frozen=True):
    """What a refusing answer says. code: the machine's word, if it has one."""

    message: str
    code: str = ""


def read_complaint(body: bytes) -> Complaint:
    """What an answer with an error status says, in whichever of the usual shapes."""
    try:
        return _complaint(msgspec.json.decode(body))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Complaint(body[:2000].decode("utf-8", "replace"))


def _complaint(found: Any) -> Complaint:
    error = found.get("error", found) if isinstance(found, dict) else found
    if not isinstance(error, dict):
        return Complaint(str(error))
    message = error.get("message", error.get("detail", error))
    codes = (error.get("code"), error.get("type"))
    return Complaint(str(message), next((code for code in codes if isinstance(code, str)), ""))


def read_models(body: bytes) -> list[str]:
    """Names in an answer of `/models`. Raises `msgspec.MsgspecError` for another shape."""
    return [model.id for model in _decode_models(body).data]


class _Model(Struct):
    id: str


class _Models(Struct):
    data: list[_Model]


_decode_models = msgspec.json.Decoder(_Models).decode
