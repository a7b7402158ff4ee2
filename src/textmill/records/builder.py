"""One record out of a row's columns: the part of reading that all formats share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from textmill.core import JsonText, Record, Rejected
from textmill.errors import ErrorCode
from textmill.records.filters import filter_input
from textmill.records.jsonpath import Path
from textmill.records.shape import ORDINAL_ID, TEXT_FIELD, Plan, Shape, plan_columns
from textmill.records.strict import Fields, decode_string, huge_number
from textmill.records.unfit import Unfit, listed, quoted

_CARRIAGE_RETURN = 0x0D
_WHITE = b" \t\r"
_MAX_PLANS = 256
_MAX_COLUMNS_PLANNED = 256
_MAX_UNUSED = 1000
_MAX_NAME_CHARACTERS = 100
_MAX_NUMBER_CHARACTERS = 30
_NO_IDS = {b"null": "null", b'""': "empty"}

_decode_list = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.Encoder().encode
_decode_any = msgspec.json.Decoder().decode


class Lost(Struct, frozen=True, array_like=True):
    """Why JSON cannot say a value; goes after the column's name.

    refused: null would say something else, so a row that is to copy the value has no result.
    """

    why: str
    refused: bool = False


class Nulled(Struct, frozen=True):
    """How many values of a column JSON cannot say, and why it cannot say the first."""

    count: int
    why: str


_NOTHING_LOST: Mapping[str, Lost] = {}


class RecordBuilder:
    """Makes the records of one job, and remembers what it noticed. Not thread-safe.

    `blank_lines`, `nulled`, `unused_columns` and `unseen_columns` tell about all rows so far.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.blank_lines = 0
        """Lines that a reader skipped because they hold white space only."""
        self.nulled: dict[str, Nulled] = {}
        """Columns to keep or to join with values that JSON cannot say: those are null there."""
        self._columns: dict[str, None] = {}
        self._unused: dict[str, None] = {}
        self._kept_seen: set[str] = set()
        self._id_starts: set[bytes] = set()
        self._id_field = shape.id_field
        self._takes_rows = shape.takes_rows
        self._needed = shape.needed_columns
        self._plans: dict[tuple[str, ...], Plan] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that rows had, in the order met; those that nothing asks for up to 1,000."""
        return tuple(self._columns)

    @property
    def unused_columns(self) -> tuple[str, ...]:
        """Columns that nothing reads, in the order met; the first 1,000. A join reads all."""
        return tuple(self._unused)

    @property
    def unseen_columns(self) -> tuple[str, ...]:
        """Columns to keep that no record had."""
        return tuple(name for name in self.shape.keep if name not in self._kept_seen)

    @property
    def ids_look_alike(self) -> bool:
        """Whether some ids are texts that may read as others that are none: `"6"` and `6`."""
        texts = {start[1:] for start in self._id_starts if start[:1] == b'"'}
        return any(start[:1] in texts for start in self._id_starts if start[:1] != b'"')

    def build(
        self,
        fields: Fields,
        ordinal: int,
        file: str,
        line: int,
        row: JsonText | None = None,
        *,
        lost: Mapping[str, Lost] = _NOTHING_LOST,
    ) -> Record | Rejected:
        """The row's record, or why it cannot be one.

        fields: the columns, values as JSON text. line: 1-based, where the row begins.
        row: the row as JSON, where it was JSON; else it is the object of its columns. Only an
        input filter and a join look at it.
        lost: columns, null in `fields` and `row`, whose value JSON cannot say.
        """
        try:
            if lost:
                self._check_lost(lost)
            if not self._takes_rows:
                return self.record(fields, ordinal, file, line)
            source = untouched(object_text(fields) if row is None else row.strip(_WHITE))
            if self.shape.join:
                _check_numbers(source, fields)
            fields = self._model_fields(source, fields)
            return self.record(
                fields, ordinal, file, line, source=source if self.shape.join else None
            )
        except Unfit as error:
            id_ = None if self._id_field in lost else self.id_of(fields, ordinal)
            return rejected(error, id_, ordinal, file, line)

    def _check_lost(self, lost: Mapping[str, Lost]) -> None:
        """Raise `Unfit` if the record needs a value that is lost; count one that is null."""
        copied = lost.keys() if self.shape.join else lost.keys() & self.shape.keep
        for name, one in lost.items():
            if name in self._needed or (one.refused and name in copied):
                raise Unfit(ErrorCode.BAD_RECORD, f"{quoted(name)} {one.why}")
        for name in lost:
            if name in copied:
                before = self.nulled.get(name, Nulled(0, lost[name].why))
                self.nulled[name] = Nulled(before.count + 1, before.why)

    def id_of(self, fields: Fields, ordinal: int) -> JsonText | None:
        """The id of a row, whether it can become a record or not; None if it has none to write."""
        if self._id_field == ORDINAL_ID:
            return str(ordinal).encode()
        return writable(fields.get(self._id_field))

    def _model_fields(self, row: JsonText, fields: Fields) -> Fields:
        """The columns of the row that the record is made of. Raises `Unfit`."""
        shape = self.shape
        return filter_input(
            shape.input_filter or Path(),
            row,
            fields,
            text_field=TEXT_FIELD,
            beside=(shape.id_field, *shape.keep),
        )

    def record(
        self,
        fields: Fields,
        ordinal: int,
        file: str,
        line: int,
        *,
        source: JsonText | None = None,
    ) -> Record:
        """The record of columns that were filtered already. Raises `Unfit`.

        source: the row to join the result to.
        """
        plan = self._plans.get(tuple(fields)) or self._plan(fields)
        if plan.misspelt:
            raise _misspelt(*plan.misspelt)
        return Record(
            ordinal=ordinal,
            id=self._id(fields, ordinal),
            texts=self._texts(fields),
            params=_parameters(plan, fields) if plan.params else None,
            kept=_kept(plan, fields) if plan.kept else (),
            source=source,
            file=file,
            line=line,
        )

    def _id(self, fields: Fields, ordinal: int) -> JsonText:
        if self._id_field == ORDINAL_ID:
            return str(ordinal).encode()
        raw = fields.get(self._id_field)
        if raw is None:
            raise _missing_id(self._id_field, fields)
        value = _copied(self._id_field, raw)
        if value in _NO_IDS:
            raise _no_id(self._id_field, value)
        self._id_starts.add(value[:2])
        return value

    def _texts(self, fields: Fields) -> tuple[str, ...]:
        if self.shape.prompt is not None:
            return (self.shape.prompt.render(fields),)
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
        plan = plan_columns(self.shape, fields)
        self._kept_seen.update(name for name, _ in plan.kept)
        wanted = self.shape.data_columns
        for name in fields:
            if len(self._columns) < _MAX_UNUSED or name in wanted:
                self._columns[name] = None
        for name in () if self.shape.join else plan.unused:
            if len(self._unused) < _MAX_UNUSED:
                self._unused[name[:_MAX_NAME_CHARACTERS]] = None
        if len(self._plans) >= _MAX_PLANS:
            self._plans.clear()
        if len(fields) <= _MAX_COLUMNS_PLANNED:
            self._plans[tuple(fields)] = plan
        return plan


def rejected(error: Unfit, id_: JsonText | None, ordinal: int, file: str, line: int) -> Rejected:
    """A row that cannot become a record. `id_` is None when it could not be read."""
    return Rejected(
        ordinal=ordinal, id=id_, file=file, line=line, code=error.code, message=error.message
    )


def object_text(fields: Fields) -> JsonText:
    """Columns as one JSON object."""
    members = [b"%b: %b" % (_encode(name), bytes(value)) for name, value in fields.items()]
    return b"{%b}" % b", ".join(members)


def untouched(value: Raw | bytes) -> JsonText:
    """A value as it was written.

    Only a carriage return between its tokens becomes a space: readers that take it for the end
    of a line would break the output otherwise, and to JSON the two mean the same.
    """
    text = bytes(value)
    return text.replace(b"\r", b" ") if _CARRIAGE_RETURN in text else text


def writable(value: Raw | bytes | None) -> JsonText | None:
    """A value as it was written, or None if there is none, or none that every reader can read."""
    return None if value is None or huge_number(bytes(value)) else untouched(value)


def _copied(name: str, value: Raw | bytes) -> JsonText:
    """A value as it was written. Raises `Unfit` for one that the output's readers cannot read."""
    text = untouched(value)
    if number := huge_number(text):
        raise _too_huge(quoted(name), number)
    return text


