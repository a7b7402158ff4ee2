"""Every kind of table a file may hold: what a cell means, and what is said of a bad row."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator

import pytest

from support.formats import SHAPE, only_record, only_rejected, reader_of, rows_of
from textmill.core import Record, Rejected
from textmill.errors import ErrorCode, InputError
from textmill.params.schema import USER_NAMES
from textmill.records.builder import RecordBuilder
from textmill.records.delimited import COMMA, MAX_HEADER_BYTES, DelimitedReader
from textmill.records.lines import MAX_LINE_BYTES
from textmill.records.prompt import parse_prompt
from textmill.records.shape import Shape

HEADER = b"id,text_inputs,title\n"
KEEP = Shape(keep=("title",), parameters=USER_NAMES)


def limited(data: bytes, limit: int) -> list[Record | Rejected]:
    reader = DelimitedReader(RecordBuilder(SHAPE), COMMA, max_row_bytes=limit)
    return [row for rows in reader.read(io.BytesIO(data), "in") for row in rows]


class TestCells:
    def test_an_id_is_a_string_and_a_kept_cell_its_text(self) -> None:
        row = only_record("csv", HEADER + b'007,a text,"x, ""y"""\n', KEEP)
        assert (row.id, row.texts) == (b'"007"', ("a text",))
        assert row.kept == ((b'"title"', rb'"x, \"y\""'),)

    def test_an_empty_kept_cell_is_an_empty_string(self) -> None:
        assert only_record("csv", HEADER + b"1,a,\n", KEEP).kept == ((b'"title"', b'""'),)

    @pytest.mark.parametrize(
        ("cell", "text"),
        [
            (b'5" disk', '5" disk'),
            (b'say "hi"', 'say "hi"'),
            (b' "not quoted"', ' "not quoted"'),
            (b"back\\slash", "back\\slash"),
            (b"tab\there", "tab\there"),
            (b"a\x00b", "a\x00b"),
            (b'"two\nlines"', "two\nlines"),
            (b'"two\r\nlines"', "two\r\nlines"),
            (b'"a ""quoted"" word"', 'a "quoted" word'),
            (b'"""all"""', '"all"'),
            ("Zürich \u2028 東京".encode(), "Zürich \u2028 東京"),
            (b'["a", "b"]'.replace(b",", b";"), '["a"; "b"]'),
        ],
    )
    def test_a_cell_is_its_text_whatever_is_in_it(self, cell: bytes, text: str) -> None:
        assert only_record("csv", b"id,text_inputs\n1," + cell).texts == (text,)

    def test_tsv_has_the_same_quoting(self) -> None:
        row = only_record("tsv", b'id\ttext_inputs\n1\t"a\tb, ""c"""\n')
        assert row.texts == ('a\tb, "c"',)
        assert only_record("tsv", b'id\ttext_inputs\n1\t"a\tb"\n').texts == ("a\tb",)
        assert only_record("tsv", b"id\ttext_inputs\n1\ta, b\n").texts == ("a, b",)

    def test_a_prompt_reads_any_column(self) -> None:
        shape = Shape(id_field="@ordinal", prompt=parse_prompt("{title}: {text_inputs}"))
        assert only_record("csv", HEADER + b"7,a,b\n", shape).texts == ("b: a",)


class TestParameters:
    @pytest.mark.parametrize(
        ("column", "cell", "value"),
        [
            ("max_new_tokens", "50", 50),
            ("top_p", "0.9", 0.9),
            ("do_sample", "true", True),
            ("do_sample", "True", True),
            ("do_sample", "FALSE", False),
            ("seed", "null", None),
            ("stop", "END", "END"),
            ("stop", '"[""END"", ""."" ]"', ["END", "."]),
            ("stop", '"""50"""', "50"),
            ("tgt_lang", "fra_Latn", "fra_Latn"),
            ("temperature", "1e999", "1e999"),
            ("temperature", "NaN", "NaN"),
            ("temperature", "[" * 5000, "[" * 5000),
        ],
    )
    def test_a_cell_is_the_json_value_that_it_spells(
        self, column: str, cell: str, value: object
    ) -> None:
        row = only_record("csv", f"id,text_inputs,{column}\n1,a,{cell}\n".encode())
        assert row.params == {column: value}

    @pytest.mark.parametrize("cell", ["", '""', "  "])
    def test_an_empty_cell_says_nothing(self, cell: str) -> None:
        row = only_record("csv", f"id,text_inputs,seed\n1,a,{cell}\n".encode())
        assert row.params is None

    def test_a_column_that_is_read_as_data_is_no_parameter(self) -> None:
        shape = Shape(keep=("seed",), parameters=USER_NAMES)
        row = only_record("csv", b"id,text_inputs,seed\n1,a,7\n", shape)
        assert (row.params, row.kept) == (None, ((b'"seed"', b'"7"'),))

    def test_a_misspelt_parameter_is_refused(self) -> None:
        row = only_rejected("csv", b"id,text_inputs,max_lenght\n1,a,7\n")
        assert row.code is ErrorCode.BAD_PARAMETER


