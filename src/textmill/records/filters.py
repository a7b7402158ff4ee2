"""What happens to a row before and after the model: SageMaker's DataProcessing.

row → input filter → model → join → output filter → output line

The input filter says what of a row the model is given. The join puts the model's output into the
row as it was, unfiltered. The output filter says what of that is written.
"""

from __future__ import annotations

import re
from collections.abc import Collection

import msgspec
from msgspec import Raw

from textmill.core import JsonText
from textmill.errors import ErrorCode
from textmill.records.jsonpath import Path, kind_of, select
from textmill.records.strict import Fields
from textmill.records.unfit import Unfit

INPUT_KEY = "SageMakerInput"
OUTPUT_KEY = "SageMakerOutput"

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
