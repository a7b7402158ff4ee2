"""OpenAI's batch format: a request per line in, an answer of the same shape per line out.

The answers hold no clock and no chance: `created` is 0 and every id is made from `custom_id`, so
the same job gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Raw, Struct

from textmill.core import FinishReason, JsonText, Record, Rejected
from textmill.errors import UsageError
from textmill.records.base import ByteStream
from textmill.records.builder import RecordBuilder
from textmill.records.jsonl import JsonlReader
from textmill.records.lines import MAX_LINE_BYTES
from textmill.records.openai_request import CHAT_URL, CUSTOM_ID, request_columns
from textmill.records.results import json_string

CREATED = 0
"""The time stamp of every answer: a real one would differ from run to run."""

FINISH_REASONS = {
    FinishReason.EOS: "stop",
    FinishReason.STOP: "stop",
    FinishReason.LENGTH: "length",
    FinishReason.TIME: "length",
}
"""As OpenAI calls them."""
_FINISH_JSON = {reason: json_string(name) for reason, name in FINISH_REASONS.items()}


class OpenAIReader:
    """Reads files of OpenAI's batch requests. What was noticed about them is in the builder."""

    def __init__(self, builder: RecordBuilder, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        """Raises `UsageError` if something else than `custom_id` is to be the id."""
        if builder.shape.id_field not in ("id", CUSTOM_ID):
            raise UsageError(
                f"the id of a request in OpenAI's format is its {CUSTOM_ID}",
                hint="leave --id out",
            )
        self.builder = builder
        self._lines = JsonlReader(
            builder,
            max_line_bytes=max_line_bytes,
            rewrite=partial(request_columns, shape=builder.shape),
            id_key=CUSTOM_ID,
        )

    def read(
        self, source: ByteStream, file: str, first_ordinal: int = 0
    ) -> Iterator[list[Record | Rejected]]:
        """All rows of one file, in order, a block at a time (256 KiB of input)."""
        return self._lines.read(source, file, first_ordinal)

    def count(self, source: ByteStream, file: str = "the input") -> int:
        """How many rows `read` yields."""
        return self._lines.count(source, file)


class _Request(Struct, frozen=True):
    """What an answer must know of its request: `ANSWER_COLUMN`."""

    url: str = CHAT_URL
    stop: tuple[str, ...] = ()


class _Result(Struct, frozen=True):
    """A result line. What it lacks is told as null or left out."""

    id: Raw
    generated_texts: tuple[str, ...]
    openai: _Request = _Request()
    finish_reasons: tuple[FinishReason, ...] = ()
    input_tokens: int | None = None
    output_tokens: int | None = None


_decode_result = msgspec.json.Decoder(_Result).decode


class OpenAIWriter:
    """Writes result lines as answers in OpenAI's batch format."""

    def __init__(self, model: str) -> None:
        """`model`: the model that answered, whatever the requests called it."""
        self._model = json_string(model)

    def encode(self, lines: Sequence[JsonText]) -> bytes:
        """One answer for each line."""
        return b"".join([self._answer(_decode_result(line)) for line in lines])

    def finish(self) -> bytes:
        """Nothing follows the last answer."""
        return b""

    def _answer(self, result: _Result) -> bytes:
        id_ = bytes(result.id)
        key = blake2b(id_, digest_size=16).hexdigest().encode()
        chat = result.openai.url == CHAT_URL
        choice = _chat_choice if chat else _completion_choice
        texts = _without_stop(result)
        reasons = [_FINISH_JSON[reason] for reason in result.finish_reasons]
        reasons += [b"null"] * (len(texts) - len(reasons))
        choices = [choice(at, json_string(text), reasons[at]) for at, text in enumerate(texts)]
        body = b'{"id": "%b-%b", "object": "%b", "created": %d, "model": %b, "choices": [%b]%b}' % (
            b"chatcmpl" if chat else b"cmpl",
            key,
            b"chat.completion" if chat else b"text_completion",
            CREATED,
            self._model,
            b", ".join(choices),
            _usage(result),
        )
        return (
            b'{"id": "batch_req_%b", "custom_id": %b, "response": {"status_code": 200, '
            b'"request_id": "req_%b", "body": %b}, "error": null}\n'
            % (key, id_ if id_[:1] == b'"' else json_string(id_.decode()), key, body)
        )


def _chat_choice(index: int, text: JsonText, reason: bytes) -> bytes:
    message = b'{"role": "assistant", "content": %b, "refusal": null}' % text
    return b'{"index": %d, "message": %b, "logprobs": null, "finish_reason": %b}' % (
        index,
        message,
        reason,
    )


def _completion_choice(index: int, text: JsonText, reason: bytes) -> bytes:
    return b'{"index": %d, "text": %b, "logprobs": null, "finish_reason": %b}' % (
        index,
        text,
        reason,
    )


def _without_stop(result: _Result) -> list[str]:
    """The texts; those that a stop string of the request ended, up to it, as OpenAI gives them."""
    texts = list(result.generated_texts)
    for at, reason in enumerate(result.finish_reasons):
        if reason is FinishReason.STOP:
            places = [texts[at].find(stop) for stop in result.openai.stop]
            ends = [place for place in places if place >= 0]
            texts[at] = texts[at][: min(ends, default=len(texts[at]))]
    return texts


def _usage(result: _Result) -> bytes:
    if result.input_tokens is None or result.output_tokens is None:
        return b""
    total = result.input_tokens + result.output_tokens
    return b', "usage": {"prompt_tokens": %d, "completion_tokens": %d, "total_tokens": %d}' % (
        result.input_tokens,
        result.output_tokens,
        total,
    )


def is_answer(line: Mapping[str, Any]) -> bool:
    """Whether a decoded line is an answer of OpenAI's batches, ours or their own."""
    response = line.get("response")
    is_one = isinstance(response, dict) and "body" in response
    return CUSTOM_ID in line and (is_one or (response is None and "error" in line))


def result_of_answer(line: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as a job's result: `id` and `generated_texts`, or the `code` of its error."""
    ids = {"id": line[CUSTOM_ID], CUSTOM_ID: line[CUSTOM_ID]}
    body, error = (line["response"] or {}).get("body"), line.get("error")
    choices = body.get("choices") if isinstance(body, dict) else None
    if error or not isinstance(choices, list):
        said = error if isinstance(error, dict) else {}
        return {**ids, "error": error, "code": said.get("code") or "error"}
    return {**ids, "generated_texts": [_text_of(choice) for choice in choices]}


def _text_of(choice: Any) -> Any:
    found = choice if isinstance(choice, dict) else {}
    message = found.get("message")
    return message.get("content") if isinstance(message, dict) else found.get("text")
