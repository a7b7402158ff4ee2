"""What an engine's process and its parent tell each other: msgpack in frames, never code.

A frame is its length in four bytes and one message; from parent to process, after the order, a
list of `Work`. Answers name the batch by its serial, so that two batches in flight can never be
taken for each other, whatever their records are.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from textmill import errors
from textmill.core import Batch, Completion, Failure, Outcome, Params, Request
from textmill.core import Sequence as Generated
from textmill.errors import EngineError, ErrorCode, ModelError, TextmillError, meaning_of


class Order(Struct, frozen=True):
    """The first frame: the engine to make.

    factory: "module:function" of our own code, which returns an `Engine`.
    arguments: keyword arguments of the function, as plain data.
    niceness: how far the process gives way to others, from 0 (not at all) to 19.
    """

    factory: str
    arguments: dict[str, Any] = {}
    niceness: int = 0


class Work(Struct, frozen=True, array_like=True):
    """A batch to compute.

    serial: names it in answers. number, and ordinal and index of a request: as in `Batch` and
        `Request`; sampling depends on them.
    params: each once. rows: for each request the position of its params, its ordinal, its index
        and its token ids.
    """

    serial: int
    number: int
    params: list[Params]
    rows: list[tuple[int, int, int, list[int]]]


class Ready(Struct, frozen=True, tag=True):
    """The engine is loaded."""


class NotLoaded(Struct, frozen=True, tag=True):
    """The engine cannot be loaded. kind: name of the error's class in `textmill.errors`."""

    kind: str
    message: str
    hint: str | None = None


class Refusal(Struct, frozen=True):
    """The answer to a request that failed though its batch did not."""

    code: ErrorCode
    message: str


Answer = tuple[Generated, ...] | Refusal


class Done(Struct, frozen=True, tag=True):
    """A batch's answers, one for each request in their order."""

    serial: int
    answers: list[Answer]


class BatchFailed(Struct, frozen=True, tag=True):
    """A batch failed as a whole; the engine goes on."""

    serial: int
    code: ErrorCode
    message: str


class Broken(Struct, frozen=True, tag=True):
    """The engine is in a state that nobody can tell, and the process ends."""

    code: ErrorCode
    message: str


Reply = Ready | NotLoaded | Done | BatchFailed | Broken

_LENGTH = struct.Struct("<I")
_encode = msgspec.msgpack.Encoder().encode
decode_order = msgspec.msgpack.Decoder(Order).decode
decode_work = msgspec.msgpack.Decoder(list[Work]).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode


def frame(message: Order | Reply | list[Raw]) -> bytes:
    """A message as it goes over the line."""
    payload = _encode(message)
    return _LENGTH.pack(len(payload)) + payload


def frames(data: bytearray) -> Iterator[bytes]:
    """Take the complete frames off the front of `data`; what is left is half a frame."""
    while len(data) >= _LENGTH.size:
        end = _LENGTH.size + _LENGTH.unpack_from(data)[0]
        if len(data) < end:
            return
        payload = bytes(memoryview(data)[_LENGTH.size : end])
        del data[:end]
        yield payload


def read_frame(read: Callable[[int], bytes]) -> bytes:
    """The payload of the next frame. `read` blocks until it has as many bytes as it is asked for.

    Raises `EOFError` at the end.
    """
    header = read(_LENGTH.size)
    payload = read(_LENGTH.unpack(header)[0]) if len(header) == _LENGTH.size else b""
    if not payload:
        raise EOFError
    return payload


def pack(serial: int, batch: Batch) -> Raw:
    """A batch as `Work`. Raises `EngineError` for values that msgpack does not have."""
    places: dict[int, int] = {}  # by identity: requests mostly share one Params object
    params: list[Params] = []
    rows = []
    for request in batch.requests:
        if id(request.params) not in places:
            places[id(request.params)] = len(params)
            params.append(request.params)
        place = places[id(request.params)]
        rows.append((place, request.ordinal, request.index, request.ids))
    try:
        return Raw(_encode(Work(serial, batch.number, params, rows)))
    except (TypeError, ValueError, OverflowError) as error:
        raise EngineError(f"a request cannot be sent to the engine's process: {error}") from error


def unpack(work: Work) -> Batch:
    """The batch as the engine in the process sees it."""
    return Batch(
        work.number,
        tuple(
            Request(ordinal, index, ids, work.params[place])
            for place, ordinal, index, ids in work.rows
        ),
    )


def answer(outcome: Outcome) -> Answer:
    """An outcome without its request."""
    if isinstance(outcome, Failure):
        return Refusal(outcome.code, outcome.message)
    return outcome.sequences


def outcomes(batch: Batch, answers: Sequence[Answer]) -> list[Outcome]:
    """Answers joined to their requests again."""
    return [
        Failure(request, given.code, given.message)
        if isinstance(given, Refusal)
        else Completion(request, given)
        for request, given in zip(batch.requests, answers, strict=True)
    ]


def not_loaded(error: Exception) -> NotLoaded:
    """An error of loading as a message."""
    meaning = meaning_of(error)
    if isinstance(error, TextmillError):
        return NotLoaded(type(error).__name__, meaning.message, meaning.hint)
    if meaning.code is ErrorCode.OOM:
        hint = "use a smaller model, --precision int8 or a machine with more memory"
        return NotLoaded("ModelError", "there is not enough memory to load the model", hint)
    return NotLoaded("ModelError", f"the engine cannot load the model: {meaning.message}")


def loading_error(told: NotLoaded) -> TextmillError:
    """The error that the process had, of the same class where that is one of ours."""
    return _KINDS.get(told.kind, ModelError)(told.message, hint=told.hint)


_KINDS: dict[str, type[TextmillError]] = {
    kind.__name__: kind
    for kind in (
        errors.UsageError,
        errors.InputError,
        errors.OutputError,
        errors.ModelNotFound,
        errors.UnsupportedModel,
        errors.CorruptModel,
        errors.UnsafeModel,
    )
}
