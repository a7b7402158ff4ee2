"""Rows of a file, for scoring: of what a job writes, and of other systems' results."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from textmill.errors import InputError
from textmill.records.delimited import other_mark, read_table_values
from textmill.records.kinds import PARQUET_MARKS
from textmill.records.lines import LongLine, read_lines
from textmill.records.openai import is_answer, result_of_answer
from textmill.records.parquet import read_parquet_values
from textmill.records.strict import is_blank, parse_object, repeated_key
from textmill.records.unfit import Unfit, quoted
from textmill.storage.base import input_errors
from textmill.storage.inputs import open_input

MAX_LINE_BYTES = 64 << 20
MAX_LITERAL_BYTES = 1 << 20
"""A Python literal takes a hundred times its size to parse."""


class Row(NamedTuple):
    """One object and its 1-based line. untyped: every id is text, as a table of texts has it."""

    line: int
    value: dict[str, Any]
    untyped: bool = False


def read_rows(path: Path, label: str | None = None) -> Iterator[Row]:
    """The rows of a file, in any format that a job writes; plain, gzip or zstd, told by its first
    bytes. `line` is the line on which a row begins, of Parquet the row's number.

    CSV and TSV are told by their names. Blank lines are skipped. JSON Lines whose first key is in
    single quotes are Python dicts, not JSON (SageMaker writes its results so), and are read as
    Python literals throughout. Raises `InputError`, naming the line, for anything else, for lines
    over 64 MiB and for what cannot be read or unpacked. label: what messages call the file, by
    default its path; a table's name.
    """
    label = label or str(path)
    if _is_parquet(path, label):
        yield from _parquet_rows(path, label)
    elif delimiter := _delimiter(path, label):
        yield from _table_rows(path, label, delimiter)
    else:
        yield from _json_rows(path, label)


def _json_rows(path: Path, label: str) -> Iterator[Row]:
    parse: Callable[[bytes], Any] | None = None
    for number, line in _lines(path, label):
        if is_blank(line):
            continue
        if parse is None:
            parse = _literal if line.lstrip().startswith(b"{'") else _json
        value = _object(line, parse, f"{label}, line {number}")
        if is_answer(value):
            yield Row(number, result_of_answer(value), untyped=True)
        else:
            yield Row(number, value)


def _delimiter(path: Path, label: str) -> bytes | None:
    """What stands between the cells of a table; None for JSON, whatever its name."""
    from textmill.records.formats import BOM, DELIMITERS, HEAD_BYTES, check_kind, detect_input

    format_ = detect_input(Path(label).name, b"")
    if format_ not in DELIMITERS or not path.is_file():  # a pipe can be read but once
        return None
    with open_input(str(path), label) as stream:
        head = stream.read(HEAD_BYTES)
    check_kind(label, head)
    return None if head.removeprefix(BOM).lstrip().startswith(b"{") else DELIMITERS[format_]


def _table_rows(path: Path, label: str, delimiter: bytes) -> Iterator[Row]:
    with open_input(str(path), label) as stream:
        rows = read_table_values(stream, delimiter, label, max_row_bytes=MAX_LINE_BYTES)
        for line, cells in rows:
            names = [*cells]
            if len(names) == 1 and (mark := other_mark(names[0], besides=delimiter.decode())):
                raise InputError(f"{label}: its columns are separated by {mark[0]}", hint=mark[1])
            value = {name: msgspec.json.decode(cell) for name, cell in cells.items()}
            yield Row(line, _with_all_texts(value), untyped=True)


def _with_all_texts(value: dict[str, Any]) -> dict[str, Any]:
    """A row of a job's table: `generated_texts` is an array there, empty where it has one item."""
    if not {"generated_text", "generated_texts"} <= value.keys():
        return value
    several = value["generated_texts"]
    try:
        texts = msgspec.json.decode(several) if several else [value["generated_text"]]
    except msgspec.MsgspecError:
        return value
    return {**value, "generated_texts": texts}


def _is_parquet(path: Path, label: str) -> bool:
    with input_errors(label):
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return stream.read(4) in PARQUET_MARKS


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
            hint="scores read JSON Lines, every line one JSON object in UTF-8; Parquet; and CSV and"
            " TSV by their names",
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
