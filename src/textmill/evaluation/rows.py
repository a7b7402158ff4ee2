"""Rows of a JSON Lines or Parquet file, for scoring."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from textmill.errors import InputError
from textmill.records.lines import LongLine, read_lines
from textmill.records.parquet import MAGIC, read_parquet_values
from textmill.records.strict import is_blank, parse_object, repeated_key
from textmill.records.unfit import Unfit, quoted
from textmill.storage.base import input_errors
from textmill.storage.inputs import open_input

MAX_LINE_BYTES = 64 << 20
MAX_LITERAL_BYTES = 1 << 20
"""A Python literal takes a hundred times its size to parse."""


class Row(NamedTuple):
    """One object and its 1-based line."""

    line: int
    value: dict[str, Any]


def read_rows(path: Path, label: str | None = None) -> Iterator[Row]:
    """The objects of a JSON Lines file, one a line; plain, gzip or zstd, told by its first bytes.
    A Parquet file, told likewise, has a row for each of its own; `line` is the row's number.

    Blank lines are skipped. A file whose first key is in single quotes holds Python dicts, not
    JSON (SageMaker writes its results so), and is read as Python literals throughout. Raises
    `InputError`, naming the line, for anything else, for lines over 64 MiB and for what cannot be
    read or unpacked. label: what messages call the file, by default its path.
    """
    label = label or str(path)
    if _is_parquet(path, label):
        yield from _parquet_rows(path, label)
        return
    parse: Callable[[bytes], Any] | None = None
    for number, line in _lines(path, label):
        if is_blank(line):
            continue
        if parse is None:
            parse = _literal if line.lstrip().startswith(b"{'") else _json
        yield Row(number, _object(line, parse, f"{label}, line {number}"))


def _is_parquet(path: Path, label: str) -> bool:
    with input_errors(label):
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return stream.read(4) in MAGIC


def _parquet_rows(path: Path, label: str) -> Iterator[Row]:
    with input_errors(label), path.open("rb") as stream:
        for number, columns in read_parquet_values(stream, label):
            decoded = {name: msgspec.json.decode(value) for name, value in columns.items()}
            yield Row(number, decoded)


def _lines(path: Path, label: str) -> Iterator[tuple[int, bytes]]:
    with open_input(str(path), label) as stream:
        for block in read_lines(stream, max_line_bytes=MAX_LINE_BYTES):
            if isinstance(block, LongLine):
                raise InputError(
                    f"{label}, line {block.number}: longer than {MAX_LINE_BYTES >> 20} MiB",
                    hint="JSON Lines has one object a line; is this another format?",
                )
            yield from enumerate(block.lines, block.first)


def _json(line: bytes) -> Any:
    """One strict JSON object; a key that stands twice is refused, as `textmill run` refuses it."""
    try:
        key = repeated_key(line, parse_object(line))
        if key is not None:
            raise ValueError(f"the key {quoted(key)} appears twice")
        return msgspec.json.decode(line)
    except (Unfit, msgspec.MsgspecError) as error:
        raise ValueError(str(error)) from error


def _literal(line: bytes) -> Any:
    if len(line) > MAX_LITERAL_BYTES:
        raise ValueError(f"a Python literal longer than {MAX_LITERAL_BYTES >> 20} MiB")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a stray backslash in a text is not our concern
            return ast.literal_eval(line.decode().strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"not a Python literal ({error})") from error


def _object(line: bytes, parse: Callable[[bytes], Any], where: str) -> dict[str, Any]:
    try:
        value = parse(line)
    except ValueError as error:
        raise InputError(
            f"{where}: {error}",
            hint="scores read JSON Lines, every line one JSON object in UTF-8, and Parquet",
        ) from error
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InputError(
            f"{where}: {_kind(value)}, not an object",
            hint='every line must be one JSON object such as {"id": 1, "text": "…"}',
        )
    return value


def _kind(value: object) -> str:
    names = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else "a value")
