"""The Open Inference Protocol, version 2, as KServe, Triton and MLServer speak it over HTTP.

One input of type BYTES holds the texts, one output of type BYTES the generated texts. Data stands
in the JSON; the binary extension is not spoken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from textmill.core import JsonText
from textmill.params import KNOWN_NAMES
from textmill.serving.asked import Asked, Reply, RowResult, unreadable, whole
from textmill.serving.media import JSON
from textmill.serving.reading import Reader
from textmill.serving.refusals import Code, Refused

_INPUT, _OUTPUT = "text", "generated_text"
_encode = msgspec.json.Encoder().encode


class _Tensor(Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any]
    parameters: dict[str, Raw] = {}


class _Infer(Struct):
    inputs: list[_Tensor]
    id: str | None = None
    parameters: dict[str, Raw] = {}
    outputs: list[dict[str, Any]] = []


class Infer(Struct, frozen=True, kw_only=True):
    """A request that was read."""

    asked: Asked
    id: str | None = None


_decode = msgspec.json.Decoder(_Infer).decode


def read(body: bytes, reader: Reader) -> Infer:
    """A body of `infer`. Raises `Refused`."""
    reader.object(body)
    try:
        request = _decode(body)
    except msgspec.MsgspecError as error:
        raise unreadable(f"not an inference request: {error}") from None
    if len(request.inputs) != 1:
        raise unreadable(f"there are {len(request.inputs)} inputs; one of texts is needed")
    texts = _texts(request.inputs[0])
    rows = reader.texts(texts, _parameters(request.parameters, reader))
    return Infer(asked=Asked(rows=rows, ids=[None] * len(rows)), id=request.id)


def _texts(tensor: _Tensor) -> list[str]:
    if tensor.datatype != "BYTES":
        raise unreadable(f"the input is of type {tensor.datatype[:20]}; texts are BYTES")
    data = tensor.data
    while data and all(isinstance(one, list) for one in data):  # nested as its shape says
        data = [item for one in data for item in one]
    if not data:
        raise unreadable("there is no text in the input", Code.EMPTY)
    size = 1
    for length in tensor.shape:
        size *= max(0, length)
    if size != len(data):
        raise unreadable(f"the shape {tensor.shape[:8]} does not hold {len(data)} texts")
    if not all(isinstance(one, str) for one in data):
        raise unreadable("the data of the input are not strings")
    return data


def _parameters(given: dict[str, Raw], reader: Reader) -> dict[str, JsonText]:
    """Generation parameters; those of the protocol that ask for nothing here are passed over."""
    if bytes(given.get("binary_data_output", Raw(b"false"))) != b"false":
        raise unreadable("binary data are not spoken here", Code.BAD_PARAMETER)
    found = {n: bytes(v) for n, v in given.items() if n != "binary_data_output"}
    reader.refuse_unknown(found, frozenset())
    return {name: value for name, value in found.items() if name in KNOWN_NAMES}


def write(infer: Infer, results: Sequence[RowResult], *, model: str) -> Reply:
    """The answer; it fails as a whole."""
    answers = whole(results)
    texts = [text for answer in answers for text in answer.texts]
    each = len(answers[0].texts)
    shape = [len(answers)] if each == 1 else [len(answers), each]
    output = {"name": _OUTPUT, "shape": shape, "datatype": "BYTES", "data": texts}
    body: dict[str, Any] = {"model_name": model, "outputs": [output]}
    if infer.id is not None:
        body["id"] = infer.id
    return Reply(body=_encode(body), content_type=JSON)


def server_metadata(version: str) -> dict[str, Any]:
    """What `/v2` says."""
    return {"name": "textmill", "version": version, "extensions": []}


def model_metadata(model: str, platform: str) -> dict[str, Any]:
    """What `/v2/models/NAME` says."""
    return {
        "name": model,
        "platform": platform,
        "inputs": [{"name": _INPUT, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": _OUTPUT, "datatype": "BYTES", "shape": [-1]}],
    }


def error_body(refused: Refused) -> dict[str, Any]:
    """A refusal as the protocol has it, and its code."""
    return {"error": refused.message, "code": refused.code.value}
