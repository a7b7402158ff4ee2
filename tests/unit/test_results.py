"""Output lines: strict JSON, one line each, the input's bytes untouched."""

from __future__ import annotations

import json

import pytest

from textmill.core import Record, Rejected
from textmill.errors import ErrorCode
from textmill.records.results import error_line, result_line

RECORD = Record(ordinal=0, id=b"1e2", texts=("x",))


def test_a_result_is_the_id_and_its_texts() -> None:
    assert result_line(RECORD, ["a", "b"]) == b'{"id": 1e2, "generated_texts": ["a", "b"]}\n'


def test_kept_columns_stand_between_as_they_were_written() -> None:
    kept = ((b'"title"', b'"\\u0041"'), (b'"n"', b"1.50"))
    line = result_line(Record(ordinal=0, id=b"[ 1]", texts=("x",), kept=kept), [])
    assert line == b'{"id": [ 1], "title": "\\u0041", "n": 1.50, "generated_texts": []}\n'


@pytest.mark.parametrize(
    ("text", "back"),
    [
        ("\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\r\n\x00", None),
        ('é 東京 😀 \x7f "quoted" \\', None),
        ("a\ud800b", "a\ufffdb"),
        ("\udc00\ud83d\ude00", "\ufffd😀"),
    ],
)
def test_no_text_breaks_the_line(text: str, back: str | None) -> None:
    line = result_line(RECORD, [text]).decode()
    assert len(line.splitlines()) == 1
    assert json.loads(line)["generated_texts"] == [text if back is None else back]


def test_an_error_has_id_line_code_and_message_in_this_order() -> None:
    row = Rejected(
        ordinal=3, id=b'"k"', file="a.jsonl", line=4, code=ErrorCode.EMPTY, message='no "text"'
    )
    assert error_line(row) == (
        b'{"id": "k", "line": 4, "code": "empty", "message": "no \\"text\\"", "attempts": 0}\n'
    )
    assert error_line(row, with_file=True).startswith(b'{"id": "k", "file": "a.jsonl", "line": 4,')


def test_an_unreadable_id_is_null() -> None:
    row = Rejected(
        ordinal=0, id=None, file="\udcff", line=1, code=ErrorCode.BAD_JSON, message="\ud800"
    )
    assert json.loads(error_line(row, with_file=True)) == {
        "id": None,
        "file": "\ufffd",
        "line": 1,
        "code": "bad_json",
        "message": "\ufffd",
        "attempts": 0,
    }