def _check_numbers(source: JsonText, fields: Fields) -> None:
    """Raise `Unfit` if a row to be written whole has a number that is too large."""
    for name, value in fields.items():
        if number := huge_number(bytes(value)):
            raise _too_huge(quoted(name), number)
    if not fields and (number := huge_number(source)):
        raise _too_huge("the row", number)


def _too_huge(where: str, number: str) -> Unfit:
    shown = number if len(number) <= _MAX_NUMBER_CHARACTERS else f"{number[:20]}…"
    return Unfit(
        ErrorCode.BAD_RECORD,
        f"{where} holds the number {shown}, which is beyond what readers of JSON can hold"
        " (about 1.8e308): write it as a string",
    )


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
    return tuple([(key, _copied(name, fields[name])) for name, key in plan.kept])


def _parameters(plan: Plan, fields: Fields) -> dict[str, Any]:
    return {name: _parameter(name, fields[name]) for name in plan.params}


def _parameter(name: str, value: Raw | JsonText) -> Any:
    try:
        return _decode_any(value)
    except msgspec.ValidationError as error:
        reason = str(error)
        raise Unfit(ErrorCode.BAD_PARAMETER, f"{name}: {reason[:1].lower()}{reason[1:]}") from error


def _misspelt(name: str, meant: str) -> Unfit:
    return Unfit(
        ErrorCode.BAD_PARAMETER,
        f"{quoted(name)} is not a parameter: did you mean {meant}? (If it is a column of your "
        "data, keep it with --keep, leave it out with --input-filter or rename it)",
    )


def _missing_id(id_field: str, fields: Fields) -> Unfit:
    return Unfit(
        ErrorCode.MISSING_FIELD,
        f"there is no {quoted(id_field)}; the record has {listed(fields)}: name the column that "
        f"holds the id (--id FIELD) or number the records (--id {ORDINAL_ID})",
    )


def _no_id(id_field: str, value: JsonText) -> Unfit:
    return Unfit(
        ErrorCode.MISSING_FIELD,
        f"{quoted(id_field)} is {_NO_IDS[value]}, which tells no record from another: give the "
        "record an id, name another column that holds it (--id FIELD) or number the records "
        f"(--id {ORDINAL_ID})",
    )


def _missing_text(fields: Fields, id_field: str) -> Unfit:
    strings = {
        name: len(value)
        for name, raw in fields.items()
        if name != id_field and (value := bytes(raw))[:1] == b'"'
    }
    longest = sorted(strings, key=strings.__getitem__, reverse=True)
    return Unfit(
        ErrorCode.MISSING_FIELD,
        f"there is no {quoted(TEXT_FIELD)}; the record has {listed(fields)}: say what the text "
        f"is, for example {example_prompt(longest)}",
    )


def example_prompt(columns: Sequence[str]) -> str:
    """The flag with a prompt of the first of these columns."""
    return f'--prompt "Summarize: {{{next(iter(columns), "field")[:60]}}}"'
