"""Joining predictions to references: every case, and every refusal with its message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.evaluation import write_rows
from textmill.errors import InputError
from textmill.evaluation.fields import id_fields, id_key
from textmill.evaluation.files import RowFile
from textmill.evaluation.join import Counts, Join, State, errors_beside
from textmill.evaluation.references import References


class Joined:
    """A join gone through, with what it yielded."""

    def __init__(self, folder: Path, predictions: list[Any], references: list[Any], **how: Any):
        wanted = References(
            [RowFile(write_rows(folder / "ref.jsonl", references))],
            id_field=how.pop("ref_id", "id"),
            field=how.pop("ref", None),
            source=how.pop("source", None),
            by=how.pop("by", ()),
        )
        found = RowFile(write_rows(folder / "predict.jsonl", predictions))
        self.join = Join(found, wanted, id_field=how.pop("id", "id"), field=how.pop("pred", None))
        self.pairs = [(place, text, *wanted[place].references) for place, text in self.join]


TWO = [{"id": 1, "ref": "r one"}, {"id": "1", "ref": "r two"}]


def counts(
    pairs: int,
    scored: int,
    failed: int,
    missing: int,
    extra: int,
    duplicate: int = 0,
    repeated: int = 0,
) -> Counts:
    return Counts(
        pairs=pairs,
        scored=scored,
        failed=failed,
        missing=missing,
        extra=extra,
        duplicate=duplicate,
        repeated=repeated,
    )


def test_ids_join_as_json_values(tmp_path: Path) -> None:
    """Whatever the order; 1 is not "1"."""
    found = [{"id": "1", "text": "two"}, {"id": 1, "text": "one"}]
    joined = Joined(tmp_path, found, TWO)
    assert joined.pairs == [(1, "two", "r two"), (0, "one", "r one")]
    assert joined.join.counts == counts(2, 2, 0, 0, 0)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        *((1, "1"), (1, True), (0, False), (0, None), ("", None), ([1], [True]), ([1], 1)),
        *(([], {}), ({"a": 1}, {"a": "1"}), ([["a"]], ["a"]), ("null", None), (1, 1.5)),
        *((["bool", True], True), (2**64, 2**64 + 1), ({"a": 1, "b": 2}, {"a": 2, "b": 1})),
    ],
)
def test_different_ids_stay_different(left: object, right: object) -> None:
    assert id_key(left) != id_key(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [(1, 1.0), ({"a": 1, "b": [2]}, {"b": [2.0], "a": 1}), ([None, "x"], [None, "x"]), (0, -0.0)],
)
def test_equal_ids_are_equal(left: object, right: object) -> None:
    assert id_key(left) == id_key(right)
    assert hash(id_key(left)) == hash(id_key(right))


def test_missing_and_extra_predictions_are_counted(tmp_path: Path) -> None:
    joined = Joined(tmp_path, [{"id": 1, "text": "one"}, {"id": 3, "text": "three"}], TWO)
    assert joined.pairs == [(0, "one", "r one")]
    assert joined.join.counts == counts(2, 1, 0, 1, 1)


def test_an_id_answered_twice_is_scored_only_if_both_answers_are_one(tmp_path: Path) -> None:
    """The same answer again changes nothing; another one leaves the record without an answer."""
    found = [
        {"id": 1, "text": "a"},
        {"id": "1", "text": "b"},
        {"id": 1.0, "text": "a"},
        {"id": "1", "text": "c"},
        {"id": "x", "text": "no reference"},
        {"id": "x", "text": "no reference either"},
    ]
    joined = Joined(tmp_path, found, TWO)
    assert joined.join.counts == counts(2, 1, 0, 0, 2, duplicate=1, repeated=1)
    assert list(joined.join.states) == [State.SCORED, State.DUPLICATE]
    assert joined.join.repeats == (2, 4)


@pytest.mark.parametrize("failure_first", [True, False])
def test_an_answer_and_a_failure_with_one_id_contradict_each_other(
    tmp_path: Path, failure_first: bool
) -> None:
    found = [{"id": 1, "text": "a"}, {"id": 1, "error": "e"}, {"id": "1", "text": "b"}]
    if failure_first:
        found[:2] = found[1::-1]
    joined = Joined(tmp_path, found, TWO)
    assert joined.join.counts == counts(2, 1, 0, 0, 0, duplicate=1)
    assert joined.join.failures == {}


def test_several_references_of_a_record_come_as_a_list(tmp_path: Path) -> None:
    wanted = [{"id": 1, "ref": ["a", "b"]}, {"id": 2, "ref": "c"}]
    joined = Joined(tmp_path, [{"id": 1, "text": "x"}], wanted, ref="ref")
    assert joined.pairs == [(0, "x", "a", "b")]
    assert Joined(tmp_path, [{"id": 1, "text": "x"}], wanted).pairs == joined.pairs


def test_no_predictions_at_all_leave_all_missing(tmp_path: Path) -> None:
    joined = Joined(tmp_path, [], TWO)
    assert joined.pairs == []
    assert joined.join.counts == counts(2, 0, 0, 2, 0)
    assert joined.join.field is None


def test_error_lines_among_the_predictions_are_failures(tmp_path: Path) -> None:
    found = [
        {"id": None, "code": "bad_json", "message": "…"},
        {"id": None, "code": "bad_json", "message": "…"},
        {"id": 1, "code": "too_long", "message": "…"},
        {"id": "1", "error": "out of memory"},
        {"id": 2, "generated_texts": []},
        {"id": 3, "generated_texts": None},
        {"id": 4, "generated_texts": ["four"]},
    ]
    wanted = [*TWO, *({"id": n, "ref": "r"} for n in (2, 3, 4))]
    joined = Joined(tmp_path, found, wanted)
    assert joined.pairs == [(4, "four", "r")]
    assert joined.join.counts == counts(5, 1, 4, 0, 2)
    assert joined.join.failures == {"empty": 2, "too_long": 1, "error": 1}


@pytest.mark.parametrize("name", ["predict.errors.jsonl", "predict.jsonl.errors.jsonl"])
def test_the_error_file_beside_says_why_predictions_are_missing(tmp_path: Path, name: str) -> None:
    write_rows(
        tmp_path / name,
        [
            {"id": 1, "line": 1, "code": "too_long", "message": "…"},
            {"id": 1, "line": 1, "code": "too_long", "message": "again"},
            {"id": 7, "line": 2, "code": "oom", "message": "no such reference"},
            {"id": "2", "line": 3, "code": "oom", "message": "has a prediction after all"},
            {"id": None, "line": 4, "code": "bad_json", "message": "unknown record"},
            {"line": 5, "code": "bad_json", "message": "no id"},
        ],
    )
    wanted = [*TWO, {"id": "2", "ref": "r"}]
    joined = Joined(tmp_path, [{"id": "2", "text": "two"}], wanted)
    assert joined.join.counts == counts(3, 1, 1, 1, 0)
    assert joined.join.failures == {"too_long": 1}


def test_the_error_file_of_a_packed_output_is_found_too() -> None:
    assert Path("out/p.errors.jsonl") in errors_beside(Path("out/p.jsonl.gz"))
    assert Path("out/p.jsonl.errors.jsonl") in errors_beside(Path("out/p.jsonl.zst"))


@pytest.mark.parametrize(
    ("row", "field", "text"),
    [
        ({"text": "b", "generated_texts": ["a", "c"]}, "generated_texts", "a"),
        ({"generated_text": "a", "text": "b"}, "generated_text", "a"),
        ({"text": "a", "note": "b"}, "text", "a"),
        ({"prediction": "a", "note": "b"}, "prediction", "a"),
        ({"output": "a", "score": 1, "list": ["b"]}, "output", "a"),
        ({"error": "none", "text": "a"}, "text", "a"),
    ],
)
def test_the_prediction_is_found_without_being_named(
    tmp_path: Path, row: dict[str, Any], field: str, text: str
) -> None:
    joined = Joined(tmp_path, [{"id": 1, **row}], TWO)
    assert joined.pairs == [(0, text, "r one")]
    assert joined.join.field == field
    assert joined.join.several == (field == "generated_texts")


def test_fields_can_be_named(tmp_path: Path) -> None:
    joined = Joined(
        tmp_path,
        [{"key": 5, "text": "no", "mine": "yes"}],
        [{"custom_id": 5, "document": "no", "summary": "yes"}],
        id="key",
        ref_id="custom_id",
        pred="mine",
        ref="summary",
    )
    assert joined.pairs == [(0, "yes", "yes")]


def test_on_names_one_field_or_one_of_each_side() -> None:
    assert id_fields("id") == ("id", "id")
    assert id_fields("key=custom_id") == ("key", "custom_id")


P, R = [{"id": 1, "text": "p"}], [{"id": 1, "ref": "r"}]
A, B = {"id": 1, "a": "x", "b": "y"}, {"id": "x", "n": 1}

REFUSALS: dict[str, tuple[list[Any], list[Any], dict[str, str], str]] = {
    "no references": (P, [], {}, r"ref\.jsonl: no references in it"),
    "same id twice among references": (
        P,
        [*R, {"id": 2, "ref": "s"}, {"id": 1.0, "ref": "t"}],
        {},
        r"ref\.jsonl: lines 1 and 3 have the same id 1\.0\n  ids must be unique",
    ),
    "no id in a reference": (
        P,
        [*R, {"ref": "r"}],
        {},
        r'ref\.jsonl, line 2: no field "id"; there are "ref"\n  name the right one with --on',
    ),
    "no id in a prediction": (
        [{"text": "p"}],
        R,
        {},
        r'predict\.jsonl, line 1: no field "id"; there are "text"\n  .*--on',
    ),
    "no fields": ([{}], R, {}, r'predict\.jsonl, line 1: no field "id"; there are no fields'),
    "two texts in a reference": (
        P,
        [A],
        {},
        r'ref\.jsonl, line 1: cannot tell which field is the reference; there are "id", "a", "b"\n'
        r"  name it with --ref, as in --ref b",
    ),
    "a text and a list of texts in a reference": (
        P,
        [{"id": 1, "a": "x", "b": ["y"], "c": [1]}],
        {},
        r"ref\.jsonl, line 1: cannot tell which field is the reference; .*\n.*--ref b",
    ),
    "the files in the wrong order": (
        R,
        P,
        {"ref": "ref"},
        r'ref\.jsonl, line 1: no field "ref"; .*\n.*the predictions come first',
    ),
    "no text in a reference": (P, [B], {}, r'ref\.jsonl, line 1: cannot tell .*"id", "n"'),
    "two texts in a prediction": (
        [A],
        R,
        {},
        r"predict\.jsonl, line 1: cannot tell which field is the prediction; .*\n.*--pred b",
    ),
    "unknown prediction field": (P, R, {"pred": "out"}, r'line 1: no field "out"; .*\n.*--pred'),
    "unknown reference field": (P, R, {"ref": "out"}, r'line 1: no field "out"; .*\n.*--ref'),
    "a later prediction without the field": (
        [*P, {"id": 2, "other": "t"}],
        R,
        {},
        r'predict\.jsonl, line 2: no field "text"; there are "id", "other"',
    ),
    "a later reference without the field": (
        P,
        [*R, {"id": 2, "other": "t"}],
        {},
        r'ref\.jsonl, line 2: no field "ref"; there are "id", "other"',
    ),
    "a number for a prediction": (
        [{"id": 1, "text": 12}],
        R,
        {},
        r'predict\.jsonl, line 1: field "text" is 12, not text',
    ),
    "a list of numbers for a prediction": (
        [{"id": 1, "generated_texts": [[1] * 50]}],
        R,
        {},
        r'field "generated_texts" is \[1, 1, 1, 1, 1, 1, …\], not text',
    ),
    "null for a reference": (
        P,
        [*R, {"id": 2, "ref": None}],
        {},
        r'ref\.jsonl, line 2: field "ref" is null, not text',
    ),
    "numbers among several references": (
        P,
        [{"id": 1, "ref": ["a", 2]}],
        {"ref": "ref"},
        r'field "ref" is \["a", 2\], not text',
    ),
    "no reference in the list": (
        P,
        [*R, {"id": 2, "ref": []}],
        {"ref": "ref"},
        r'ref\.jsonl, line 2: field "ref" is an empty list',
    ),
    "a record without the source": (
        P,
        [{"id": 1, "ref": "r", "src": "s"}, {"id": 2, "ref": "r"}],
        {"ref": "ref", "source": "src"},
        r'ref\.jsonl, line 2: no field "src"; .*\n.*--source',
    ),
    "a source that is no text": (
        P,
        [{"id": 1, "ref": "r", "src": None}],
        {"ref": "ref", "source": "src"},
        r'field "src" is null, not text\n.*--source',
    ),
    "a column that is not there": (
        P,
        R,
        {"by": ["lang"]},
        r'ref\.jsonl, line 1: no field "lang"; .*\n.*--by',
    ),
    "a column of lists": (
        P,
        [{"id": 1, "ref": "r", "lang": []}],
        {"by": ["lang"]},
        r'line 1: field "lang" holds several values; slices need one',
    ),
    "a column of as many values as records": (
        P,
        [{"id": n, "ref": "r", "n": n} for n in range(201)],
        {"by": ["n"]},
        r'line 201: field "n" has more than 200 different values',
    ),
    "no id in common": (
        [{"id": "x", "text": "p"}],
        R,
        {},
        r'predict\.jsonl: none of its ids is in .*ref\.jsonl; for example "x" here and 1 there\n.*'
        r"--on PREDID=REFID",
    ),
    "ids of another type": (
        [{"id": "x", "text": "p"}, {"id": "01", "text": "p"}],
        R,
        {},
        r'predict\.jsonl: none of its ids is in .*ref\.jsonl; for example "01" here and 1 there\n.*'
        r"these are different ids; write them alike in both files",
    ),
    "an id that JSON cannot hold": (
        [b"{'id': {1, 2}, 'text': 'a'}"],
        R,
        {},
        r"predict\.jsonl, line 1: a set is not a JSON value, so it cannot be an id",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_cannot_be_joined_is_refused_with_the_place_and_the_way_out(
    tmp_path: Path, case: str
) -> None:
    predictions, references, how, message = REFUSALS[case]
    with pytest.raises(InputError, match=message):
        Joined(tmp_path, predictions, references, **how)


@pytest.mark.parametrize("on", ["", "=", "a=", "=b"])
def test_a_join_without_a_field_is_refused(on: str) -> None:
    with pytest.raises(InputError, match=f"--on {on}: not the name of a field"):
        id_fields(on)
