"""What happens to a row before and after the model: SageMaker's DataProcessing.

row → input filter → model → join → output filter → output line

The input filter says what of a row the model is given. The join puts the model's output into the
row as it was, unfiltered. The output filter says what of that is written.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TypeVar

import msgspec
from msgspec import Raw

from textmill.core import JsonText
from textmill.errors import ErrorCode, UsageError
from textmill.records.jsonpath import Every, Indices, Path, Range, item_at, kind_of, select
from textmill.records.strict import Fields
from textmill.records.unfit import Unfit

INPUT_KEY = "SageMakerInput"
OUTPUT_KEY = "SageMakerOutput"

Cell = TypeVar("Cell")

_WHITE = b" \t\r\n"
_MEMBER_KEY = re.compile(rb'[{,\s]*"[^"\\]*+(?:\\.[^"\\]*+)*+"\s*:\s*', re.DOTALL)
_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode


def filter_input(
    path: Path, row: JsonText, columns: Fields, *, text_field: str, beside: Collection[str]
) -> Fields:
    """The columns of a row that the model's record is made of.

    row: the row as JSON; columns: its own columns, none where it is no object.
    text_field: the column that a selected string becomes.
    beside: columns that may stand in the row though the path did not select them, such as the id.
    Raises `Unfit` where the selection is neither an object nor a string.
    """
    selected = _select("input filter", path, row)
    if selected[:1] == b"{":
        fields = columns if not path.steps else _decode_object(selected)
    elif selected[:1] == b'"':
        fields = {text_field: Raw(selected)}
    else:
        raise Unfit(
            ErrorCode.BAD_RECORD,
            f"the input filter {path} selects {kind_of(selected)}; the model takes an object "
            "or a string",
        )
    missed = {name: columns[name] for name in beside if name in columns and name not in fields}
    return {**missed, **fields} if missed else fields


def filter_output(path: Path, result: JsonText) -> JsonText:
    """What is written of a result, as the result has it. Raises `Unfit`."""
    return _select("output filter", path, result)


def _select(which: str, path: Path, value: JsonText) -> JsonText:
    try:
        return select(path, value)
    except Unfit as error:
        raise Unfit(error.code, f"the {which} {error.message}") from None


def join(row: JsonText, output: JsonText) -> JsonText:
    """The row with the model's output in it, everything else as it was written.

    An object gets the key `SageMakerOutput`, last, or where it had that key already. Anything else
    becomes `{"SageMakerInput": row, "SageMakerOutput": output}`. `row` is valid JSON without
    white space around it, and no key twice.
    """
    if row[:1] != b"{":
        return b'{"%b": %b, "%b": %b}' % (INPUT_KEY.encode(), row, OUTPUT_KEY.encode(), output)
    columns = _decode_object(row)
    if OUTPUT_KEY in columns:
        start, end = _value_span(row, columns, OUTPUT_KEY)
        return b"%b%b%b" % (row[:start], output, row[end:])
    comma = b", " if columns else b""
    return b'%b%b"%b": %b}' % (row[:-1].rstrip(_WHITE), comma, OUTPUT_KEY.encode(), output)


def _value_span(row: JsonText, columns: Fields, wanted: str) -> tuple[int, int]:
    """Where the value of a column stands in its row, which has no key twice."""
    end = 0
    for name, value in columns.items():
        start = _MEMBER_KEY.match(row, end).end()  # type: ignore[union-attr]  # it is valid JSON
        end = start + len(bytes(value))
        if name == wanted:
            return start, end
    raise KeyError(wanted)


def join_cells(cells: Sequence[Cell], outputs: Sequence[Cell]) -> list[Cell]:
    """A row of CSV with the model's output as its last columns."""
    return [*cells, *outputs]


def check_cells_path(path: Path) -> None:
    """Raise `UsageError` for a path that cannot select columns of CSV by their position."""
    if len(path.steps) > 1 or not all(
        isinstance(step, Indices | Range | Every) for step in path.steps
    ):
        raise UsageError(
            f"the path {path} does not fit CSV, where each row is an array of its cells",
            hint="select columns by position, for example $[0], $[0,2] or $[1:]",
        )


def select_cells(path: Path, cells: Sequence[Cell]) -> list[Cell]:
    """The cells of a row of CSV that `path` selects, which `check_cells_path` has passed.

    Raises `Unfit` for an index that the row does not have.
    """
    if not path.steps:
        return list(cells)
    (step,) = path.steps
    if isinstance(step, Range):
        return list(cells[step.start : step.end])
    if isinstance(step, Indices):
        return [item_at(cells, index) for index in step.indices]
    return list(cells)
