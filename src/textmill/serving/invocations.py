"""The payloads of SageMaker's text-to-text containers, read and answered shape by shape.

| Content-Type | body | answer |
|---|---|---|
| application/x-text | a text | `{"generated_text": …}` |
| application/json | `{"text_inputs": "…", …}` | `{"generated_texts": […]}` |
| application/json | `{"text_inputs": ["…", …], …}` | `[{"generated_texts": […]}, …]` |
| application/json | `{"inputs": "…", "parameters": {…}}` | `[{"generated_text": …}, …]` |
| application/jsonlines | one object a line | one object a line |

An `id` comes back as it was written. `Accept: text/csv` gives Python literals, one a line, as
JumpStart's containers do.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

import msgspec
from msgspec import Raw, Struct

from textmill.core import JsonText, Record, Rejected
from textmill.errors import ErrorCode
from textmill.params import KNOWN_NAMES
from textmill.records.results import json_string
from textmill.records.shape import TEXT_FIELD
from textmill.records.strict import is_blank
from textmill.serving.answers import Generated
from textmill.serving.asked import Asked, Reply, RowResult, only, unreadable, whole
from textmill.serving.limits import Limits
from textmill.serving.media import CSV, JSON, LINES, TEXT, accepted, media_type
from textmill.serving.reading import Reader, text_of
from textmill.serving.refusals import Code, Refused
from textmill.words import written

_ID = "id"
_INPUTS, _PARAMETERS = "inputs", "parameters"
_decode = msgspec.json.Decoder().decode
_decode_list = msgspec.json.Decoder(list[Raw]).decode


class Form(Enum):
    """The shape of a payload, which decides the shape of the answer."""

    TEXT = auto()
    OBJECT = auto()
    LIST = auto()
    LINES = auto()
    INPUTS = auto()
    """`inputs` and `parameters`, as later containers have it."""
    INPUTS_LIST = auto()


class Invocation(Struct, frozen=True, kw_only=True):
    """A payload that was read, and how it wants to be answered."""

    asked: Asked
    form: Form
    accept: str


class Invocations:
    """Reads and answers payloads."""

    def __init__(self, reader: Reader, limits: Limits, *, line_params: bool) -> None:
        """`line_params`: whether records in JSON Lines may carry parameters."""
        self._reader, self._limits, self._line_params = reader, limits, line_params

    def read(self, body: bytes, content_type: str | None, accept: str | None) -> Invocation:
        """A payload by its type. Raises `Refused`."""
        kind = media_type(content_type, JSON)
        wanted = accepted(accept)
        if kind == TEXT:
            form, asked = Form.TEXT, self._text(body)
        elif kind == LINES:
            form, asked = Form.LINES, self._lines(body)
        elif kind == JSON:
            form, asked = self._object(body)
        else:
            raise Refused(
                Code.UNSUPPORTED_MEDIA_TYPE,
                f"unsupported content type {written(content_type, 100)}; send application/json,"
                " application/jsonlines or application/x-text",
            )
        return Invocation(asked=asked, form=form, accept=wanted)

    def _text(self, body: bytes) -> Asked:
        return Asked(rows=self._reader.texts([text_of(body)], {}), ids=[None])

    def _object(self, body: bytes) -> tuple[Form, Asked]:
        columns = self._reader.object(body)
        if _INPUTS in columns and TEXT_FIELD not in columns:
            return self._inputs(columns)
        self._reader.refuse_unknown(columns, frozenset({_ID}))
        row = self._reader.row(columns, 0)
        several = columns.get(TEXT_FIELD, b"").lstrip()[:1] == b"["
        form = Form.LIST if several else Form.OBJECT
        return form, Asked(rows=[row], ids=[columns.get(_ID)])

    def _inputs(self, columns: dict[str, JsonText]) -> tuple[Form, Asked]:
        """The shape of later containers: a text or a list of texts, and parameters apart."""
        for name in columns:
            if name not in (_INPUTS, _PARAMETERS):
                raise unreadable(
                    f'"{name[:60]}" stands beside inputs: parameters belong into "parameters"',
                    Code.BAD_PARAMETER,
                )
        given = columns.get(_PARAMETERS, b"{}")
        parameters = {} if given == b"null" else self._reader.object(given, _PARAMETERS)
        self._reader.refuse_unknown(parameters, frozenset())
        inputs = columns[_INPUTS]
        if inputs[:1] == b"[":
            texts = [_string(bytes(one), f"inputs[{n}]") for n, one in enumerate(_items(inputs))]
            if not texts:
                raise unreadable("inputs is an empty list", Code.EMPTY)
            rows = self._reader.texts(texts, parameters)
            return Form.INPUTS_LIST, Asked(rows=rows, ids=[None] * len(rows))
        rows = self._reader.texts([_string(inputs, _INPUTS)], parameters)
        return Form.INPUTS, Asked(rows=rows, ids=[None])

    def _lines(self, body: bytes) -> Asked:
        lines = [(n, line) for n, line in enumerate(body.split(b"\n"), 1) if not is_blank(line)]
        if not lines:
            raise unreadable("there is no record in the body", Code.EMPTY)
        self._limits.check_texts(len(lines))
        rows: list[Record | Rejected] = []
        ids: list[JsonText | None] = []
        for ordinal, (number, line) in enumerate(lines):
            row, id_ = self._line(line, ordinal, number)
            rows.append(row)
            ids.append(id_)
        return Asked(rows=rows, ids=ids)

    def _line(
        self, line: bytes, ordinal: int, number: int
    ) -> tuple[Record | Rejected, JsonText | None]:
        """One line. Only what is wrong with it alone is its own matter; a limit is the call's."""
        try:
            columns = self._reader.object(line, f"line {number}")
        except Refused as refused:
            if refused.code is Code.TOO_LARGE:
                raise
            return _rejected(refused, ordinal, number), None
        if not self._line_params:
            columns = {n: value for n, value in columns.items() if n not in KNOWN_NAMES}
        return self._reader.row(columns, ordinal, number), columns.get(_ID)

    def write(self, invocation: Invocation, results: Sequence[RowResult]) -> Reply:
        """The answer. Raises `Refused` when there is nothing but one."""
        form, ids, accept = invocation.form, invocation.asked.ids, invocation.accept
        if form is Form.LINES:
            return _lines_reply(ids, results, accept)
        if form is Form.TEXT:
            return _reply([_generated_text(only(results)[0].texts[0])], accept, alone=True)
        if form is Form.OBJECT:
            return _reply([_generated_texts(ids[0], only(results)[0])], accept, alone=True)
        if form is Form.LIST:
            return _reply([_generated_texts(ids[0], one) for one in only(results)], accept)
        if form is Form.INPUTS:
            return _reply([_generated_text(text) for text in only(results)[0].texts], accept)
        return _reply([_inputs_item(one) for one in whole(results)], accept)


