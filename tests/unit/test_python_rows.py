"""Rows from Python: what JSON can hold comes back the same, all else is a record's own error."""

from __future__ import annotations

import enum
import io
import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.core import Record, Rejected
from textmill.errors import ErrorCode
from textmill.records.builder import Nulled, RecordBuilder
from textmill.records.lines import MAX_LINE_BYTES
from textmill.records.prompt import parse_prompt
from textmill.records.python_rows import PythonReader, line_of
from textmill.records.shape import Shape
from textmill.records.strict import MAX_NESTING

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
ANYTHING = st.recursive(
    SCALARS | st.text() | st.floats() | st.binary() | st.sets(st.integers()) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
        | st.tuples(inner)
    ),
    max_leaves=6,
)


def read(*items: object, shape: Shape | None = None) -> list[Record | Rejected]:
    reader = PythonReader(RecordBuilder(shape or Shape()))
    data = b"".join(map(line_of, items))
    return [row for rows in reader.read(io.BytesIO(data), "records") for row in rows]


def rejected(item: object, **shape: Any) -> Rejected:
    (row,) = read(item, shape=Shape(**shape))
    assert isinstance(row, Rejected), row
    return row


@given(st.dictionaries(TEXTS, VALUES))
def test_what_json_can_hold_is_written_as_one_line_and_read_back_the_same(row):
    line = line_of(row)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == row


@given(st.lists(ANYTHING | st.dictionaries(st.text(), ANYTHING), max_size=4))
def test_anything_at_all_is_one_row_and_hurts_no_other(items):
    good = {"id": "good", "text_inputs": "t"}
    *rows, last = read(*items, good)
    assert [row.ordinal for row in rows] == list(range(len(items)))
    assert [row.line for row in rows] == list(range(1, len(items) + 1))
    assert isinstance(last, Record)
    assert last.texts == ("t",)


@given(ANYTHING)
def test_a_text_is_taken_only_if_it_is_the_one_that_was_given(value):
    (row,) = read({"id": 1, "text_inputs": value})
    if isinstance(row, Record):
        texts = list(value) if isinstance(value, list | tuple) else [value]
        assert list(row.texts) == [t.isoformat() if isinstance(t, date) else t for t in texts]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"x", '"text_inputs" is bytes, which JSON cannot hold: decode them'),
        ({"x"}, '"text_inputs" is a set, which JSON cannot hold: make it a list'),
        (float("nan"), '"text_inputs" is nan, which is no JSON number'),
        ("\ud800", '"text_inputs" is text with half a surrogate pair'),
        (["a", b"b"], '"text_inputs" holds, at [1], bytes'),
        (float("inf"), '"text_inputs" is inf, which is no JSON number'),
        (timedelta(1), "a datetime.timedelta"),
        (Decimal(1), "a decimal.Decimal"),
        (np.array([1]), "a numpy.ndarray, which JSON cannot hold: make it a list"),
        (np.timedelta64(1, "s"), "a numpy.timedelta64"),
        (np.datetime64("NaT"), "NaT"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_json_cannot_hold_is_refused_with_key_and_type(value, said):
    row = rejected({"id": 7, "text_inputs": value})
    assert (row.code, row.id) == (ErrorCode.BAD_RECORD, b"7")
    assert said in row.message
    assert rejected({"id": value, "text_inputs": "t"}).id is None


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (5, "the item is an int, not a dict"),
        ("a.jsonl", "the item is a str, not a dict"),
        (None, "the item is null, not a dict"),
        ({1: "a"}, "the key 1 is an int, not text"),
        ({"id": 10**5000}, "cannot be written as JSON"),
    ],
)
def test_an_item_that_is_no_row_is_an_error_of_its_own(item, said):
    row = rejected(item)
    assert row.code is ErrorCode.BAD_RECORD
    assert said in row.message


def test_deep_and_circular_items_are_refused():
    deep: Any = "x"
    for _ in range(MAX_NESTING + 1):
        deep = [deep]
    circular: list[Any] = []
    circular.append(circular)
    for value in (deep, circular):
        assert "nested deeper" in rejected({"id": 1, "text_inputs": value}).message


def test_an_item_as_large_as_no_line_may_be_is_too_long():
    row = rejected({"id": 1, "text_inputs": "x" * MAX_LINE_BYTES})
    assert row.code is ErrorCode.TOO_LONG


def test_subclasses_of_plain_types_and_others_integers_are_what_they_stand_for():
    class Name(enum.StrEnum):
        A = "a"

    (row,) = read({"id": np.int64(5), "text_inputs": Name.A})
    assert isinstance(row, Record)
    assert (row.id, row.texts) == (b"5", ("a",))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.float32(0.5), b"0.5"),
        (np.float16(0.25), b"0.25"),
        (np.bool_(True), b"true"),
        (np.uint8(3), b"3"),
        (np.str_("x"), b'"x"'),
        (np.datetime64("2020-01-02T03:04:05.123456789"), b'"2020-01-02T03:04:05.123456789"'),
        (date(2020, 1, 2), b'"2020-01-02"'),
        (datetime(2020, 1, 2, 3, tzinfo=UTC), b'"2020-01-02T03:00:00+00:00"'),
        (time(3, 4), b'"03:04:00"'),
        (UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
        ([np.float32(0.5), {"day": date(2020, 1, 2)}], b'[0.5, {"day": "2020-01-02"}]'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_scalars_of_numpy_dates_and_uuids_are_what_they_stand_for(value, written):
    (row,) = read({"id": 1, "text_inputs": "t", "k": value}, shape=Shape(keep=("k",)))
    assert isinstance(row, Record)
    assert row.kept == ((b'"k"', written),)


@pytest.mark.parametrize("missing", [float("nan"), np.float32("nan"), np.datetime64("NaT")])
def test_a_missing_value_that_is_only_copied_is_null_and_counted(missing):
    reader = PythonReader(RecordBuilder(Shape(keep=("note",))))
    lines = [line_of({"id": n, "text_inputs": "t", "note": missing, "x": b""}) for n in range(2)]
    rows = [row for rows in reader.read(io.BytesIO(b"".join(lines)), "r") for row in rows]
    assert all(isinstance(row, Record) and row.kept == ((b'"note"', b"null"),) for row in rows)
    assert reader.builder.nulled == {"note": Nulled(2, f"is {missing}, which is no JSON number")}


@pytest.mark.parametrize("shape", [{"keep": ("note",)}, {"join": True}], ids=["keep", "join"])
@pytest.mark.parametrize(
    "value", [{1}, b"x", float("-inf"), [float("nan")], Decimal("0.1")], ids=repr
)
def test_a_copied_value_that_null_would_falsify_refuses_its_row(value, shape):
    row = rejected({"id": 1, "text_inputs": "t", "note": value}, **shape)
    assert (row.code, row.id) == (ErrorCode.BAD_RECORD, b"1")
    assert row.message.startswith('"note" ')
    (other,) = read({"id": 1, "text_inputs": "t", "note": value})
    assert isinstance(other, Record)


def test_a_prompt_needs_the_columns_it_names():
    shape = {"prompt": parse_prompt("{a.b}")}
    assert '"a" holds, at ["b"], bytes' in rejected({"id": 1, "a": {"b": b""}}, **shape).message
