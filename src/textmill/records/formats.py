"""The formats by name: which one a file is in, and its reader and writer.

| name | input | output |
|---|---|---|
| jsonl | an object per line | the result lines |
| csv, tsv | a table with a header | the same, see `records.writers` |
| lines | a text per line | no: a text may hold line ends |
| openai | OpenAI's batch requests | its answers |
| parquet | a table | a table; needs the extra `[parquet]` |
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath
from typing import Any, Literal, cast

from textmill.errors import InputError, UsageError
from textmill.records.base import Reader, Writer
from textmill.records.builder import RecordBuilder
from textmill.records.delimited import COMMA, TAB, DelimitedReader
from textmill.records.jsonl import JsonlReader
from textmill.records.kinds import PARQUET_MARKS, foreign_kind
from textmill.records.openai import OpenAIReader, OpenAIWriter
from textmill.records.openai_request import ANSWER_COLUMN, CUSTOM_ID
from textmill.records.python_rows import PythonReader
from textmill.records.strict import parse_object
from textmill.records.textlines import LinesReader
from textmill.records.unfit import Unfit
from textmill.records.writers import DelimitedWriter, JsonlWriter, check_table_columns

Format = Literal["jsonl", "csv", "tsv", "lines", "openai", "parquet", "python"]
"""`python`: dicts from Python, which no file holds."""

INPUT_FORMATS: tuple[Format, ...] = ("jsonl", "csv", "tsv", "lines", "openai", "parquet")
OUTPUT_FORMATS: tuple[Format, ...] = ("jsonl", "csv", "tsv", "openai", "parquet")

HEAD_BYTES = 65536
"""How much of a file's beginning `detect_input` makes good use of."""

_ENDINGS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "lines",
    ".parquet": "parquet",
}
DELIMITERS: dict[Format, bytes] = {"csv": COMMA, "tsv": TAB}
DELIMITED: frozenset[Format] = frozenset({"csv", "tsv"})
"""Formats with a header and cells that a character separates."""
TABLES: frozenset[Format] = frozenset({*DELIMITED, "parquet"})
"""Formats that name their columns once for all rows."""

_COMPRESSED = (".gz", ".zst")
BOM = b"\xef\xbb\xbf"
_KEY = rb'(?<!\\)"%b"[ \t\r]*:'
_REQUEST_KEYS = [re.compile(_KEY % key) for key in (CUSTOM_ID.encode(), b"body")]


def detect_input(name: str, head: bytes) -> Format:
    """The format of an input by its name and its first bytes, decompressed.

    Parquet is known by its magic whatever the name; a `.txt` whose first character is `{` is JSON
    Lines, and so is everything of unknown name; JSON Lines whose first object has the keys
    `custom_id` and `body` are OpenAI's.
    """
    if head.startswith(PARQUET_MARKS):
        return "parquet"
    text = head.removeprefix(BOM).lstrip()
    by_name = _by_ending(name) or "jsonl"
    if by_name == "lines" and text.startswith(b"{"):
        by_name = "jsonl"
    return "openai" if by_name == "jsonl" and is_request(text) else by_name


def detect_output(name: str, input_format: Format = "jsonl") -> Format:
    """The format of an output by its name; requests in OpenAI's format are answered in kind.

    A name without an ending is JSON Lines. Raises `UsageError` for an ending that is unknown, and
    for `.txt`: a text may hold line ends, so lines could not be told apart.
    """
    found = _by_ending(name)
    if found is None and _other_ending(name):
        raise UsageError(
            f"the ending of {name} names no format that is written",
            hint="name the output .jsonl, .csv, .tsv or .parquet, with .gz or .zst after it to"
            " compress; or give its format (--format jsonl)",
        )
    if found is None:
        found = "jsonl"
    if found == "lines":
        raise UsageError(
            f"{name} would be plain lines, but a generated text may hold line ends",
            hint="name the output .jsonl, .csv, .tsv or .parquet, or give its format (--format)",
        )
    return "openai" if found == "jsonl" and input_format == "openai" else found


