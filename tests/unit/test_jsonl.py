"""Every kind of line a file may hold: a record, or a row that says what is wrong and where."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path

import pytest

from support.records import PARAMETERS, SHAPE, read_rows, record, rejected
from textmill.core import Record, Rejected
from textmill.errors import ErrorCode, UsageError
from textmill.records.builder import RecordBuilder
from textmill.records.jsonl import JsonlReader
from textmill.records.lines import MAX_LINE_BYTES
from textmill.records.prompt import parse_prompt
from textmill.records.shape import Shape, meant_parameter
from textmill.records.strict import MAX_NESTING

GOOD = b'{"id": 1, "text_inputs": "a"}'


class TestFiles:
    def test_an_empty_file_has_no_rows(self) -> None:
        assert read_rows(b"") == []
        assert read_rows(b"\xef\xbb\xbf") == []

    def test_blank_lines_are_skipped_counted_and_numbered(self) -> None:
        reader = JsonlReader(RecordBuilder(SHAPE))
        rows = read_rows(b"\n  \n" + GOOD + b"\n\t\r\n" + GOOD + b"\n\n", reader=reader)
        assert [(row.line, row.ordinal) for row in rows] == [(3, 0), (5, 1)]
        assert reader.builder.blank_lines == 4

    @pytest.mark.parametrize(
        "data",
        [
            GOOD + b"\n" + GOOD,
            GOOD + b"\r\n" + GOOD + b"\r\n",
            b"\xef\xbb\xbf" + GOOD + b"\n" + GOOD + b"\n",
        ],
        ids=["no final newline", "CRLF", "byte order mark"],
    )
    def test_line_ends_and_marks_make_no_difference(self, data: bytes) -> None:
        rows = read_rows(data)
        assert [(row.id, row.line) for row in rows] == [(b"1", 1), (b"1", 2)]
        assert all(isinstance(row, Record) and row.texts == ("a",) for row in rows)

    def test_ordinals_go_on_from_file_to_file(self) -> None:
        reader = JsonlReader(RecordBuilder(SHAPE))
        first = [row for rows in reader.read(io.BytesIO(GOOD), "a") for row in rows]
        second = [row for rows in reader.read(io.BytesIO(GOOD), "b", len(first)) for row in rows]
        assert [(row.file, row.ordinal, row.line) for row in first + second] == [
            ("a", 0, 1),
            ("b", 1, 1),
        ]

    def test_a_line_of_100_mb_is_one_rejected_row_and_never_in_memory(self, tmp_path: Path) -> None:
        path = tmp_path / "long.jsonl"
        with path.open("wb") as file:
            file.write(GOOD + b'\n{"id": "big", "text_inputs": "')
            for _ in range(100):
                file.write(b"x" * 1_000_000)
            file.write(b'"}\n' + GOOD)
        tracemalloc.start()
        with path.open("rb") as file:
            rows = [
                row
                for rows in JsonlReader(RecordBuilder(SHAPE)).read(file, "long.jsonl")
                for row in rows
            ]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2.5 * MAX_LINE_BYTES
        before, long, after = rows
        assert isinstance(before, Record)
        assert isinstance(after, Record)
        assert after.line == 3
        assert isinstance(long, Rejected)
        assert (long.id, long.line, long.code) == (b'"big"', 2, ErrorCode.TOO_LONG)
        assert "100,000,032 bytes" in long.message

    @pytest.mark.parametrize("last", [b"", b"\n"])
    def test_a_line_at_the_limit_is_read_and_one_byte_more_is_not(self, last: bytes) -> None:
        reader = JsonlReader(RecordBuilder(SHAPE), max_line_bytes=len(GOOD))
        rows = read_rows(GOOD + b"\n" + GOOD + b" \n" + GOOD + last, reader=reader)
        assert [type(row) for row in rows] == [Record, Rejected, Record]

    def test_the_numbers_of_lines_survive_long_ones(self) -> None:
        reader = JsonlReader(RecordBuilder(SHAPE), max_line_bytes=40)
        rows = read_rows(b"\n".join([b"x" * 100, GOOD, b"", b"y" * 41, GOOD]), reader=reader)
        assert [(row.line, type(row)) for row in rows] == [
            (1, Rejected),
            (2, Record),
            (4, Rejected),
            (5, Record),
        ]


class TestStrictness:
    @pytest.mark.parametrize(
        ("line", "message"),
        [
            (b'{"id": 1, "text_inputs": "a', "ends in the middle, after byte 27"),
            (b'{"id": 1, "text_inputs": NaN}', "NaN is not a JSON value at byte 26"),
            (b'{"id": 1, "text_inputs": -Infinity}', "-Infinity is not a JSON value"),
            (b'{"id": 1, "text_inputs": "a"} {}', "something follows the object at byte 31"),
            (b'{"id": 1, "text_inputs": "a",}', "trailing comma in object at byte 30"),
            (b'{"id": 1, "text_inputs": "a\x00"}', "invalid character at byte 28"),
            (b'{"id": 1, "text_inputs": "\xff"}', "not UTF-8: byte 0xff at byte 27"),
            (b'{"id": 1, "x": "\xed\xa0\x80"}', "not UTF-8: byte 0xed at byte 17"),
            (rb'{"id": 1, "text_inputs": "\ud83d"}', r"\ud83d at byte 27 is half a surrogate pair"),
            (rb'{"id": 1, "x": "\udc00\ud800"}', r"\udc00 at byte 17 is half a surrogate pair"),
            (b'{"id": 1, "x": [01]}', "invalid number"),
            (b'{"id": 1, "id": 2, "text_inputs": "a"}', 'the key "id" appears twice'),
            (rb'{"id": 1, "x": 1, "\u0078" : 2}', 'the key "x" appears twice'),
            (b'{"id": 1, "text_inputs": "a", "": 1, "": 2}', 'the key "" appears twice'),
            (b"[1, 2]", "the line is a JSON array, not an object"),
            (b'"text"', "the line is a JSON string, not an object"),
            (b"[", "each line must hold one whole JSON object"),
            (b"{'id': 1, 'text_inputs': 'a'}", "single quotes, as Python prints a dict"),
            (b"\xff\xfe{\x00}\x00", "UTF-16"),
            (b"id,text", "not JSON"),
            (b"\x00", "invalid character at byte 1"),
        ],
    )
    def test_what_is_not_one_strict_object_is_bad_json(self, line: bytes, message: str) -> None:
        row = rejected(line)
        assert row.code is ErrorCode.BAD_JSON
        assert message in row.message

    @pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")])
    def test_nesting_of_100_000_levels_is_refused(self, brackets: tuple[bytes, bytes]) -> None:
        deep = (brackets[0] * 100_000) + b"1" + brackets[1] * 100_000
        row = rejected(b'{"id": 5, "text_inputs": "a", "x": ' + deep + b"}")
        assert (row.code, row.id) == (ErrorCode.BAD_JSON, b"5")
        assert "nested deeper than 100 levels" in row.message

    def test_the_limit_of_nesting_is_exact_and_counts_no_brackets_in_text(self) -> None:
        def line(levels: int) -> bytes:
            deep = b"[" * (levels - 1) + b"]" * (levels - 1)
            return b'{"id": 1, "text_inputs": "a", "x": ' + deep + b"}"

        record(line(MAX_NESTING))
        assert rejected(line(MAX_NESTING + 1)).code is ErrorCode.BAD_JSON
        record(b'{"id": 1, "text_inputs": "' + b"[{" * 1000 + b'"}')

    def test_a_key_that_only_looks_repeated_is_fine(self) -> None:
        text = rb'{"id": 1, "text_inputs": "say \"id\": or \"id\" : x", "y": {"id": {"id": 2}}}'
        assert record(text).texts == ('say "id": or "id" : x',)

    def test_a_key_repeated_within_a_column_is_not_our_business(self) -> None:
        shape = Shape(parameters=PARAMETERS, keep=("meta",))
        row = record(b'{"id": 1, "text_inputs": "a", "meta": {"a": 1, "a": 2}}', shape)
        assert row.kept == ((b'"meta"', b'{"a": 1, "a": 2}'),)

    @pytest.mark.parametrize(
        ("line", "id_"),
        [
            (b'{"id": "a\\"b", "text_inputs": NaN}', b'"a\\"b"'),
            (b'{ "id" : -1.50 , "text_inputs": "\xff"}', b"-1.50"),
            (b'{"id": 1, "text_inputs": "a", "b": 1, "b": 2}', b"1"),
            (b'{"text_inputs": "a", "id": 1, "b": 1, "b": 2}', b"1"),
            (b'{"id": 1, "id": 2, "text_inputs": "a"}', None),
            (b'{"id": "\xff", "text_inputs": "a"}', None),
            (rb'{"id": "\ud800", "text_inputs": "a"}', None),
            (b'{"id": 01, "text_inputs": "a"}', None),
            (b'{"text_inputs": NaN, "id": 3}', None),
            (b"[]", None),
        ],
    )
    def test_the_id_of_a_refused_row_is_told_when_it_is_certain(
        self, line: bytes, id_: bytes | None
    ) -> None:
        assert rejected(line).id == id_


class TestIds:
    @pytest.mark.parametrize(
        "id_",
        [
            b"0",
            b"1e2",
            b"1.0",
            b"-0",
            b"123456789012345678901234567890",
            b"1e308",
            rb'"\u0041\n\/"',
            '"é\u2028"'.encode(),
            b'{"b": 1,  "a": [1, 2.50]}',
            b"[ ]",
            b"true",
            b'" "',
        ],
    )
    def test_an_id_of_any_type_comes_back_byte_for_byte(self, id_: bytes) -> None:
        assert record(b'{"id":  %b , "text_inputs": "a"}' % id_).id == id_

    @pytest.mark.parametrize(("id_", "said"), [(b"null", "null"), (b'""', "empty")])
    def test_null_and_an_empty_text_are_no_ids(self, id_: bytes, said: str) -> None:
        row = rejected(b'{"id":  %b , "text_inputs": "a"}' % id_)
        assert (row.code, row.id) == (ErrorCode.MISSING_FIELD, id_)
        assert f'"id" is {said}' in row.message
        assert "--id @ordinal" in row.message

    def test_a_carriage_return_between_tokens_cannot_break_the_output_line(self) -> None:
        assert record(b'{"id": [1,\r2], "text_inputs": "a"}').id == b"[1, 2]"

    def test_a_missing_id_names_the_columns_and_the_way_out(self) -> None:
        row = rejected(b'{"key": 1, "text_inputs": "a"}')
        assert (row.code, row.id) == (ErrorCode.MISSING_FIELD, None)
        assert 'there is no "id"; the record has "key", "text_inputs"' in row.message
        assert "--id FIELD" in row.message
        assert "--id @ordinal" in row.message

    def test_another_column_can_be_the_id(self) -> None:
        assert record(b'{"key": "k", "text_inputs": "a"}', Shape(id_field="key")).id == b'"k"'

    def test_records_without_id_can_be_numbered(self) -> None:
        rows = read_rows(
            b'{"text_inputs": "a"}\nx\n{"text_inputs": "b"}', Shape(id_field="@ordinal")
        )
        assert [row.id for row in rows] == [b"0", b"1", b"2"]
        line = b'{"id": 7, "@ordinal": 8, "text_inputs": "a"}'
        assert record(line, Shape(id_field="@ordinal")).id == b"0"


class TestTexts:
    def test_a_list_of_texts_keeps_its_order(self) -> None:
        assert record(b'{"id": 1, "text_inputs": ["b", "a"]}').texts == ("b", "a")

    @pytest.mark.parametrize(
        ("value", "code", "message"),
        [
            (b'""', ErrorCode.EMPTY, "text_inputs is empty"),
            (b'" \\n\\u00a0"', ErrorCode.EMPTY, "text_inputs is empty"),
            (b"[]", ErrorCode.EMPTY, "an empty list"),
            (b'["a", ""]', ErrorCode.EMPTY, "text_inputs[1] is empty"),
            (b'["a", 1]', ErrorCode.BAD_RECORD, "text_inputs[1] is not a string"),
            (b'["a", ["b"]]', ErrorCode.BAD_RECORD, "text_inputs[1] is not a string"),
            (b"3", ErrorCode.BAD_RECORD, "text_inputs is 3, not a string"),
            (b"null", ErrorCode.BAD_RECORD, "text_inputs is null, not a string"),
            (b'{"a": 1}', ErrorCode.BAD_RECORD, 'text_inputs is {"a": 1}, not a string'),
        ],
    )
    def test_what_is_no_text_is_said(self, value: bytes, code: ErrorCode, message: str) -> None:
        row = rejected(b'{"id": 1, "text_inputs": %b}' % value)
        assert (row.code, row.id) == (code, b"1")
        assert message in row.message

    def test_a_record_of_another_shape_is_shown_how_to_be_read(self) -> None:
        row = rejected(b'{"id": 1, "title": "short", "article": "a longer text", "n": 5}')
        assert row.code is ErrorCode.MISSING_FIELD
        assert 'the record has "id", "title", "article", "n"' in row.message
        assert '--prompt "Summarize: {article}"' in row.message


class TestColumns:
    def test_known_names_are_parameters_with_their_values_decoded(self) -> None:
        line = b'{"id": 1, "text_inputs": "a", "max_length": 5, "stop": ["x"], "seed": %d}'
        assert record(line % 10**30).params == {"max_length": 5, "stop": ["x"], "seed": 10**30}

    def test_a_record_without_parameters_has_none(self) -> None:
        assert record(GOOD).params is None

    def test_a_parameter_out_of_range_for_any_number_is_refused(self) -> None:
        row = rejected(b'{"id": 1, "text_inputs": "a", "temperature": 1e999}')
        assert row.code is ErrorCode.BAD_PARAMETER
        assert row.message == "temperature: number out of range"

    @pytest.mark.parametrize("name", ["max_lenght", "maxLength", "max-length", "num_beam", "top-k"])
    def test_a_misspelt_parameter_is_refused_with_the_right_name(self, name: str) -> None:
        row = rejected(b'{"id": 1, "text_inputs": "a", "%b": 5}' % name.encode())
        assert row.code is ErrorCode.BAD_PARAMETER
        assert f'"{name}" is not a parameter: did you mean' in row.message

    @pytest.mark.parametrize("name", ["title", "speed", "step", "length", "stops", "text", "label"])
    def test_ordinary_columns_are_not_taken_for_misspellings(self, name: str) -> None:
        assert meant_parameter(name, PARAMETERS) is None

    def test_columns_that_nothing_reads_are_allowed_and_named_once(self) -> None:
        reader = JsonlReader(RecordBuilder(SHAPE))
        line = b'{"id": 1, "text_inputs": "a", "title": "t"%b}\n'
        rows = read_rows(line % b"" + line % b', "url": 1' + line % b"", reader=reader)
        assert all(isinstance(row, Record) for row in rows)
        assert reader.builder.unused_columns == ("title", "url")

    def test_kept_columns_come_in_the_order_asked_for_and_untouched(self) -> None:
        shape = Shape(keep=("b", "a", "ü"), parameters=PARAMETERS)
        row = record(b'{"id": 1, "a": 1.0, "text_inputs": "x", "b": [1 ,2]}', shape)
        assert row.kept == ((b'"b"', b"[1 ,2]"), (b'"a"', b"1.0"))

    def test_columns_to_keep_that_no_record_has_are_told(self) -> None:
        reader = JsonlReader(RecordBuilder(Shape(keep=("a", "titel"))))
        read_rows(b'{"id": 1, "a": 1, "text_inputs": "x"}', reader=reader)
        assert reader.builder.unseen_columns == ("titel",)

    @pytest.mark.parametrize(
        "shape",
        [
            Shape(parameters=PARAMETERS, keep=("seed",)),
            Shape(parameters=PARAMETERS, prompt=parse_prompt("{text_inputs} {seed}")),
            Shape(parameters=PARAMETERS, id_field="seed"),
            Shape(parameters=PARAMETERS, record_params=False),
        ],
        ids=["kept", "in the prompt", "the id", "records carry no parameters"],
    )
    def test_a_column_read_as_data_is_no_parameter(self, shape: Shape) -> None:
        assert record(b'{"id": 1, "text_inputs": "a", "seed": 7}', shape).params is None

    def test_without_record_parameters_a_misspelling_is_just_a_column(self) -> None:
        shape = Shape(parameters=PARAMETERS, record_params=False)
        record(b'{"id": 1, "text_inputs": "a", "max_lenght": 7}', shape)

    @pytest.mark.parametrize("name", ["id", "generated_texts"])
    def test_a_kept_column_cannot_take_a_key_of_the_output(self, name: str) -> None:
        with pytest.raises(UsageError, match=f'"{name}" cannot be kept'):
            Shape(keep=(name,))

    def test_a_column_is_kept_once(self) -> None:
        with pytest.raises(UsageError, match="twice"):
            Shape(keep=("a", "a"))

    def test_ever_new_columns_do_not_fill_the_memory(self) -> None:
        reader = JsonlReader(RecordBuilder(SHAPE))
        lines = (b'{"id": 1, "text_inputs": "a", "c%d": 0}\n' % n for n in range(3000))
        rows = read_rows(b"".join(lines), reader=reader)
        assert all(isinstance(row, Record) for row in rows)
        assert len(reader.builder.unused_columns) == 1000
