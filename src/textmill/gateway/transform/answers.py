"""What the model answers, as JumpStart's container writes it: one object's output from results.

The native output and its errors are in input order. Each row of an object is in one of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from textmill.core import JsonText
from textmill.errors import ErrorCode, InvariantError
from textmill.gateway.transform.orders import Answers, OnError, Order, Payload
from textmill.gateway.transform.staging import Refused, Staged
from textmill.records.filters import filter_output, join
from textmill.records.jsonpath import parse_path
from textmill.records.results import json_string
from textmill.records.strict import MAX_NESTING, is_deeper
from textmill.records.unfit import Unfit

ENGINES_FAULT = frozenset(
    {ErrorCode.OOM, ErrorCode.ENGINE_ERROR, ErrorCode.TIMEOUT, ErrorCode.CRASHED}
)

_ADVICE = {
    ErrorCode.TIMEOUT: "allow more with ModelClientConfig's InvocationsTimeoutInSeconds (3600 at"
    " most), or less work with max_new_tokens",
    ErrorCode.TOO_LONG: "shorten the text",
    ErrorCode.CRASHED: "create the job again to try it once more",
}
"""What who makes requests can do where `textmill run` names a flag."""


class Problem(Struct, frozen=True, kw_only=True):
    """A record without a result. id: as JSON, if it could be read."""

    url: str
    line: int
    code: ErrorCode
    message: str
    id: bytes = b""

    @property
    def sentence(self) -> str:
        """Which record, and why."""
        named = f" (id {self.id.decode()[:50]})" if self.id else ""
        message = " ".join(self.message.split("\n"))
        return f"{self.url}: line {self.line}{named}: {self.code}: {message}"

    @property
    def dead_letter(self) -> bytes:
        """As a line of an object's errors."""
        id_, message = self.id or b"null", json_string(self.message)
        return b'{"id": %b, "line": %d, "code": "%b", "message": %b}\n' % (
            id_,
            self.line,
            self.code.encode(),
            message,
        )


class _Result(Struct):
    id: int
    generated_texts: list[str]


class _Error(Struct):
    line: int
    code: ErrorCode
    message: str
    file: str = ""


class _Row(Struct):
    """What is read again of a row that has a result."""

    id: Raw | UnsetType = UNSET
    text_inputs: Raw | UnsetType = UNSET


_decode_result = msgspec.json.Decoder(_Result).decode
_decode_error = msgspec.json.Decoder(_Error).decode
_decode_row = msgspec.json.Decoder(_Row).decode


class Results:
    """A native job's results and errors, taken row by row in input order."""

    def __init__(self, results: Iterable[bytes], errors: Iterable[bytes]) -> None:
        self._results, self._errors = iter(results), iter(errors)
        self._result = self._next_result()
        self._error = self._next_error()
        self._ordinal = 0

    def take(self, file: str, line: int) -> list[str] | _Error:
        """The next row's texts, or why it has none. Raises `InvariantError` for another row."""
        ordinal, self._ordinal = self._ordinal, self._ordinal + 1
        if self._result is not None and self._result.id == ordinal:
            texts, self._result = self._result.generated_texts, self._next_result()
            return texts
        error = self._error
        if error is None or error.line != line or error.file not in ("", file):
            raise InvariantError(
                f"row {ordinal} (line {line} of {file}) has no result and no error"
            )
        self._error = self._next_error()
        return error

    def end(self) -> None:
        """Raise `InvariantError` if something was not taken."""
        if self._result is not None or self._error is not None:
            raise InvariantError(f"there are results beyond row {self._ordinal}")

    def _next_result(self) -> _Result | None:
        line = next(self._results, None)
        return None if line is None else _decode_result(line)

    def _next_error(self) -> _Error | None:
        line = next(self._errors, None)
        return None if line is None else _decode_error(line)


