"""What a request in OpenAI's batch format says, as a record's columns.

A text-to-text model gets one text: the prompt, or the one user message with the system messages
before it, a blank line between them. Parameters get the names of transformers. Nothing is dropped:
a key that would change the answer and cannot be honoured refuses the request; those that cannot
change it (`model`, `user`, `metadata` …) become columns, which the job reports as unused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from textmill.core import JsonText
from textmill.errors import ErrorCode
from textmill.records.shape import TEXT_FIELD, Shape, meant_parameter
from textmill.records.strict import Fields, decode_string, parse_object, repeated_key
from textmill.records.unfit import Unfit, quoted

CUSTOM_ID = "custom_id"
CHAT_URL = "/v1/chat/completions"
COMPLETIONS_URL = "/v1/completions"

ANSWER_COLUMN = "openai"
"""The column that carries what `OpenAIWriter` must know of the request, when it is kept."""

_ENVELOPE = frozenset({CUSTOM_ID, "method", "url", "body"})
_OWN = frozenset(
    {"max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop", "n"}
)
_WITHOUT_EFFECT = frozenset(
    {
        "metadata",
        "model",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "stream_options",
        "user",
    }
)
"""Keys that cannot change the text."""

_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "audio": (),
    "best_of": (1,),
    "echo": (False,),
    "frequency_penalty": (0, 0.0),
    "function_call": ("auto", "none"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "parallel_tool_calls": (False, True),
    "prediction": (),
    "presence_penalty": (0, 0.0),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),
    "stream": (False,),
    "suffix": ("",),
    "tool_choice": ("auto", "none"),
    "tools": ([],),
    "top_logprobs": (0,),
    "verbosity": (),
    "web_search_options": (),
}
"""Keys that cannot be honoured, and the values, besides null, with which they ask for nothing."""

_INSTRUCTIONS = ("system", "developer")
_BETWEEN_MESSAGES = "\n\n"
_BETWEEN_PARTS = "\n"

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_decode_list = msgspec.json.Decoder(list[Raw]).decode


def request_columns(fields: Fields, shape: Shape) -> dict[str, JsonText]:
    """A record's columns, made of the keys of one line. Raises `Unfit`."""
    for name in fields:
        if name not in _ENVELOPE:
            raise _bad(f"{quoted(name)} is unknown beside custom_id, method, url and body")
    custom_id = _needed(fields, CUSTOM_ID)
    if custom_id in (b"null", b'""'):
        raise Unfit(ErrorCode.MISSING_FIELD, "custom_id is empty: give each request one of its own")
    if custom_id[:1] != b'"':
        raise _bad("custom_id is not a string")
    if _text_or_none(fields, "method") not in (None, "POST"):
        raise _bad('method is not "POST"')
    body = _object(_needed(fields, "body"), "body")
    url = _url(fields, body)
    columns = {shape.id_field: custom_id}
    if url == CHAT_URL:
        columns[TEXT_FIELD] = _chat_text(_needed(body, "messages", "body"))
    else:
        columns[TEXT_FIELD] = _prompt(_needed(body, "prompt", "body"))
    source = "messages" if url == CHAT_URL else "prompt"
    rest = {name: value for name, value in body.items() if name != source and value != b"null"}
    columns |= _body_columns(rest, shape)
    if ANSWER_COLUMN in shape.keep:
        columns[ANSWER_COLUMN] = _answer(url, rest)
    return columns


def _url(fields: Fields, body: Mapping[str, JsonText]) -> str:
    """The address; where there is none, the one that the body is made for."""
    url = _text_or_none(fields, "url")
    if url is None:
        return COMPLETIONS_URL if "prompt" in body and "messages" not in body else CHAT_URL
    if url not in (CHAT_URL, COMPLETIONS_URL):
        raise _bad(f"url {quoted(url)} cannot be answered: only {CHAT_URL} and {COMPLETIONS_URL}")
    return url


def _answer(url: str, body: Mapping[str, JsonText]) -> JsonText:
    return _encode({"url": url, "stop": _stop_strings(body)})


def _chat_text(messages: JsonText) -> JsonText:
    """The text of a conversation of one turn, as JSON."""
    if messages[:1] != b"[":
        raise _bad("messages is not a list")
    parts = [
        _message(bytes(message), f"messages[{at}]")
        for at, message in enumerate(_decode_list(messages))
    ]
    *before, last = [role for role, _ in parts] or [""]
    if last != "user" or any(role not in _INSTRUCTIONS for role in before):
        raise _bad(
            "messages must be one user message, system messages before it: a text-to-text model "
            f"holds no conversation (here: {', '.join(role for role, _ in parts) or 'none'})"
        )
    return _encode(_BETWEEN_MESSAGES.join(text for _, text in parts if text))


def _message(message: JsonText, where: str) -> tuple[str, str]:
    """A message's role and text."""
    fields = _object(message, where)
    role = _string(_needed(fields, "role", where), f"{where}.role")
    for name, value in fields.items():
        if name not in ("role", "content") and value not in (b"null", b"[]"):
            raise _bad(f"{where}.{name} cannot be honoured: only role and content can")
    if role not in (*_INSTRUCTIONS, "user"):
        return role, ""
    content = _needed(fields, "content", where)
    if content[:1] != b"[":
        return role, _string(content, f"{where}.content")
    parts = enumerate(_decode_list(content))
    texts = [_part(bytes(part), f"{where}.content[{at}]") for at, part in parts]
    return role, _BETWEEN_PARTS.join(texts)


