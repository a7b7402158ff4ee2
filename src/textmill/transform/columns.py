"""Columns that a job asks for and its input has not: noticed before the model is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from textmill.errors import InputError
from textmill.records.formats import DELIMITED
from textmill.records.shape import Shape
from textmill.records.unfit import listed, quoted
from textmill.transform.inputs import JobInput
from textmill.transform.plan import MAX_WINDOW_ROWS
from textmill.transform.reading import RowReader

LOOK_ROWS = MAX_WINDOW_ROWS
"""How many rows from the start of each file are looked at, where it does not tell its columns."""

_TABLES = frozenset({*DELIMITED, "parquet"})
_OWN_COLUMNS = "openai"
"""The format whose rows have keys of their own, from which the columns are made."""


def check_columns(files: Sequence[JobInput], shape: Shape, *, sample: int | None) -> None:
    """Raise `InputError` for a column that is named, and is in no file as far as can be seen.

    It is sought in the first rows of the files; a table has the same columns in every row. Of
    rows that are filtered first nobody knows yet what they have.
    """
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