class Assembler:
    """Makes the outputs of a job's objects, one after the other, in order."""

    def __init__(self, order: Order, results: Results) -> None:
        self._order, self._results = order, results
        path = order.output_filter
        self._filter = None if path is None else parse_path(path)

    def output_of(
        self, staged: Staged, file: str, lines: Iterable[bytes]
    ) -> Iterator[bytes | Problem]:
        """An object's output in pieces, with the problems between them.

        file: of the staged object, as the native job names it. lines: of that file.
        """
        rows = self._rows(staged, file, lines)
        for count in staged.requests:
            answered: list[bytes] = []
            for row in islice(rows, count):
                if isinstance(row, Problem):
                    yield row
                    answered += self._placeholder(row)
                else:
                    answered.append(row)
            if answered:
                yield self._assembled(answered)
        if next(rows, None) is not None:
            raise InvariantError(f"{staged.url} has more rows than its requests")

    def _rows(self, staged: Staged, file: str, lines: Iterable[bytes]) -> Iterator[bytes | Problem]:
        """Each row's answer, in order of lines."""
        refused = {one.line: one for one in staged.refused}
        number = 0
        for number, line in enumerate(lines, 1):
            if number in refused:
                yield _refused(staged, refused[number])
            elif line.strip():
                yield self._row(staged, file, number, line)

    def _row(self, staged: Staged, file: str, number: int, line: bytes) -> bytes | Problem:
        found = self._results.take(file, number)
        if isinstance(found, _Error):
            code, message = found.code, _advised(found.code, found.message)
        else:
            try:
                return self._answer(line.strip(), found)
            except Unfit as error:
                code, message = error.code, error.message
        return Problem(url=staged.url, line=number, id=_id_of(line), code=code, message=message)

    def _answer(self, row: JsonText, texts: Sequence[str]) -> bytes:
        """One record's answer: a line without its end, or several for a list under csv."""
        output = self._output(row, texts)
        if self._order.join:
            output = join(row, output)
        if self._filter is not None:
            output = filter_output(self._filter, output)
        return output if self._order.answers is Answers.JSON else _reprs(output)

    def _output(self, row: JsonText, texts: Sequence[str]) -> JsonText:
        """The model's answer to one record, as JSON."""
        order = self._order
        if order.payload is Payload.TEXT and len(texts) == 1:
            return b'{"generated_text": %b}' % json_string(texts[0])
        said = _decode_row(row) if row[:1] == b"{" else _Row()
        id_ = b"" if said.id is UNSET else b'"id": %b, ' % bytes(said.id)
        inputs = bytes(said.text_inputs) if said.text_inputs is not UNSET else b""
        whole = order.payload is Payload.JSON and not order.split
        if whole and inputs[:1] == b"[" and order.input_filter is None:
            each = len(texts) // len(msgspec.json.decode(inputs, type=list[Raw]))
            groups = [texts[n : n + each] for n in range(0, len(texts), each)]
            return b"[%b]" % b", ".join(_texts(id_, group) for group in groups)
        return _texts(id_, texts)

    def _placeholder(self, problem: Problem) -> list[bytes]:
        """What stands where a record has no result; nothing under another policy."""
        if self._order.on_error is not OnError.PLACEHOLDER:
            return []
        error = b'{"code": "%b", "message": %b}' % (
            problem.code.encode(),
            json_string(problem.message),
        )
        id_ = b'"id": %b, ' % problem.id if problem.id else b""
        line = b'{%b"error": %b}' % (id_, error)
        return [line if self._order.answers is Answers.JSON else _reprs(line)]

    def _assembled(self, answered: Sequence[bytes]) -> bytes:
        """One request's answer, and what AssembleWith puts behind it."""
        order = self._order
        if order.answers is Answers.REPR:  # savetxt ends each line, AssembleWith adds an empty one
            return b"\n".join(answered) + (b"\n\n" if order.assemble_lines else b"\n")
        lines = order.split or order.payload is Payload.JSON_LINES
        return b"\n".join(answered) + (b"\n" if lines or order.assemble_lines else b"")


def _texts(id_: bytes, texts: Sequence[str]) -> JsonText:
    return b'{%b"generated_texts": [%b]}' % (id_, b", ".join(map(json_string, texts)))


def _reprs(output: JsonText) -> bytes:
    """What numpy.savetxt writes of a list of records: Python's repr, one to a line."""
    value: Any = json.loads(output)
    records = value if isinstance(value, list) else [value]
    return "\n".join(map(repr, records)).encode("utf-8", "backslashreplace")


def _advised(code: ErrorCode, message: str) -> str:
    """A native message; where it ends with a flag to set, with a request's way out instead."""
    what, _, advice = message.rpartition("; ")
    return f"{what}; {_ADVICE[code]}" if what and "--" in advice and code in _ADVICE else message


def _refused(staged: Staged, one: Refused) -> Problem:
    return Problem(url=staged.url, line=one.line, code=one.code, message=one.message)


def _id_of(line: bytes) -> bytes:
    """A row's id, where it has one that can be read and shown."""
    if is_deeper(line, MAX_NESTING):
        return b""
    try:
        found = _decode_row(line).id
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return b""
    return b"" if found is UNSET else bytes(found)
