"""Rows through input filter, join and output filter, from a line of input to a line of output."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from support.records import PARAMETERS, read_one, read_rows, record, rejected
from textmill.core import Record
from textmill.errors import ErrorCode, UsageError
from textmill.records.builder import RecordBuilder
from textmill.records.filters import join
from textmill.records.jsonl import JsonlReader
from textmill.records.jsonpath import parse_path
from textmill.records.prompt import parse_prompt
from textmill.records.results import result_line
from textmill.records.shape import ORDINAL_ID, Shape
from textmill.records.unfit import Unfit


def shape(input_filter: str | None = None, **fields: Any) -> Shape:
    path = None if input_filter is None else parse_path(input_filter)
    return Shape(parameters=PARAMETERS, input_filter=path, **fields)


def written(line: bytes, output_filter: str | None = None, **fields: Any) -> bytes:
    """The output line of an input line whose text is answered by `["A"]`."""
    path = None if output_filter is None else parse_path(output_filter)
    return result_line(record(line, shape(**fields)), ["A"], output_filter=path)


def unused_columns(line: bytes, shape: Shape) -> tuple[str, ...]:
    reader = JsonlReader(RecordBuilder(shape))
    (row,) = read_rows(line, reader=reader)
    assert isinstance(row, Record)
    return reader.builder.unused_columns


class TestInputFilter:
    @pytest.mark.parametrize("path", ["$", "$.features", "$['features'].text_inputs"])
    def test_an_object_or_a_string_is_what_the_model_gets(self, path: str) -> None:
        line = b'{"id": 7, "features": {"text_inputs": "t"}, "text_inputs": "t", "num_beams": 2}'
        row = record(line, shape(path))
        assert (row.id, row.texts) == (b"7", ("t",))
        assert row.params == ({"num_beams": 2} if path == "$" else None)
        assert row.source is None

    def test_the_id_of_the_selection_goes_before_that_of_the_row(self) -> None:
        line = b'{"id": 7, "data": {"id": "inner", "text_inputs": "t"}}'
        assert record(line, shape("$.data")).id == b'"inner"'

    def test_several_members_are_selected_with_their_parameters(self) -> None:
        line = b'{"id": 1, "text_inputs": "t", "num_beams": 2, "top_k": 5, "seed": 3}'
        row = record(line, shape("$['text_inputs','top_k']"))
        assert (row.id, row.params) == (b"1", {"top_k": 5})

    def test_a_prompt_reads_the_selection(self) -> None:
        line = b'{"id": 1, "a": {"title": "T", "body": "B"}, "title": "outer"}'
        prompted = shape("$.a", prompt=parse_prompt("{title}: {body}"))
        assert record(line, prompted).texts == ("T: B",)

    def test_a_prompt_names_a_selected_string_text_inputs(self) -> None:
        line = b'{"id": 1, "a": "x"}'
        prompted = shape("$.a", prompt=parse_prompt("Shorten: {text_inputs}"))
        assert record(line, prompted).texts == ("Shorten: x",)

    def test_kept_columns_are_found_beside_the_selection(self) -> None:
        line = b'{"id": 1, "title": 1.0, "a": "x"}'
        row = record(line, shape("$.a", keep=("title",)))
        assert row.kept == ((b'"title"', b"1.0"),)

    def test_columns_that_the_filter_leaves_out_are_not_reported_as_unused(self) -> None:
        line = b'{"id": 1, "a": {"text_inputs": "x", "more": 1}, "other": 2}'
        assert unused_columns(line, shape("$.a")) == ("more",)
        assert unused_columns(line, shape("$.a.text_inputs")) == ()
        assert unused_columns(line, shape("$.a", join=True)) == ()

    def test_rows_need_not_be_objects(self) -> None:
        numbered = shape("$[1]", id_field=ORDINAL_ID)
        rows = read_rows(b'["k", "text"]\n\n "no" \n[1, {"text_inputs": "b"}]\r\n', numbered)
        assert [(row.id, row.line) for row in rows] == [(b"0", 1), (b"1", 3), (b"2", 4)]
        assert [row.texts if isinstance(row, Record) else row.code for row in rows] == [
            ("text",),
            ErrorCode.BAD_RECORD,
            ("b",),
        ]

    def test_a_row_that_is_a_string_is_the_text(self) -> None:
        assert record(b' "text" ', shape("$", id_field=ORDINAL_ID)).texts == ("text",)

    @pytest.mark.parametrize(
        ("line", "path", "code", "message"),
        [
            (
                b'{"id": 1, "a": 2}',
                "$.b",
                "missing_field",
                'the input filter $.b: there is no "b"; the object has "id", "a"',
            ),
            (
                b'{"id": 1, "a": [2]}',
                "$.a",
                "bad_record",
                "the input filter $.a selects an array; the model takes an object or a string",
            ),
            (b'{"id": 1, "a": 2}', "$.a.b", "bad_record", "the input filter $.a.b: .b needs"),
            (b'{"id": 1, "a": ""}', "$.a", "empty", "text_inputs is empty"),
            (b'{"id": 1, "a": {}}', "$.a", "missing_field", 'there is no "text_inputs"'),
            (b'{"id": 1, "id": 2, "a": "x"}', "$.a", "bad_json", 'the key "id" appears twice'),
        ],
    )
    def test_a_row_that_does_not_fit_says_why(
        self, line: bytes, path: str, code: str, message: str
    ) -> None:
        row = rejected(line, shape(path))
        assert row.code == ErrorCode(code)
        assert message in row.message
        assert row.id == (None if code == "bad_json" else b"1")

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (b'["a",]', "not JSON"),
            (b'["\xff"]', "not UTF-8: byte 0xff at byte 3"),
            (b'["\\ud800"]', "half a surrogate pair"),
            (b"[" * 101 + b"]" * 101, "nested deeper than 100 levels"),
            (b"-NaN", "not JSON"),
            (b'"a" "b"', "not JSON: something follows the object at byte 5"),
            (b"{'a': 1}", "single quotes"),
        ],
    )
    def test_rows_of_any_kind_must_be_strict_json(self, line: bytes, message: str) -> None:
        row = rejected(line, shape("$"))
        assert row.code is ErrorCode.BAD_JSON
        assert message in row.message

    def test_a_row_of_no_object_has_no_id(self) -> None:
        row = rejected(b'["k", "text"]', shape("$[1]"))
        assert (row.code, row.id) == (ErrorCode.MISSING_FIELD, None)
        assert "--id @ordinal" in row.message


class TestJoin:
    @pytest.mark.parametrize(
        ("row", "joined"),
        [
            (b'{"b": 1.0,"a":"\\u0041" }', b'{"b": 1.0,"a":"\\u0041", "SageMakerOutput": OUT}'),
            (b"{}", b'{"SageMakerOutput": OUT}'),
            (b"{ }", b'{"SageMakerOutput": OUT}'),
            (
                b'{"a" : 1, "SageMakerOutput" :[1, "}"] ,"b":2}',
                b'{"a" : 1, "SageMakerOutput" :OUT ,"b":2}',
            ),
            (
                b'{"a": {"SageMakerOutput": 1}, "\\u0053ageMakerOutput": {"x": "\\""}}',
                b'{"a": {"SageMakerOutput": 1}, "\\u0053ageMakerOutput": OUT}',
            ),
            (b"[1, 2]", b'{"SageMakerInput": [1, 2], "SageMakerOutput": OUT}'),
            (b'"text"', b'{"SageMakerInput": "text", "SageMakerOutput": OUT}'),
        ],
    )
    def test_the_output_goes_into_the_row_as_it_was_written(
        self, row: bytes, joined: bytes
    ) -> None:
        assert join(row, b"OUT") == joined

    def test_the_row_is_joined_whole_though_it_was_filtered(self) -> None:
        line = b'\xef\xbb\xbf {"id": 1e0, "features": {"text_inputs": "t"}, "x": [1,\r2]} \r\n'
        assert written(line, input_filter="$.features", join=True) == (
            b'{"id": 1e0, "features": {"text_inputs": "t"}, "x": [1, 2], '
            b'"SageMakerOutput": {"generated_texts": ["A"]}}\n'
        )

    def test_a_join_needs_no_filter(self) -> None:
        assert written(b'{"id":1,"text_inputs":"t"}', join=True) == (
            b'{"id":1,"text_inputs":"t", "SageMakerOutput": {"generated_texts": ["A"]}}\n'
        )

    def test_what_is_no_object_is_wrapped(self) -> None:
        assert written(b'"t"', join=True, id_field=ORDINAL_ID) == (
            b'{"SageMakerInput": "t", "SageMakerOutput": {"generated_texts": ["A"]}}\n'
        )

    def test_the_example_of_the_guide(self) -> None:
        """Of SageMaker's: the id beside the result, though the model did not get it."""
        line = b'{"id": 1.50, "features": "t"}'
        assert written(line, "$['id','SageMakerOutput']", input_filter="$.features", join=True) == (
            b'{"id": 1.50, "SageMakerOutput": {"generated_texts": ["A"]}}\n'
        )

    def test_a_row_of_another_format_is_the_object_of_its_columns(self) -> None:
        builder = RecordBuilder(shape(join=True))
        row = builder.build({"id": Raw(b"1"), "text_inputs": Raw(b'"t"')}, 0, "f", 1)
        assert isinstance(row, Record)
        assert row.source == b'{"id": 1, "text_inputs": "t"}'

    def test_a_job_that_does_not_join_holds_no_rows(self) -> None:
        row = read_one(b'{"id": 1, "text_inputs": "t"}')
        assert isinstance(row, Record)
        assert row.source is None

    def test_nothing_is_kept_beside_a_join(self) -> None:
        with pytest.raises(UsageError, match=r"nothing to keep \(title\): a join writes every"):
            Shape(keep=("title",), join=True)


