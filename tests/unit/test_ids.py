"""Which ids are equal, and finding repeats among very many in little memory."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import textmill
from support.records import read_rows
from textmill.core import Record, Rejected
from textmill.errors import ErrorCode
from textmill.records.ids import SeenIds, id_key, reject_repeated
from textmill.records.key_set import Keys, KeySet
from textmill.records.strict import MAX_NESTING

EQUAL = [
    (b"1", b"1.0"),
    (b"1", b"10e-1"),
    (b"0", b"-0.0e5"),
    (b"1e3", b"1000"),
    (b"-120", b"-1.2E+2"),
    (b"0.1", b"0.10"),
    (b"123456789012345678901234567890", b"1.2345678901234567890123456789e29"),
    (b"1e999", b"10e998"),
    (b'"a"', rb'"\u0061"'),
    ('"é😀"'.encode(), rb'"\u00e9\ud83d\ude00"'),
    (b'"/"', rb'"\/"'),
    (b'{"a": 1, "b": [1.0]}', b'{"b":[1],"a":1e0}'),
]
DIFFERENT = [
    (b"1", b'"1"'),
    (b"1", b"true"),
    (b"0", b"false"),
    (b"null", b'"null"'),
    (b"0.1", b"0.1000000000000000055511151231257827"),
    (b"123456789012345678901234567890", b"123456789012345678901234567891"),
    (b"1e999", b"1e998"),
    (b'"a"', b'"A"'),
    (rb'"a\"b"', rb'"a\\\"b"'),
    (b"[1, 2]", b"[2, 1]"),
    (b"[1]", b'["1"]'),
    (b"[]", b"{}"),
    (b'[["number", 1]]', b"[1]"),
    (b"[true]", b"[1]"),
    (b"1e1000000000000000000000", b"1e1000000000000000000001"),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_ids_equal_as_json_values_are_equal(one: bytes, other: bytes) -> None:
    assert id_key(one) == id_key(other)
    assert SeenIds().add([one, other]) == [False, True]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_ids_different_as_json_values_differ(one: bytes, other: bytes) -> None:
    assert id_key(one) != id_key(other)
    assert SeenIds().add([one, other]) == [False, False]


def test_an_exponent_of_any_length_is_an_id() -> None:
    """Not expanded, and not converted beyond Python's limit on digits."""
    huge = b"1e" + b"9" * 100_000
    assert SeenIds().add([huge, b"1e1000000000", huge]) == [False, False, True]


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_an_id_may_nest_as_deep_as_a_line_may(opening: bytes, closing: bytes) -> None:
    deep = opening * (MAX_NESTING - 1) + b"1" + closing * (MAX_NESTING - 1)
    rows = read_rows(b'{"id": %b, "text_inputs": "a"}\n' % deep * 2)
    assert [type(row) for row in reject_repeated(rows, SeenIds())] == [Record, Rejected]


def test_repeats_are_found_within_a_call_and_across_calls() -> None:
    seen = SeenIds()
    assert seen.add([b"1", b'"a"', b"1", b'"b"', b'"a"']) == [False, False, True, False, True]
    assert seen.add([b'"b"', b"2", b"1"]) == [True, False, True]
    assert seen.add([]) == []


def test_the_largest_numbers_are_told_apart() -> None:
    ids = [b"%d" % n for n in (2**63 - 1, 2**63, 2**64, -(2**63), 10**18 - 1, 10**18, 1 - 10**18)]
    seen = SeenIds()
    assert seen.add(ids) == [False] * len(ids)
    assert seen.add(ids) == [True] * len(ids)


def test_numbers_in_order_cost_next_to_nothing() -> None:
    seen = SeenIds()
    for start in range(0, 300_000, 1000):
        assert not any(seen.add([b"%d" % n for n in range(start, start + 1000)]))
    assert seen.size_bytes < 100
    assert seen.add([b"299999", b"300000"]) == [True, False]


def test_strings_cost_16_bytes_each() -> None:
    seen = SeenIds()
    for start in range(0, 100_000, 1000):
        assert not any(seen.add([b'"id-%d"' % n for n in range(start, start + 1000)]))
    assert seen.size_bytes == 16 * 100_000
    assert all(seen.add([b'"id-%d"' % n for n in range(100_000)]))


def test_keys_with_an_equal_first_half_are_told_apart() -> None:
    keys = KeySet(max_bucket_keys=4)
    high, low = np.array([7] * 6, np.uint64), np.arange(6, dtype=np.uint64)
    keys.insert(Keys(high[:3], low[:3]))
    keys.insert(Keys(high[3:5], low[3:5]))
    assert keys.contains(Keys(high, low)).tolist() == [True] * 5 + [False]


def test_a_set_of_many_buckets_holds_what_was_put_in() -> None:
    """Sizes that split the buckets many times, against a Python set."""
    rng = random.Random(0)
    keys, model = KeySet(max_bucket_keys=8), set[int]()
    for size in (1, 3, 50, 2, 200, 1, 7, 100):
        new = sorted({rng.getrandbits(64) for _ in range(size)} - model)
        high = np.array(new, np.uint64)
        assert not keys.contains(Keys(high, high)).any()
        keys.insert(Keys(high, high))
        model.update(new)
        everything = np.array(sorted(model), np.uint64)
        assert keys.contains(Keys(everything, everything)).all()
        assert not keys.contains(Keys(everything, everything + np.uint64(1))).any()
    assert keys.size_bytes == 16 * len(model)


def test_a_repeated_id_is_an_error_of_the_later_record() -> None:
    seen = SeenIds()
    data = b'{"id": %b, "text_inputs": "a"}\n'
    rows = reject_repeated(read_rows(data % b"1" + data % b'"1"' + data % b"1.0"), seen)
    assert [type(row) for row in rows] == [Record, Record, Rejected]
    assert isinstance(rows[2], Rejected)
    assert (rows[2].code, rows[2].id, rows[2].line) == (ErrorCode.DUPLICATE_ID, b"1.0", 3)
    assert "the id 1.0 is that of an earlier record" in rows[2].message


def test_a_rejected_row_claims_no_id() -> None:
    rows = read_rows(b'{"id": 1, "text_inputs": ""}\n{"id": 1, "text_inputs": "a"}')
    assert [type(row) for row in reject_repeated(rows, SeenIds())] == [Rejected, Record]


@pytest.mark.full
def test_ten_million_string_ids_fit_in_18_bytes_each() -> None:
    """Measured as the growth of the whole process' peak, in a process of its own."""
    script = """
import resource
from textmill.records.ids import SeenIds
seen = SeenIds()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for start in range(0, 10_000_000, 5000):
    assert not any(seen.add([b'"id-%d"' % n for n in range(start, start + 5000)]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(textmill.__file__).parent.parent)},
    )
    assert int(done.stdout) <= 18 * 10_000_000
