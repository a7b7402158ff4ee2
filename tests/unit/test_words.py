"""Numbers of things, and values as people write them."""

from __future__ import annotations

import json
import uuid
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from textmill.words import counted, kind_of, written


def test_one_is_singular_and_all_else_plural():
    assert [counted(n, "row") for n in (0, 1, 2, 1234)] == [
        "0 rows",
        "1 row",
        "2 rows",
        "1,234 rows",
    ]
    assert counted(2, "row has", "rows have") == "2 rows have"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (0.5, "0.5"),
        (float("nan"), "NaN"),
        (np.float64(0.5), "0.5"),
        ("café", '"café"'),
        ('a "b"\n', '"a \\"b\\"\\n"'),
        ("\ud800", '"\\ud800"'),
        (b"tar", '"tar"'),
        ({"a": (1, None), 2: [Path("x/y.bin")]}, '{"a": [1, null], 2: [x/y.bin]}'),
        ([[[[1]]]], "[[[[…]]]]"),
        (range(3), "a range"),
        ({1, 2}, "a set"),
        (np.zeros(3), "a numpy.ndarray"),
        (date(2020, 2, 29), "2020-02-29"),
        (Decimal("1.10"), "1.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Path, "a type"),
        (10**80, "an integer of 266 bits"),
        ("x" * 200, '"' + "x" * 120 + '…"'),
        (list(range(9)), "[0, 1, 2, 3, 4, 5, …]"),
    ],
)
def test_a_value_is_written_as_people_write_it(value, text):
    assert written(value) == text


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES, st.integers(10, 60))
def test_whatever_the_value_it_is_one_short_line(value, most):
    text = written(value, most)
    assert len(text) <= most + 3
    assert text.isprintable()


@given(st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=20))
def test_short_data_is_its_json(value):
    """Short as JSON: a character that cannot be shown takes up to twelve."""
    assume(len(json.dumps(value)) <= 100)
    assert json.loads(written(value)) == value


def test_what_a_value_is_has_its_article():
    assert [kind_of(x) for x in (None, b"", 1, [], Path("a"))][:4] == [
        "null",
        "bytes",
        "an int",
        "a list",
    ]
    assert kind_of(np.zeros(1)) == "a numpy.ndarray"
