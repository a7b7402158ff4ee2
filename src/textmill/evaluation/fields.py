"""Ids and fields of rows, and the refusals of those that cannot be used."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from textmill.errors import InputError
from textmill.evaluation.rows import Row
from textmill.words import written

_NUMBER = re.compile(r"0*([0-9]+)(?:\.0+)?")


def id_key(value: object) -> Hashable:
    """Equal for equal JSON values, and different for different ones.

    Numbers are equal by value (1 and 1.0), objects whatever the order of their keys. Python
    would also hold true and 1 for equal; JSON does not. Raises `ValueError` for other values.
    """
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, list):
        return ("list", *map(id_key, value))
    if isinstance(value, dict):
        return ("object", frozenset((key, id_key(item)) for key, item in value.items()))
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"{written(value)} is not a JSON value, so it cannot be an id")


def id_text(key: Hashable) -> str:
    """An `id_key` as a table of texts has it: 1 and 1.0 are `1`, true is `true`."""
    if isinstance(key, tuple) and key[0] == "bool":
        key = key[1]
    if isinstance(key, float) and key.is_integer():
        key = int(key)
    return key if isinstance(key, str) else json.dumps(key, default=str)


def id_name(value: Any) -> tuple[str, str]:
    """To sort ids by: different for different ones, and alike in a table of texts but for ties."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return text, type(value).__name__


def blurred(key: Hashable) -> str:
    """An `id_key` without what tables tend to change: type, zeros in front, a final .0, white
    space around it."""
    text = id_text(key).strip()
    number = _NUMBER.fullmatch(text)
    return number[1] if number else text


def id_fields(on: str) -> tuple[str, str]:
    """The id fields of predictions and of references, from `FIELD` or `PREDFIELD=REFFIELD`."""
    left, equals, right = on.partition("=")
    if not left or (equals and not right):
        raise InputError(f"--on {on}: not the name of a field", hint="as in --on id")
    return left, right or left


def key_of(row: Row, id_field: str, where: str) -> Hashable:
    """The row's id, to look it up by. Raises `InputError` where there is none."""
    try:
        return id_key(field_value(row, id_field, where, "--on"))
    except ValueError as error:
        raise InputError(f"{where}: {error}", hint="name another field with --on") from error


def field_value(row: Row, name: str, where: str, flag: str) -> Any:
    """The value of a field; `flag` is the one that could name another. Raises `InputError`."""
    if name not in row.value:
        raise InputError(
            f"{where}: no field {written(name)}; there are {names_of(row)}",
            hint=_other_field(flag),
        )
    return row.value[name]


def _other_field(flag: str) -> str:
    more = {
        "--on": "; where the names differ, as in --on PREDFIELD=REFFIELD",
        "--ref": "; the predictions come first, the references second",
    }
    return f"name the right one with {flag}{more.get(flag, '')}"


def only_field(fields: Sequence[str], row: Row, where: str, what: str, flag: str) -> str:
    """The only one of `fields`. Raises `InputError` where there are several or none."""
    if len(fields) != 1:
        raise InputError(
            f"{where}: cannot tell which field is the {what}; there are {names_of(row)}",
            hint=f"name it with {flag}, as in {flag} {fields[-1] if fields else 'text'}",
        )
    return fields[0]


def not_text(where: str, field: str, value: object, flag: str) -> InputError:
    """Refuses a value that is no text."""
    return InputError(
        f"{where}: field {written(field)} is {written(value, 40)}, not text",
        hint=f"name the text with {flag}",
    )


def duplicate(row: Row, id_field: str, path: Path, earlier: int) -> InputError:
    """Refuses a second row with one id."""
    return InputError(
        f"{path}: lines {earlier} and {row.line} have the same id {written(row.value[id_field])}",
        hint="ids must be unique; remove one of the lines, or name another field with --on",
    )


def names_of(row: Row) -> str:
    """The fields of a row, for messages."""
    return ", ".join(written(name) for name in row.value) or "no fields at all"
