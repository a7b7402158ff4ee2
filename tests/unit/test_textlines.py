"""Plain lines: each is a text, numbered."""

from __future__ import annotations

import io

import pytest

from support.formats import SHAPE, only_record, only_rejected, reader_of, rows_of
from textmill.core import Record, Rejected
from textmill.errors import ErrorCode, UsageError
from textmill.records.builder import RecordBuilder
from textmill.records.prompt import parse_prompt
from textmill.records.shape import Shape
from textmill.records.textlines import LinesReader


def test_every_line_that_is_not_blank_is_a_text_with_its_ordinal_as_id() -> None:
    rows = rows_of("lines", b"\xef\xbb\xbfone\n\n  \t\r\n two \r\n{three}")
    assert [(row.id, row.ordinal, row.line) for row in rows] == [
        (b"0", 0, 1),
        (b"1", 1, 4),
        (b"2", 2, 5),
    ]
    assert [row.texts for row in rows if isinstance(row, Record)] == [
        ("one",),
        (" two ",),
        ("{three}",),
    ]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"a\r\r\n", "a\r"),
        (b"a\rb\n", "a\rb"),
        (b'"a", \\n\n', '"a", \\n'),
        (b"a\x00b\n", "a\x00b"),
        ("é\u2028\x85\n".encode(), "é\u2028\x85"),
        (b"50\n", "50"),
    ],
)
def test_only_the_line_end_is_taken_away(line: bytes, text: str) -> None:
    assert only_record("lines", line).texts == (text,)


@pytest.mark.parametrize("id_field", ["id", "@ordinal"])
def test_a_prompt_and_keep_know_the_line_as_text_inputs(id_field: str) -> None:
    shape = Shape(
        id_field=id_field, prompt=parse_prompt("Say: {text_inputs}"), keep=("text_inputs",)
    )
    builder = RecordBuilder(shape)
    ((row,),) = LinesReader(builder).read(io.BytesIO(b"hi\n"), "in")
    assert isinstance(row, Record)
    assert (row.id, row.texts, row.kept) == (b"0", ("Say: hi",), ((b'"text_inputs"', b'"hi"'),))
    assert builder.unused_columns == ()


def test_ordinals_go_on_from_file_to_file() -> None:
    chunks = reader_of("lines").read(io.BytesIO(b"a\nb"), "in", 7)
    assert [row.id for rows in chunks for row in rows] == [b"7", b"8"]


def test_bytes_that_are_not_utf8_reject_their_line_only() -> None:
    _, bad, good = rows_of("lines", b"a\nb\xff\nc")
    assert isinstance(bad, Rejected)
    assert isinstance(good, Record)
    assert (bad.code, bad.id, bad.line) == (ErrorCode.BAD_RECORD, b"1", 2)
    assert "not UTF-8: byte 0xff at byte 2 of the line" in bad.message


def test_white_space_beyond_ascii_alone_is_no_text() -> None:
    assert only_rejected("lines", "\u3000\n".encode()).code is ErrorCode.EMPTY


def test_a_line_over_the_limit_is_rejected() -> None:
    reader = LinesReader(RecordBuilder(SHAPE), max_line_bytes=5)
    rows = [row for rows in reader.read(io.BytesIO(b"123456\n12345\n"), "in") for row in rows]
    assert [type(row) for row in rows] == [Rejected, Record]
    assert (rows[0].id, rows[1].id) == (b"0", b"1")


def test_another_id_is_refused() -> None:
    with pytest.raises(UsageError, match='no column "key"'):
        reader_of("lines", Shape(id_field="key"))