class TestOutputFilter:
    @pytest.mark.parametrize(
        ("path", "line"),
        [
            ("$", b'{"id": 1, "title": "T", "generated_texts": ["A"]}\n'),
            ("$.generated_texts", b'["A"]\n'),
            ("$.generated_texts[0]", b'"A"\n'),
            ("$['generated_texts','id']", b'{"generated_texts": ["A"], "id": 1}\n'),
            ("$.*", b'[1, "T", ["A"]]\n'),
        ],
    )
    def test_any_part_of_a_plain_result_may_be_the_line(self, path: str, line: bytes) -> None:
        assert written(b'{"id":1,"text_inputs":"t","title":"T"}', path, keep=("title",)) == line

    def test_a_result_without_what_is_asked_for_is_unfit(self) -> None:
        with pytest.raises(Unfit) as caught:
            written(b'{"id": 1, "text_inputs": "t"}', "$.generated_texts[1]")
        assert caught.value.code is ErrorCode.MISSING_FIELD
        assert caught.value.message == (
            "the output filter $.generated_texts[1]: there is no item 1; the array has 1 items"
        )

    def test_a_line_stays_one_line(self) -> None:
        (line,) = written(b'{"id": 1, "x": [1,\r2], "text_inputs": "t"}', "$.x", join=True).split(
            b"\n"
        )[:-1]
        assert json.loads(line) == [1, 2]
        assert len(line.decode().splitlines()) == 1