def _part(part: JsonText, where: str) -> str:
    fields = _object(part, where)
    kind = _string(_needed(fields, "type", where), f"{where}.type")
    if kind != "text":
        raise _bad(f"{where} is of type {quoted(kind)}: the model reads text only")
    for name in fields:
        if name not in ("type", "text"):
            raise _bad(f"{where}.{name} cannot be honoured")
    return _string(_needed(fields, "text", where), f"{where}.text")


def _prompt(prompt: JsonText) -> JsonText:
    first = prompt[:1]
    if first == b"[" and all(bytes(item)[:1] == b'"' for item in _decode_list(prompt)):
        return prompt
    if first != b'"':
        raise _bad("prompt is not a string or a list of strings (token ids cannot be read)")
    return prompt


def _body_columns(body: Mapping[str, JsonText], shape: Shape) -> dict[str, JsonText]:
    """Parameters by transformers' names, and the keys without effect. `body` has no nulls."""
    columns = {}
    for name, value in body.items():
        if name in _WITHOUT_EFFECT or (name in shape.parameters and name not in _OWN):
            columns[name] = value
        elif name not in _OWN and not _asks_nothing(name, value):
            raise _not_honoured(name, value, shape)
    for name, value in _translated(body).items():
        if columns.setdefault(name, value) != value and name not in _SAMPLING_DEFAULTS:
            raise Unfit(ErrorCode.BAD_PARAMETER, f"{quoted(name)} is said twice: give it once")
    return columns


_SAMPLING_DEFAULTS = {"num_beams": b"1", "top_k": b"0"}
"""OpenAI's sampling knows neither beams nor a top k; a body that names them decides itself."""


def _translated(body: Mapping[str, JsonText]) -> dict[str, JsonText]:
    """The keys of OpenAI's that transformers has under other names or with other meanings."""
    found: dict[str, JsonText] = {}
    for name, translated in _TRANSLATED.items():
        if name in body and found.setdefault(translated, body[name]) != body[name]:
            raise Unfit(ErrorCode.BAD_PARAMETER, "max_tokens and max_completion_tokens disagree")
    if stop := _stop_strings(body):
        found["stop"] = _encode(stop)
    return found | _sampling(body)


_TRANSLATED = {
    "max_tokens": "max_new_tokens",
    "max_completion_tokens": "max_new_tokens",
    "n": "num_return_sequences",
    "seed": "seed",
}


def _stop_strings(body: Mapping[str, JsonText]) -> list[str]:
    stop = _value("stop", body["stop"]) if "stop" in body else []
    strings = [stop] if isinstance(stop, str) else stop
    if isinstance(strings, list) and all(isinstance(string, str) for string in strings):
        return strings
    raise Unfit(ErrorCode.BAD_PARAMETER, "stop is not a string or a list of strings")


def _sampling(body: Mapping[str, JsonText]) -> dict[str, JsonText]:
    """Temperature 0, or a top p of 0, is the likeliest text; any other asks for sampling."""
    said = {name: body[name] for name in ("temperature", "top_p") if name in body}
    if not said or "do_sample" in body:
        return said
    if any(_is_zero(name, value) for name, value in said.items()):
        return {"do_sample": b"false"}
    return {"do_sample": b"true", **_SAMPLING_DEFAULTS, **said}


def _is_zero(name: str, value: JsonText) -> bool:
    number = _value(name, value)
    return number == 0 and not isinstance(number, bool)


def _value(name: str, value: JsonText) -> Any:
    try:
        return _decode(value)
    except msgspec.MsgspecError as error:
        raise Unfit(ErrorCode.BAD_PARAMETER, f"{name}: {error}") from error


def _asks_nothing(name: str, value: JsonText) -> bool:
    decoded = _value(name, value)
    return any(
        decoded == neutral and type(decoded) is type(neutral) for neutral in _NEUTRAL.get(name, ())
    )


def _not_honoured(name: str, value: JsonText, shape: Shape) -> Unfit:
    if name in _NEUTRAL:
        shown = value[:60].decode(errors="ignore")
        message = f"{name}: {shown} cannot be honoured; without it the request can be answered"
    else:
        meant = meant_parameter(name, _OWN | _NEUTRAL.keys() | shape.parameters)
        message = f"{quoted(name)} is not a parameter" + (f": did you mean {meant}?" * bool(meant))
    return Unfit(ErrorCode.BAD_PARAMETER, message)


def _object(value: JsonText, where: str) -> dict[str, JsonText]:
    """The members of an object within the line, which is known to be valid JSON."""
    if value[:1] != b"{":
        raise _bad(f"{where} is not an object")
    fields = parse_object(value)
    key = repeated_key(value, fields)
    if key is not None:
        raise Unfit(ErrorCode.BAD_JSON, f"the key {quoted(key)} appears twice in {where}")
    return {name: bytes(member) for name, member in fields.items()}


def _needed(fields: Fields, name: str, where: str = "the request") -> JsonText:
    raw = fields.get(name)
    if raw is None:
        raise Unfit(ErrorCode.MISSING_FIELD, f"there is no {quoted(name)} in {where}")
    return bytes(raw)


def _text_or_none(fields: Fields, name: str) -> str | None:
    raw = fields.get(name)
    return None if raw is None or bytes(raw) == b"null" else _string(bytes(raw), name)


def _string(value: JsonText, where: str) -> str:
    if value[:1] != b'"':
        raise _bad(f"{where} is not a string")
    return decode_string(value)


def _bad(message: str) -> Unfit:
    return Unfit(ErrorCode.BAD_RECORD, message)