def _items(value: JsonText) -> list[Raw]:
    return _decode_list(value)


def _string(value: JsonText, where: str) -> str:
    text = _decode(value) if value[:1] == b'"' else None
    if not isinstance(text, str):
        raise unreadable(f"{where} is not a string")
    return text


def _rejected(refused: Refused, ordinal: int, line: int) -> Rejected:
    return Rejected(
        ordinal=ordinal,
        id=None,
        file="the call",
        line=line,
        code=ErrorCode(refused.code.value),
        message=refused.message,
    )


def _generated_text(text: str) -> JsonText:
    return b'{"generated_text": %b}' % json_string(text)


def _generated_texts(id_: JsonText | None, one: Generated) -> JsonText:
    texts = b", ".join(json_string(text) for text in one.texts)
    name = b"" if id_ is None else b'"id": %b, ' % _on_one_line(id_)
    return b'{%b"generated_texts": [%b]}' % (name, texts)


def _inputs_item(one: Generated) -> JsonText:
    items = [_generated_text(text) for text in one.texts]
    return items[0] if len(items) == 1 else b"[%b]" % b", ".join(items)


def _error(id_: JsonText | None, refused: Refused) -> JsonText:
    name = b"null" if id_ is None else _on_one_line(id_)
    return b'{"id": %b, "code": "%b", "message": %b}' % (
        name,
        refused.code.encode(),
        json_string(refused.message),
    )


def _on_one_line(value: JsonText) -> JsonText:
    """A JSON value without line ends; they only stand between its tokens."""
    return value.replace(b"\n", b" ").replace(b"\r", b" ")


def _lines_reply(
    ids: Sequence[JsonText | None], results: Sequence[RowResult], accept: str
) -> Reply:
    """One line for each record, whatever became of it. Raises if not one has a result."""
    failed = [result for result in results if isinstance(result, Refused)]
    if len(failed) == len(results):
        raise failed[0]
    lines = []
    for id_, result in zip(ids, results, strict=True):
        if isinstance(result, Refused):
            lines.append(_error(id_, result))
        else:
            lines.append(_generated_texts(id_, _joined(result)))
    reply = _reply(lines, accept if accept == CSV else LINES)
    return msgspec.structs.replace(reply, failed=len(failed))


def _joined(results: Sequence[Generated]) -> Generated:
    """A record with several texts has all their sequences in one list, as in a job."""
    if len(results) == 1:
        return results[0]
    return Generated(
        tuple(text for one in results for text in one.texts),
        tuple(reason for one in results for reason in one.finish),
        sum(one.input_tokens for one in results),
        sum(one.output_tokens for one in results),
    )


def _reply(items: Sequence[JsonText], accept: str, *, alone: bool = False) -> Reply:
    """Items as the client wants them. alone: there is one, and it stands by itself in JSON."""
    if accept == CSV:
        lines = [repr(_decode(item)).encode("utf-8", "backslashreplace") for item in items]
        return Reply(body=b"".join(line + b"\n" for line in lines), content_type=CSV)
    if accept == LINES:
        return Reply(body=b"".join(item + b"\n" for item in items), content_type=LINES)
    body = items[0] if alone else b"[%b]" % b", ".join(items)
    return Reply(body=body, content_type=JSON)