class TestFiles:
    @pytest.mark.parametrize("data", [b"", b"\xef\xbb\xbf", b"\n\n", b"id,text_inputs", HEADER])
    def test_a_file_without_rows_has_no_records(self, data: bytes) -> None:
        assert rows_of("csv", data) == []

    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
    @pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
    @pytest.mark.parametrize("last", [True, False])
    def test_line_ends_and_marks_make_no_difference(
        self, end: bytes, bom: bytes, last: bool
    ) -> None:
        data = bom + end.join([b"id,text_inputs", b"1,a", b'2,"b"']) + end * last
        rows = rows_of("csv", data)
        assert [(row.id, row.line, row.ordinal) for row in rows] == [(b'"1"', 2, 0), (b'"2"', 3, 1)]

    def test_lines_are_those_of_the_file_where_each_row_begins(self) -> None:
        data = b'\nid,"text\n_inputs",x\n1,a,"\n\r\n"\n\n  \n2,b\n"3\r\r",c,d\n4,e,f'
        shape = Shape(id_field="id", prompt=parse_prompt("{x}{id}"))
        reader = reader_of("csv", shape)
        rows = [row for rows in reader.read(io.BytesIO(data), "in") for row in rows]
        assert [(row.line, type(row)) for row in rows] == [
            (4, Record),
            (9, Rejected),
            (10, Record),
            (13, Record),
        ]
        assert [row.ordinal for row in rows] == [0, 1, 2, 3]

    def test_blank_lines_are_skipped_and_counted(self) -> None:
        builder = RecordBuilder(SHAPE)
        reader = DelimitedReader(builder, COMMA)
        data = b"\nid,text_inputs\n\n1,a\n \t\r\n"
        assert sum(len(rows) for rows in reader.read(io.BytesIO(data), "in")) == 1
        assert builder.blank_lines == 3
        assert reader.count(io.BytesIO(data)) == 1  # without the blank lines and the header

    def test_every_file_has_a_header_of_its_own_and_ordinals_go_on(self) -> None:
        reader = reader_of("csv")
        first = [r for rows in reader.read(io.BytesIO(b"id,text_inputs\n1,a"), "a") for r in rows]
        second = [
            r for rows in reader.read(io.BytesIO(b"text_inputs,id\nb,2"), "b", 1) for r in rows
        ]
        assert [(r.id, r.ordinal, r.file) for r in first + second] == [
            (b'"1"', 0, "a"),
            (b'"2"', 1, "b"),
        ]

    @pytest.mark.parametrize(
        ("header", "message"),
        [
            (b"id,text,id", '"id" is there twice'),
            (b",id,text", "column 1 has no name"),
            (b"id,text,", "column 3 has no name"),
            (b'id," "', "column 2 has no name"),
            (b"id,t\xe9xt", "not UTF-8: byte 0xe9 at byte 5 of the row"),
            ("id,text".encode("utf-16"), "UTF-16"),
            (b'id,"te"xt', "cell 2 goes on after its closing quote"),
            (b'id,"text\n1,a', "the quote that opens on line 1 is never closed"),
            (b"x" * (MAX_HEADER_BYTES + 1), "it has 1,048,577 bytes"),
            (b"x" * (MAX_LINE_BYTES + 1), "the row has 16,777,217 bytes"),
        ],
    )
    def test_a_header_that_names_no_columns_refuses_the_file(
        self, header: bytes, message: str
    ) -> None:
        with pytest.raises(InputError, match="first row cannot be the header") as caught:
            rows_of("csv", header + b"\n1,2\n")
        assert message in caught.value.message
        with pytest.raises(InputError) as counted:  # so that a job is told before any work
            reader_of("csv").count(io.BytesIO(header + b"\n1,2\n"), "in")
        assert counted.value.message == caught.value.message