def check_kind(name: str, head: bytes) -> None:
    """Raise `InputError` for a file that holds no rows, by its first bytes, decompressed."""
    kind = foreign_kind(head)
    if kind is not None:
        raise InputError(f"{name} is {kind.name}", hint=kind.hint)


def _by_ending(name: str) -> Format | None:
    plain = name.lower()
    for ending in _COMPRESSED:
        plain = plain.removesuffix(ending)
    return next((kind for ending, kind in _ENDINGS.items() if plain.endswith(ending)), None)


def _other_ending(name: str) -> str:
    """The ending of a name that is no format's; empty if it has none."""
    plain = name.lower()
    for ending in _COMPRESSED:
        plain = plain.removesuffix(ending)
    return PurePosixPath(plain).suffix


def is_request(text: bytes) -> bool:
    """Whether the first line of a file that is read by lines is a request of OpenAI's.

    Without its end it may be cut off.
    """
    line, end, _ = text.partition(b"\n")
    if not line.startswith(b"{"):
        return False
    if not end:
        return all(key.search(line) for key in _REQUEST_KEYS)
    try:
        fields = parse_object(line)
    except Unfit:
        return False
    return CUSTOM_ID in fields and "body" in fields


def columns_to_keep(
    input_formats: Collection[Format], output_format: Format, keep: Sequence[str]
) -> tuple[str, ...]:
    """`Shape.keep` for a job that keeps `keep`, with what the output format needs besides.

    Raises `UsageError` where the output has no room for columns, or has one of that name.
    """
    if output_format in DELIMITERS:
        check_table_columns(keep)
    if output_format != "openai":
        return tuple(keep)
    if keep:
        raise UsageError(
            f"answers in OpenAI's format have no room for the column {keep[0]}",
            hint="leave --keep out, or write another format (--format jsonl)",
        )
    if "openai" not in input_formats:
        return ()
    if len(set(input_formats)) > 1:
        raise UsageError(
            "requests in OpenAI's format and other rows cannot be answered in one file",
            hint="run them as two jobs, or write another format (--format jsonl)",
        )
    return (ANSWER_COLUMN,)


def needs_details(output_format: Format) -> bool:
    """Whether result lines must have `records.results.Details`."""
    return output_format == "openai"


def check_format(format_: Format) -> None:
    """Raise `UsageError` if a library that the format needs is not installed."""
    if format_ == "parquet":
        from textmill.records.parquet import pyarrow_parquet

        pyarrow_parquet()


def open_reader(format_: Format, builder: RecordBuilder) -> Reader:
    """A reader for files of this format; it may read many. Raises `UsageError`."""
    if format_ in DELIMITERS:
        return DelimitedReader(builder, DELIMITERS[format_])
    if format_ == "lines":
        return LinesReader(builder)
    if format_ == "openai":
        return OpenAIReader(builder)
    if format_ == "python":
        return PythonReader(builder)
    if format_ == "parquet":
        from textmill.records.parquet import ParquetReader

        # A `Reader` of sources that can also seek.
        return cast(Reader, ParquetReader(builder, whole_rows=builder.shape.takes_rows))
    return JsonlReader(builder)


def open_writer(
    format_: Format, keep: Sequence[str], *, model: str, parquet_columns: Any = None
) -> Writer:
    """A writer for one file of this format.

    keep: `Shape.keep`. model: what OpenAI's answers name. parquet_columns: for Parquet only, the
    `ParquetColumns` of the file. Raises `UsageError`.
    """
    if format_ in DELIMITERS:
        return DelimitedWriter(DELIMITERS[format_], keep)
    if format_ == "openai":
        return OpenAIWriter(model)
    if format_ == "parquet":
        from textmill.records.parquet_writer import ParquetWriter

        return ParquetWriter(parquet_columns)
    return JsonlWriter()
