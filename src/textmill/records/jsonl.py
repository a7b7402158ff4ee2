"""JSON Lines to records.

Every line that is not blank becomes one row, a `Record` or a `Rejected`, with the next ordinal.
Nothing that a file may hold raises an exception.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw

from textmill.core import JsonText, Record, Rejected
from textmill.errors import ErrorCode
from textmill.records.lines import (
    MAX_LINE_BYTES,
    ByteSource,
    Lines,
    LongLine,
    read_lines,
)
from textmill.records.shape import ORDINAL_ID, TEXT_FIELD, Plan, Shape, plan_columns
from textmill.records.strict import Fields, decode_string, is_blank, parse_object, repeated_key
from textmill.records.unfit import Unfit, listed, quoted

_CARRIAGE_RETURN = 0x0D
_MAX_PLANS = 256
_MAX_COLUMNS_PLANNED = 256
_MAX_UNUSED = 1000
_MAX_NAME_CHARACTERS = 100

_decode_list = msgspec.json.Decoder(list[Raw]).decode
_decode_any = msgspec.json.Decoder().decode


class JsonlReader:
    """Reads the files of one job. Not thread-safe.

    `blank_lines`, `unused_columns` and `unseen_columns` tell about all files read so far.
    """

    def __init__(self, shape: Shape, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self.blank_lines = 0
        """Lines that were skipped because they hold white space only."""
        self._unused: dict[str, None] = {}
        self._kept_seen: set[str] = set()
        self._shape = shape
        self._id_field = shape.id_field
        self._max_line_bytes = max_line_bytes
        self._plans: dict[tuple[str, ...], Plan] = {}
        self._leading_id_pattern = _leading_id_pattern(shape.id_field)

    @property
    def unused_columns(self) -> tuple[str, ...]:
        """Columns that nothing reads, in the order met; the first 1,000."""
        return tuple(self._unused)

    @property
    def unseen_columns(self) -> tuple[str, ...]:
        """Columns to keep that no record had."""
        return tuple(name for name in self._shape.keep if name not in self._kept_seen)

    def read(
        self, source: ByteSource, file: str, first_ordinal: int = 0
    ) -> Iterator[list[Record | Rejected]]:
        """All rows of one file, in order, a block at a time (256 KiB of input).

        The next file's first ordinal is `first_ordinal` plus the number of rows yielded.
        """
        ordinal = first_ordinal
        for block in read_lines(source, max_line_bytes=self._max_line_bytes):
            if isinstance(block, LongLine):
                rows: list[Record | Rejected] = [self._too_long(block, file, ordinal)]
            else:
                rows = self._read_block(block, file, ordinal)
            ordinal += len(rows)
            if rows:
                yield rows

    def _read_block(self, block: Lines, file: str, ordinal: int) -> list[Record | Rejected]:
        rows: list[Record | Rejected] = []
        for number, line in enumerate(block.lines, block.first):
            try:
                fields = parse_object(line)
            except Unfit as error:
                if is_blank(line):
                    self.blank_lines += 1
                    continue
                id_ = self._leading_id(line, ordinal)
                row: Record | Rejected = _rejected(error, id_, ordinal, file, number)
            else:
                row = self._row(line, fields, ordinal, file, number)
            rows.append(row)
            ordinal += 1
        return rows

    def _row(
        self, line: bytes, fields: Fields, ordinal: int, file: str, number: int
    ) -> Record | Rejected:
        try:
            return self._record(line, fields, ordinal, file, number)
        except Unfit as error:
            id_ = self._id_of_refused(line, fields, ordinal)
            return _rejected(error, id_, ordinal, file, number)

    def _record(self, line: bytes, fields: Fields, ordinal: int, file: str, number: int) -> Record:
        key = repeated_key(line, fields)
        if key is not None:
            raise Unfit(ErrorCode.BAD_JSON, f"the key {quoted(key)} appears twice")
        plan = self._plans.get(tuple(fields)) or self._plan(fields)
        if plan.misspelt:
            raise _misspelt(*plan.misspelt)
        return Record(
            ordinal=ordinal,
            id=self._id(fields, ordinal),
            texts=self._texts(fields),
            params=_parameters(plan, fields) if plan.params else None,
            kept=_kept(plan, fields) if plan.kept else (),
            file=file,
            line=number,
        )

    def _id(self, fields: Fields, ordinal: int) -> JsonText:
        if self._id_field == ORDINAL_ID:
            return str(ordinal).encode()
        raw = fields.get(self._id_field)
        if raw is None:
            raise _missing_id(self._id_field, fields)
        return untouched(raw)

    def _texts(self, fields: Fields) -> tuple[str, ...]:
        if self._shape.prompt is not None:
            return (self._shape.prompt.render(fields),)
        raw = fields.get(TEXT_FIELD)
        if raw is None:
            raise _missing_text(fields, self._id_field)
        try:
            text = decode_string(raw)
        except msgspec.ValidationError:
            return _several_texts(bytes(raw))
        if not text or text.isspace():
            raise Unfit(ErrorCode.EMPTY, f"{TEXT_FIELD} is empty")
        return (text,)

    def _plan(self, fields: Fields) -> Plan:
        """Plan for a set of columns not met before, remembered within limits."""
        plan = plan_columns(self._shape, fields)
        self._kept_seen.update(name for name, _ in plan.kept)
        for name in plan.unused:
            if len(self._unused) < _MAX_UNUSED:
                self._unused[name[:_MAX_NAME_CHARACTERS]] = None
        if len(self._plans) >= _MAX_PLANS:
            self._plans.clear()
        if len(fields) <= _MAX_COLUMNS_PLANNED:
            self._plans[tuple(fields)] = plan
        return plan

    def _too_long(self, line: LongLine, file: str, ordinal: int) -> Rejected:
        error = Unfit(
            ErrorCode.TOO_LONG,
            f"the line has {line.size_bytes:,} bytes; the limit is {self._max_line_bytes:,}",
        )
        id_ = self._leading_id(line.head, ordinal)
        return _rejected(error, id_, ordinal, file, line.number)

    def _id_of_refused(self, line: bytes, fields: Fields, ordinal: int) -> JsonText | None:
        """The id of a row that is JSON, unless it has two."""
        if self._id_field == ORDINAL_ID:
            return str(ordinal).encode()
        if self._id_field not in fields or repeated_key(line, fields) == self._id_field:
            return None
        return untouched(fields[self._id_field])

    def _leading_id(self, line: bytes, ordinal: int) -> JsonText | None:
        """The id of a row that is not JSON: a string, number or literal that stands first."""
        if self._id_field == ORDINAL_ID:
            return str(ordinal).encode()
        match = self._leading_id_pattern.match(line)
        return _checked(match[1]) if match else None


def _rejected(error: Unfit, id_: JsonText | None, ordinal: int, file: str, number: int) -> Rejected:
    return Rejected(
        ordinal=ordinal, id=id_, file=file, line=number, code=error.code, message=error.message
    )


def untouched(value: Raw) -> JsonText:
    """A value as it was written.

    Only a carriage return between its tokens becomes a space: readers that take it for the end
    of a line would break the output otherwise, and to JSON the two mean the same.
    """
    text = bytes(value)
    return text.replace(b"\r", b" ") if _CARRIAGE_RETURN in text else text


def _several_texts(value: bytes) -> tuple[str, ...]:
    if value[:1] != b"[":
        kind = "null" if value == b"null" else f"{value[:40].decode(errors='replace')}"
        raise Unfit(ErrorCode.BAD_RECORD, f"{TEXT_FIELD} is {kind}, not a string or a list of them")
    items = _decode_list(value)
    if not items:
        raise Unfit(ErrorCode.EMPTY, f"{TEXT_FIELD} is an empty list")
    return tuple(_item(index, item) for index, item in enumerate(items))


def _item(index: int, item: Raw) -> str:
    try:
        text = decode_string(item)
    except msgspec.ValidationError:
        raise Unfit(ErrorCode.BAD_RECORD, f"{TEXT_FIELD}[{index}] is not a string") from None
    if not text or text.isspace():
        raise Unfit(ErrorCode.EMPTY, f"{TEXT_FIELD}[{index}] is empty")
    return text


def _kept(plan: Plan, fields: Fields) -> tuple[tuple[JsonText, JsonText], ...]:
    return tuple([(key, untouched(fields[name])) for name, key in plan.kept])


def _parameters(plan: Plan, fields: Fields) -> dict[str, Any]:
    return {name: _parameter(name, fields[name]) for name in plan.params}


def _parameter(name: str, value: Raw) -> Any:
    try:
        return _decode_any(value)
    except msgspec.ValidationError as error:
        reason = str(error)
        raise Unfit(ErrorCode.BAD_PARAMETER, f"{name}: {reason[:1].lower()}{reason[1:]}") from error


def _misspelt(name: str, meant: str) -> Unfit:
    return Unfit(
        ErrorCode.BAD_PARAMETER,
        f"{quoted(name)} is not a parameter: did you mean {meant}? (If it is a column of your "
        "data, keep it with --keep or rename it)",
    )


def _missing_id(id_field: str, fields: Fields) -> Unfit:
    return Unfit(
        ErrorCode.MISSING_FIELD,
        f"there is no {quoted(id_field)}; the record has {listed(fields)}: name the column that "
        f"holds the id (--id FIELD) or number the records (--id {ORDINAL_ID})",
    )


def _missing_text(fields: Fields, id_field: str) -> Unfit:
    strings = {
        name: len(value)
        for name, raw in fields.items()
        if name != id_field and (value := bytes(raw))[:1] == b'"'
    }
    field = max(strings, key=strings.__getitem__) if strings else "field"
    return Unfit(
        ErrorCode.MISSING_FIELD,
        f"there is no {quoted(TEXT_FIELD)}; the record has {listed(fields)}: say what the text "
        f'is, for example --prompt "Summarize: {{{field[:60]}}}"',
    )


def _leading_id_pattern(id_field: str) -> re.Pattern[bytes]:
    key = re.escape(msgspec.json.encode(id_field))
    scalar = rb'"(?:[^"\\\x00-\x1f]|\\.){0,1000}"|-?[0-9][0-9.eE+-]{0,100}|true|false|null'
    return re.compile(
        rb"[ \t\r]*\{[ \t\r]*" + key + rb"[ \t\r]*:[ \t\r]*(" + scalar + rb")[ \t\r]*[,}]"
    )


def _checked(value: bytes) -> JsonText | None:
    """The value if it is strict JSON."""
    try:
        value.decode()
        return bytes(msgspec.json.decode(value, type=Raw))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
