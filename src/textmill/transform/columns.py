"""Columns that a job asks for and its input has not: noticed before the model is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from textmill.core import Record
from textmill.errors import InputError
from textmill.records.formats import DELIMITED
from textmill.records.jsonpath import Path
from textmill.records.shape import Shape
from textmill.records.unfit import Unfit, listed, quoted
from textmill.transform.filtering import check_filter, example_of, texts_wanted
from textmill.transform.inputs import JobInput
from textmill.transform.plan import MAX_WINDOW_ROWS
from textmill.transform.reading import RowReader

LOOK_ROWS = MAX_WINDOW_ROWS
"""How many rows from the start of each file are looked at, where it does not tell its columns."""

_TABLES = frozenset({*DELIMITED, "parquet"})
_OWN_COLUMNS = "openai"
"""The format whose rows have keys of their own, from which the columns are made."""


def check_columns(
    files: Sequence[JobInput],
    shape: Shape,
    output_filter: Path | None = None,
    *,
    sample: int | None,
) -> None:
    """Raise `InputError` for what is named, and is in no file as far as can be seen: a column, or
    what the output filter asks for.

    It is sought in the first rows of the files.
    """
    _check_named(files, shape, sample=sample)
    if output_filter is not None and output_filter.steps:
        _check_filter(files, shape, output_filter, min(sample or LOOK_ROWS, LOOK_ROWS))


def _check_named(files: Sequence[JobInput], shape: Shape, *, sample: int | None) -> None:
    """A table has the same columns in every row. Of rows that are filtered first nobody knows yet
    what they have."""
    if shape.input_filter is not None or any(file.format == _OWN_COLUMNS for file in files):
        return
    missing = {name: {name} for name in shape.keep}
    if shape.prompt is not None:
        missing |= {name: {name, name.partition(".")[0]} for name in shape.prompt.fields}
    seen: dict[str, None] = {}
    for file in files:
        if missing or file.format in DELIMITED:  # whose header may show that it is none
            seen |= dict.fromkeys(_columns_of(file, shape, min(sample or LOOK_ROWS, LOOK_ROWS)))
            missing = {name: any_of for name, any_of in missing.items() if not any_of & seen.keys()}
    if missing and seen:
        raise _no_column(next(iter(missing)), shape, list(seen))


def _check_filter(files: Sequence[JobInput], shape: Shape, path: Path, rows: int) -> None:
    """One result that has it is enough: the others become error rows."""
    texts = texts_wanted(path)
    first: tuple[Record, str] | None = None
    for record in _records(files, shape, rows):
        try:
            check_filter(path, record, texts)
        except Unfit as error:
            first = first or (record, error.message)
        else:
            return
    if first is not None:
        record, why = first
        raise InputError(
            f"no result has what is to be written, as far as the first {LOOK_ROWS:,} rows of each"
            f" file tell: {why} (--output-filter)",
            hint=f"a result has: {listed([*msgspec.json.decode(example_of(record))])}",
        )


def _records(files: Sequence[JobInput], shape: Shape, rows: int) -> Iterator[Record]:
    for file in files:
        for chunk in RowReader([file], shape, sample=rows).chunks():
            yield from (row for row in chunk if isinstance(row, Record))


def _columns_of(file: JobInput, shape: Shape, rows: int) -> Sequence[str]:
    reader = RowReader([file], shape, sample=rows)
    for _ in reader.chunks():
        if file.format in _TABLES:
            break
    return reader.builder.columns


def _no_column(name: str, shape: Shape, seen: Sequence[str]) -> InputError:
    flag = f"--keep {name}" if name in shape.keep else f"--prompt with {{{name}}}"
    return InputError(
        f"no row has the column {quoted(name)} ({flag}), as far as the first {LOOK_ROWS:,} rows of"
        " each file tell",
        hint=f"there are: {listed(seen)}",
    )
