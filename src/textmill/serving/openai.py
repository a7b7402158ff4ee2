"""OpenAI's `/v1/completions` and `/v1/models`, for clients that speak it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from textmill.core import FinishReason, JsonText
from textmill.records.openai import FINISH_REASONS
from textmill.records.openai_request import COMPLETIONS_URL, request_columns
from textmill.records.shape import TEXT_FIELD
from textmill.records.unfit import Unfit
from textmill.serving.asked import Asked, Reply, RowResult, unreadable, whole
from textmill.serving.media import JSON
from textmill.serving.reading import Reader
from textmill.serving.refusals import Code, Refused, code_of

_OWNER = "textmill"
_CREATED = 0
"""A model has no moment of creation that means anything here."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class Completions(Struct, frozen=True, kw_only=True):
    """A request that was read. stop: strings that the answer leaves out."""

    asked: Asked
    stop: tuple[str, ...] = ()


def read(body: bytes, reader: Reader, model: str) -> Completions:
    """A body of `/v1/completions`. Raises `Refused`."""
    fields = reader.object(body)
    _check_model(fields.get("model"), model)
    envelope = {"custom_id": b'"call"', "url": _encode(COMPLETIONS_URL), "body": body.strip()}
    try:
        columns = request_columns(envelope, msgspec.structs.replace(reader.shape, id_field="id"))
    except Unfit as error:
        raise Refused(code_of(error.code), error.message) from error
    given = _decode(columns.pop(TEXT_FIELD))
    texts = [given] if isinstance(given, str) else given
    if not texts:
        raise unreadable("prompt is an empty list", Code.EMPTY)
    parameters = {n: v for n, v in columns.items() if n in reader.shape.parameters}
    rows = reader.texts(texts, parameters)
    stop = tuple(_decode(columns["stop"])) if "stop" in columns else ()
    return Completions(asked=Asked(rows=rows, ids=[None] * len(rows)), stop=stop)


def _check_model(named: JsonText | None, model: str) -> None:
    name = None if named is None else _decode(named)
    if name is not None and name != model:
        raise Refused(Code.NOT_FOUND, f"this endpoint serves {model}, not {str(name)[:80]}")


def write(
    completions: Completions, results: Sequence[RowResult], *, model: str, id_: str, created: int
) -> Reply:
    """The answer; it fails as a whole."""
    answers = whole(results)
    texts = [
        (_without(text, completions.stop) if reason is FinishReason.STOP else text, reason)
        for answer in answers
        for text, reason in zip(answer.texts, answer.finish, strict=True)
    ]
    read_tokens = sum(answer.input_tokens for answer in answers)
    written = sum(answer.output_tokens for answer in answers)
    body = {
        "id": f"cmpl-{id_}",
        "object": "text_completion",
        "created": created,
        "model": model,
        "choices": [
            {"index": n, "text": text, "logprobs": None, "finish_reason": FINISH_REASONS[reason]}
            for n, (text, reason) in enumerate(texts)
        ],
        "usage": {
            "prompt_tokens": read_tokens,
            "completion_tokens": written,
            "total_tokens": read_tokens + written,
        },
    }
    return Reply(body=_encode(body), content_type=JSON)


def _without(text: str, stop: Sequence[str]) -> str:
    """The text up to the first stop string, as OpenAI gives it."""
    places = [place for one in stop if (place := text.find(one)) >= 0]
    return text[: min(places, default=len(text))]


def models(model: str) -> dict[str, Any]:
    """The list of `/v1/models`."""
    return {"object": "list", "data": [model_card(model)]}


def model_card(model: str) -> dict[str, Any]:
    """One model of it."""
    return {"id": model, "object": "model", "created": _CREATED, "owned_by": _OWNER}


def error_body(refused: Refused) -> dict[str, Any]:
    """A refusal as OpenAI's clients read it."""
    kind = _TYPES.get(refused.status)
    if kind is None:
        kind = "server_error" if refused.status >= 500 else "invalid_request_error"
    error = {"message": refused.message, "type": kind, "param": None, "code": refused.code.value}
    return {"error": error}
