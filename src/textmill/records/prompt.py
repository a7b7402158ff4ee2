"""Prompt templates: text with fields, and nothing that could run.

    Briefly summarize this text: {article}
    {title|truncate:80} by {author.name}: {{not a field}}

`{name}` is replaced by the record's column of that name, `{a.b}` by column `a.b` or else by `b`
within the object `a`. `|truncate:N` keeps the first N characters (code points) of the value.
`{{` and `}}` stand for the braces themselves. What a record holds is only ever copied: braces in
it mean nothing.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from textmill.core import JsonText
from textmill.errors import ErrorCode, PromptError
from textmill.records.strict import Fields, decode_string
from textmill.records.unfit import Unfit, listed, quoted
from textmill.words import written

_decode_columns = msgspec.json.Decoder(dict[str, Raw]).decode


class Field(Struct, frozen=True):
    """A placeholder. `max_characters` is None when the whole value is wanted."""

    name: str
    max_characters: int | None = None


class Prompt(Struct, frozen=True):
    """A parsed template. Made by `parse_prompt`."""

    template: str
    parts: tuple[str | Field, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The names between the braces, in order, each once."""
        return tuple(dict.fromkeys(part.name for part in self.parts if isinstance(part, Field)))

    @property
    def columns(self) -> frozenset[str]:
        """The top-level columns that the template may read."""
        return frozenset(self.fields) | {name.partition(".")[0] for name in self.fields}

    def render(self, fields: Fields) -> str:
        """The text for one record.

        Raises `Unfit`: missing_field for a column that is not there or null, bad_record for an
        array or object, empty when no field holds anything but white space.
        """
        pieces = []
        empty = True
        for part in self.parts:
            if isinstance(part, str):
                pieces.append(part)
                continue
            value = _text(part.name, fields)[: part.max_characters]
            empty = empty and (not value or value.isspace())
            pieces.append(value)
        if empty:
            raise Unfit(ErrorCode.EMPTY, f"there is no text in {listed(self.fields)}")
        return "".join(pieces)


def _text(name: str, fields: Fields) -> str:
    raw = _find(name, fields)
    if raw is None:
        raise Unfit(
            ErrorCode.MISSING_FIELD,
            f"the prompt's field {quoted(name)} is not there; the record has {listed(fields)}",
        )
    try:
        return decode_string(raw)
    except msgspec.ValidationError:
        return _plain_text(name, bytes(raw))


def _plain_text(name: str, value: bytes) -> str:
    """A number or boolean as it was written."""
    if value == b"null":
        raise Unfit(ErrorCode.MISSING_FIELD, f"the prompt's field {quoted(name)} is null")
    if value[:1] in b"[{":
        kind = "an array" if value[:1] == b"[" else "an object"
        raise Unfit(ErrorCode.BAD_RECORD, f"the prompt's field {quoted(name)} is {kind}, not text")
    return value.decode()


def _find(name: str, fields: Fields) -> Raw | JsonText | None:
    raw = fields.get(name)
    if raw is not None or "." not in name:
        return raw
    outer, _, inner = name.partition(".")
    container = fields.get(outer)
    if container is None or bytes(container)[:1] != b"{":
        return None
    return _find(inner, _decode_columns(container))


def parse_prompt(template: str) -> Prompt:
    """Parse a template. Raises `PromptError` with the 1-based position of what is wrong."""
    parts: list[str | Field] = []
    text = ""
    at = 0
    while at < len(template):
        two, one = template[at : at + 2], template[at]
        if two in {"{{", "}}"}:
            text, at = text + one, at + 2
        elif one == "}":
            raise _wrong(template, at, "a } without its {", "write }} for a brace")
        elif one == "{":
            end = _closing_brace(template, at)
            parts += [text, _field(template, at, end)] if text else [_field(template, at, end)]
            text, at = "", end + 1
        else:
            text, at = text + one, at + 1
    if text:
        parts.append(text)
    if not any(isinstance(part, Field) for part in parts):
        raise PromptError(
            f"the prompt {written(template)} has no field, so every record would get the same text",
            hint="put a column's name in braces, for example {text}",
        )
    return Prompt(template, tuple(parts))


def _closing_brace(template: str, at: int) -> int:
    end = template.find("}", at)
    if end < 0:
        raise _wrong(template, at, "a { without its }", "write {{ for a brace")
    nested = template.find("{", at + 1, end)
    if nested >= 0:
        raise _wrong(template, nested, "a { within a field", "write {{ for a brace")
    return end


def _field(template: str, at: int, end: int) -> Field:
    name, *filters = (piece.strip() for piece in template[at + 1 : end].split("|"))
    if not name:
        raise _wrong(template, at, "a field without a name", "put a column's name in the braces")
    if not filters:
        return Field(name)
    kind, _, number = filters[0].partition(":")
    if len(filters) > 1 or kind.strip() != "truncate":
        raise _wrong(
            template, at, f"unknown filter {written('|'.join(filters))}", "there is one: truncate:N"
        )
    number = number.strip()
    if not (number.isascii() and number.isdigit() and len(number) < 10 and int(number) > 0):
        raise _wrong(
            template,
            at,
            f"truncate takes a number of characters, not {written(number)}",
            "truncate:400",
        )
    return Field(name, int(number))


def _wrong(template: str, at: int, what: str, hint: str) -> PromptError:
    return PromptError(
        f"the prompt {written(template)} has {what} at character {at + 1}", hint=hint
    )
