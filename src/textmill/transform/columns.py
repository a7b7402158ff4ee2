"""Inputs that no row of which can be used: noticed before the model is loaded.

A column is asked for and the input has not, or the lines are those of another format.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing

import msgspec
from msgspec import Struct

from textmill.core import Record, Rejected
from textmill.errors import ErrorCode, InputError
from textmill.records.builder import example_prompt
from textmill.records.contents import AS_LINE, AS_LINES
from textmill.records.delimited import other_mark
from textmill.records.formats import BOM, DELIMITED, TABLES, Format
from textmill.records.jsonpath import Path
from textmill.records.openai_request import CUSTOM_ID
from textmill.records.shape import ORDINAL_ID, TEXT_FIELD, Shape
from textmill.records.unfit import Unfit, listed, quoted
from textmill.transform.filtering import check_filter, example_of, texts_wanted
from textmill.transform.inputs import JobInput, read_head
from textmill.transform.plan import MAX_WINDOW_ROWS
from textmill.transform.reading import RowReader

LOOK_ROWS = MAX_WINDOW_ROWS
"""How many rows from the start of each file are looked at, where it does not tell its columns."""

_OWN_COLUMNS = "openai"
"""The format whose rows have keys of their own, from which the columns are made."""
_EXCERPT_CHARACTERS = 60


def check_columns(
    files: Sequence[JobInput],
    shape: Shape,
    output_filter: Path | None = None,
    *,
    sample: int | None,
) -> None:
    """Raise `InputError` for what is named, and is in no file as far as can be seen (a column, or
    what the output filter asks for), and for a file whose lines are surely those of another format.

    It is sought in the first rows of the files.
    """
    rows = min(sample or LOOK_ROWS, LOOK_ROWS)
    _check_named(files, shape, rows)
    if shape.input_filter is not None or any(file.format == _OWN_COLUMNS for file in files):
        _check_made(files, shape, rows)
    if output_filter is not None and output_filter.steps:
        _check_filter(files, shape, output_filter, rows)


def _check_named(files: Sequence[JobInput], shape: Shape, rows: int) -> None:
    """A table has the same columns in every row. Of rows that are filtered first nobody knows yet
    what they have."""
    asked = {} if shape.input_filter is not None else _asked_for(shape)
    missing = {} if any(file.format == _OWN_COLUMNS for file in files) else asked
    seen: dict[str, None] = {}
    lacking: list[InputError] = []
    for file in files:
        if missing or _shows_itself(file):
            look = _look(file, shape, rows, wanted=missing.values())
            if look.first_is_no_json:
                _refuse_other_lines(file, shape, all_bad=look.none_is_json)
            if file.format in TABLES:
                lacking += _lacking(file, shape, look.columns)
            seen |= dict.fromkeys(look.columns)
            missing = {name: any_of for name, any_of in missing.items() if not any_of & seen.keys()}
    if missing and seen:
        raise _no_column(next(iter(missing)), shape, list(seen), files)
    if lacking:
        raise lacking[0]


def _shows_itself(file: JobInput) -> bool:
    """Whether a file is looked at though all columns were seen: its lines may be no JSON, its
    header none, its columns others. A Parquet object costs requests, so it is not."""
    return file.format in {"jsonl", *DELIMITED} or (file.format == "parquet" and file.is_read_twice)


def _check_made(files: Sequence[JobInput], shape: Shape, rows: int) -> None:
    """Raise `InputError` if all rows that others are made of, by a filter or of requests, lack
    what is asked for."""
    first: Rejected | None = None
    for row in _rows(files, shape, rows):
        if not isinstance(row, Rejected) or row.code is not ErrorCode.MISSING_FIELD:
            return
        first = first or row
    if first is not None:
        raise InputError(
            f"no row has what is asked for, as far as the first {LOOK_ROWS:,} rows of each file"
            f" tell: {first.message}",
            hint=f"mend {' or '.join(_flags_given(shape))}; the first row is line {first.line} of"
            f" {first.file}",
        )


def _flags_given(shape: Shape) -> list[str]:
    asked = {
        "--input-filter": shape.input_filter is not None,
        "--prompt": shape.prompt is not None,
        "--id": shape.id_field not in {"id", ORDINAL_ID},
    }
    return [flag for flag, given in asked.items() if given] or ["the input"]


def _check_filter(files: Sequence[JobInput], shape: Shape, path: Path, rows: int) -> None:
    """One result that has it is enough: the others become error rows."""
    texts = texts_wanted(path)
    first: tuple[Record, str] | None = None
    for row in _rows(files, shape, rows):
        if not isinstance(row, Record):
            continue
        try:
            check_filter(path, row, texts)
        except Unfit as error:
            first = first or (row, error.message)
        else:
            return
    if first is not None:
        record, why = first
        raise InputError(
            f"no result has what is to be written, as far as the first {LOOK_ROWS:,} rows of each"
            f" file tell: {why} (--output-filter)",
            hint=f"a result has: {listed([*msgspec.json.decode(example_of(record))])}",
        )


def _rows(files: Sequence[JobInput], shape: Shape, rows: int) -> Iterator[Record | Rejected]:
    for file in files:
        for chunk in RowReader([file], shape, sample=rows).chunks():
            yield from chunk


def _asked_for(shape: Shape) -> dict[str, set[str]]:
    """The columns that rows need, each with the names that it may be found by."""
    fields = [TEXT_FIELD] if shape.prompt is None else []
    ids = [] if shape.id_field == ORDINAL_ID else [shape.id_field]
    asked = {name: {name} for name in (*shape.keep, *ids, *fields)}
    if shape.prompt is not None:
        asked |= {name: {name, name.partition(".")[0]} for name in shape.prompt.fields}
    return asked


class _Look(Struct, frozen=True):
    """The first rows of a file: the columns that they have, and whether they should be JSON and
    are not."""

    columns: Sequence[str]
    first_is_no_json: bool
    none_is_json: bool


def _look(file: JobInput, shape: Shape, rows: int, wanted: Collection[set[str]]) -> _Look:
    """Look at the first rows, no further than to the last of the `wanted` columns."""
    reader = RowReader([file], shape, sample=rows)
    first = None
    none_is_json = file.format == "jsonl"
    for chunk in reader.chunks():
        first = first or chunk[0]
        none_is_json = none_is_json and all(map(_is_no_json, chunk))
        found = set(reader.builder.columns)
        if file.format in TABLES or (found and all(any_of & found for any_of in wanted)):
            break
    return _Look(
        columns=reader.builder.columns,
        first_is_no_json=file.format == "jsonl" and _is_no_json(first),
        none_is_json=none_is_json,
    )


def _is_no_json(row: object) -> bool:
    return isinstance(row, Rejected) and row.code is ErrorCode.BAD_JSON


def _refuse_other_lines(file: JobInput, shape: Shape, *, all_bad: bool) -> None:
    """Raise `InputError` unless the lines may be damaged ones of JSON Lines.

    all_bad: none of the first rows is JSON. Of an array over several lines one may be.
    """
    with closing(file.open()) as stream:
        head = read_head(file.text_of(stream)).removeprefix(BOM).decode(errors="replace").lstrip()
    line, _, rest = head.partition("\n")
    line = line.rstrip()
    if head.startswith("[") and head[1:].lstrip().startswith("{") and (all_bad or line == "["):
        what, hint = "one JSON array", AS_LINES
    elif not all_bad or (line.startswith("{") and not (line == "{" and rest.strip())):
        return
    elif line == "{":
        what, hint = "JSON over several lines", AS_LINE
    else:
        mark = other_mark(line, shape.data_columns)
        what = f"of another format; it begins with {quoted(line[:_EXCERPT_CHARACTERS])}"
        hint = mark[1] if mark else "say which: --input-format csv, tsv or lines (a text per line)"
    raise InputError(f"{file.label} is not JSON Lines but {what}", hint=hint)


def _lacking(file: JobInput, shape: Shape, columns: Sequence[str]) -> Iterator[InputError]:
    """What a table lacks without which none of its rows can be used, whatever other files have."""
    for name, any_of in _asked_for(shape).items():
        if columns and name not in shape.keep and not any_of & set(columns):
            what, hint = _flag(name, shape, columns)
            there = f"there are: {listed(columns)}"
            yield InputError(
                f"{file.label} has no column {quoted(name)} ({what}); other inputs have it",
                hint=f"{there}; run it as a job of its own" + (f", and {hint}" if hint else ""),
            )


def _no_column(
    name: str, shape: Shape, seen: Sequence[str], files: Sequence[JobInput]
) -> InputError:
    what, hint = _flag(name, shape, seen)
    hint = _other_reading(seen, {file.format for file in files}) or hint
    there = f"there are: {listed(seen)}"
    return InputError(
        f"no row has the column {quoted(name)} ({what}), as far as the first {LOOK_ROWS:,} rows of"
        " each file tell",
        hint=f"{there}; {hint}" if hint else there,
    )


def _other_reading(seen: Sequence[str], formats: Collection[Format]) -> str | None:
    """What to do if the columns look as if the files were of another format."""
    if DELIMITED.issuperset(formats) and len(seen) == 1:
        own = "\t" if formats == {"tsv"} else ","
        if mark := other_mark(seen[0], besides=own):
            return f"its columns may be separated by {mark[0]}: {mark[1]}"
        return "name the columns in the first row; or is it a text per line (--input-format lines)?"
    if formats == {"lines"}:
        return "these are all that plain lines have; a table is read with --input-format csv or tsv"
    if formats == {"jsonl"} and {CUSTOM_ID, "body"} <= set(seen):
        return "these are OpenAI's batch requests: --input-format openai"
    return None


def _flag(name: str, shape: Shape, seen: Sequence[str]) -> tuple[str, str | None]:
    """How a column was asked for, and what to do instead."""
    if name in shape.keep:
        return f"--keep {name}", None
    if shape.prompt is not None and name in shape.prompt.fields:
        return f"--prompt with {{{name}}}", None
    if name == shape.id_field:
        hint = f"name the one that holds the id (--id FIELD) or number the rows (--id {ORDINAL_ID})"
        return f"--id {name}", hint
    others = [column for column in seen if column != shape.id_field]
    return "the text", f"say what the text is, for example {example_prompt(others)}"