class TestBadRows:
    @pytest.mark.parametrize(
        ("row", "message", "id_"),
        [
            (b"1,a", "the row has 2 cells, the header 3", None),
            (b"1", "the row has 1 cell, the header 3", None),
            (b"1,a,b,c", "the row has 4 cells, the header 3", None),
            (b'1,"a",b,"c"', "the row has 4 cells, the header 3", None),
            (b'"1","a"', 'the header 3 ("id", "text_inputs", "title")', None),
            (b'1,"a"b,c', 'cell 2 ("text_inputs") goes on after its closing quote', None),
            (b'1,"a" ,c', 'cell 2 ("text_inputs") goes on after its closing quote', None),
            (b'1,"say "hi, you" to",c', 'cell 2 ("text_inputs") goes on', None),
            (b"1,\xff,c", "not UTF-8: byte 0xff at byte 3 of the row", b'"1"'),
            (b'"1,1",\xff,c', "not UTF-8: byte 0xff", b'"1,1"'),
            (b"\xff,a,c", "not UTF-8: byte 0xff at byte 1", None),
            (b"1,\xed\xa0\x80,c", "not UTF-8: byte 0xed at byte 3", b'"1"'),
        ],
    )
    def test_only_the_bad_row_suffers_and_says_why(
        self, row: bytes, message: str, id_: bytes | None
    ) -> None:
        before, bad, after = rows_of("csv", HEADER + b"0,a,b\n" + row + b"\n2,a,b")
        assert isinstance(before, Record)
        assert isinstance(after, Record)
        assert isinstance(bad, Rejected)
        assert (bad.code, bad.id, bad.line, bad.ordinal) == (ErrorCode.BAD_RECORD, id_, 3, 1)
        assert message in bad.message

    def test_numbered_rows_have_their_number_even_when_bad(self) -> None:
        rows = rows_of("csv", b"text_inputs\na\nb,c\nd\n", Shape(id_field="@ordinal"))
        assert [row.id for row in rows] == [b"0", b"1", b"2"]

    def test_a_quote_that_is_never_closed_says_where_it_opened(self) -> None:
        row = only_rejected("csv", HEADER + b'1,"a\n\n",",\n2,b,c\n3,d,e\n')
        assert isinstance(row, Rejected)
        assert (row.code, row.id, row.line) == (ErrorCode.BAD_RECORD, b'"1"', 2)
        assert "the quote that opens on line 4 is never closed" in row.message
        assert "2 lines after it" in row.message

    def test_without_the_id_column_every_row_says_so(self) -> None:
        row = only_rejected("csv", b"key,text_inputs\n1,a\n")
        assert row.code is ErrorCode.MISSING_FIELD
        assert '"key", "text_inputs"' in row.message


class TestLimits:
    def test_a_row_at_the_limit_is_read_and_one_byte_more_is_not(self) -> None:
        rows = limited(b"id,text_inputs\n" + b'1,"abc\ndefghijk"\n2,abcdefghijklmn\n', 16)
        assert [type(row) for row in rows] == [Record, Record]
        rows = limited(b"id,text_inputs\n" + b'1,"abc\ndefghijkl"\n2,abcdefghijklmno', 16)
        assert [(type(row), row.line, row.id) for row in rows] == [
            (Rejected, 2, b'"1"'),
            (Rejected, 4, b'"2"'),
        ]
        assert all(isinstance(row, Rejected) and row.code is ErrorCode.TOO_LONG for row in rows)

    def test_rows_after_a_long_one_are_read_whatever_quotes_it_holds(self) -> None:
        long = b'1,"' + b'x""\n' * 50 + b'y",z\n'
        rows = limited(b"id,text_inputs\n" + long + b"2,a\n", 20)
        assert [(type(row), row.line) for row in rows] == [(Rejected, 2), (Record, 53)]

    @pytest.mark.parametrize("closed", [True, False])
    def test_a_quote_open_for_100_mb_is_one_rejected_row_and_never_in_memory(
        self, closed: bool
    ) -> None:
        def data() -> Iterator[bytes]:
            yield b'id,text_inputs\n0,a\nbig,"'
            for _ in range(100):
                yield b'say ""hi"",\n' * 83_333
            yield b'"\n1,a\n' if closed else b"\n1,a\n"

        source = Pieces(data())
        reader = reader_of("csv")
        tracemalloc.start()
        rows = [row for rows in reader.read(source, "in") for row in rows]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2.5 * MAX_LINE_BYTES
        long = rows[1]
        assert isinstance(long, Rejected)
        assert (long.code, long.id, long.line) == (ErrorCode.TOO_LONG, b'"big"', 3)
        assert ("the quote that opens on line 3 is never closed" in long.message) is not closed
        assert [row.line for row in rows[2:]] == ([8_333_304] if closed else [])

    def test_a_row_of_nothing_but_delimiters_is_not_split(self) -> None:
        row = b"1" + b"," * 500_000
        tracemalloc.start()
        _, bad = rows_of("csv", HEADER + b"0,a,b\n" + row + b'""\n')
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert isinstance(bad, Rejected)
        assert "500,001 cells" in bad.message
        assert peak < 4_000_000  # a list of the cells alone is 4 MB


class Pieces:
    """A source made of pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._left = pieces, b""

    def read(self, size: int = -1, /) -> bytes:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._left = piece
        data, self._left = self._left[:size], self._left[size:]
        return data
