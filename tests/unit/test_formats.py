"""Formats by name: which one a file is in, what each writes, and compressed outputs."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence

import pytest
import zstandard

from textmill.core import FinishReason, Record
from textmill.errors import UsageError
from textmill.records.formats import (
    Format,
    columns_to_keep,
    detect_input,
    detect_output,
    needs_details,
    open_writer,
)
from textmill.records.results import Details, result_line
from textmill.storage.compress import compressor

REQUEST = b'{"custom_id": "a", "method": "POST", "body": {"messages": []}}\n'


class TestDetection:
    @pytest.mark.parametrize(
        ("name", "head", "format_"),
        [
            ("a.jsonl", b"", "jsonl"),
            ("a.ndjson.gz", b"", "jsonl"),
            ("A.JSON", b"{}", "jsonl"),
            ("dir.csv/a.csv", b"", "csv"),
            ("a.csv.zst", b"", "csv"),
            ("a.tsv", b"{", "tsv"),
            ("a.tab", b"", "tsv"),
            ("a.txt", b"text", "lines"),
            ("a.txt.gz", b"", "lines"),
            ("a.txt", b'\xef\xbb\xbf\n \n{"id"', "jsonl"),
            ("a.txt", REQUEST, "openai"),
            ("a.parquet", b"PAR1", "parquet"),
            ("a.csv", b"PAR1\x15", "parquet"),
            ("a.jsonl", b"PARE", "parquet"),  # encrypted, which its reader says
            ("-", b"", "jsonl"),
            ("dir.csv/data", b"a,b", "jsonl"),
            ("-", REQUEST, "openai"),
            ("a.jsonl", b"\xef\xbb\xbf\n" + REQUEST * 2, "openai"),
            ("a.jsonl", REQUEST[:-1], "openai"),
            ("a.jsonl", REQUEST[:50], "openai"),
            ("a.csv", REQUEST, "csv"),
            ("a.jsonl", b'{"id": 1, "text_inputs": "{\\"custom_id\\": 1, \\"body\\": 2}', "jsonl"),
            ("a.jsonl", b'{"id": 1, "x": {"custom_id": 1, "body": 2}}\n' + REQUEST, "jsonl"),
            ("a.jsonl", b'{"custom_id": 1}\n', "jsonl"),
            ("a.jsonl", b'{"custom_id": "a", "body": \n', "jsonl"),
        ],
    )
    def test_an_input_is_known_by_its_magic_its_name_and_its_first_line(
        self, name: str, head: bytes, format_: Format
    ) -> None:
        assert detect_input(name, head) == format_

    @pytest.mark.parametrize(
        ("name", "format_"),
        [
            ("out.jsonl", "jsonl"),
            ("out", "jsonl"),
            ("out.csv.gz", "csv"),
            ("out.tsv", "tsv"),
            ("out.parquet", "parquet"),
        ],
    )
    def test_an_output_is_known_by_its_name(self, name: str, format_: Format) -> None:
        assert detect_output(name) == format_

    def test_requests_of_openai_are_answered_in_kind(self) -> None:
        assert detect_output("out.jsonl", "openai") == "openai"
        assert detect_output("out.csv", "openai") == "csv"

    def test_plain_lines_cannot_be_an_output(self) -> None:
        with pytest.raises(UsageError, match="line ends"):
            detect_output("out.txt")

    def test_answers_of_openai_have_no_room_for_columns(self) -> None:
        assert columns_to_keep({"openai"}, "openai", ()) == ("openai",)
        assert columns_to_keep({"csv"}, "openai", ()) == ()
        assert columns_to_keep({"openai"}, "jsonl", ["model"]) == ("model",)
        assert columns_to_keep({"jsonl", "openai"}, "csv", ["x"]) == ("x",)
        with pytest.raises(UsageError, match="one file"):
            columns_to_keep({"jsonl", "openai"}, "openai", ())
        with pytest.raises(UsageError, match="title"):
            columns_to_keep({"jsonl"}, "openai", ["title"])
        assert needs_details("openai")
        assert not needs_details("csv")


def line(id_: bytes, texts: Sequence[str], **kept: bytes) -> bytes:
    columns = tuple((json.dumps(name).encode(), value) for name, value in kept.items())
    return result_line(Record(ordinal=0, id=id_, texts=("x",), kept=columns), texts)[:-1]


def written(format_: Format, lines: Sequence[bytes], keep: Sequence[str] = ()) -> bytes:
    writer = open_writer(format_, keep, model="m")
    return b"".join([*(writer.encode([line]) for line in lines), writer.finish()])


class TestWriters:
    def test_json_lines_are_written_as_they_are(self) -> None:
        lines = [line(b"1", ["a"]), line(b'"b"', ["c", "d"], x=b"[1 ,2]")]
        assert written("jsonl", lines) == lines[0] + b"\n" + lines[1] + b"\n"
        assert written("jsonl", []) == b""

    def test_a_table_has_the_id_the_kept_columns_and_the_text(self) -> None:
        lines = [
            line(b'"a"', ["one, two"], title=rb'"say \"hi\""', n=b"1.50"),
            line(b"7", ['"\n'], n=b"null"),
        ]
        assert written("csv", lines, ["title", "n"]) == (
            b"id,title,n,generated_text,generated_texts\n"
            b'a,"say ""hi""",1.50,"one, two",\n'
            b'7,,,"""\n",\n'
        )
        assert written("tsv", lines[:1], ["n"]) == (
            b"id\tn\tgenerated_text\tgenerated_texts\na\t1.50\tone, two\t\n"
        )

    def test_several_texts_stand_as_a_json_array_beside_the_first(self) -> None:
        table = written("csv", [line(b"1", ["a", 'b"', "é"]), line(b"2", ['["c"]'])])
        rows = list(csv.DictReader(io.StringIO(table.decode(), newline="")))
        assert [row["generated_text"] for row in rows] == ["a", '["c"]']
        assert json.loads(rows[0]["generated_texts"]) == ["a", 'b"', "é"]
        assert rows[1]["generated_texts"] == ""

    def test_a_table_without_rows_has_its_header(self) -> None:
        assert written("csv", []) == b"id,generated_text,generated_texts\n"

    def test_a_formula_is_text_like_any_other(self) -> None:
        table = written("csv", [line(b"1", ["=1+1"]), line(b"2", ["@x"]), line(b"3", ["-5"])])
        assert table.splitlines()[1:] == [b"1,=1+1,", b"2,@x,", b"3,-5,"]

    def test_a_kept_column_cannot_take_the_name_of_the_text(self) -> None:
        with pytest.raises(UsageError, match="generated_text"):
            open_writer("csv", ["generated_text"], model="m")
        with pytest.raises(UsageError, match="generated_text"):
            columns_to_keep({"jsonl"}, "tsv", ["generated_text"])
        assert columns_to_keep({"jsonl"}, "parquet", ["generated_text"]) == ("generated_text",)

    def test_details_stand_at_the_end_of_a_result_line(self) -> None:
        record = Record(ordinal=0, id=b"1", texts=("x",))
        details = Details((FinishReason.LENGTH,), 3, 4)
        assert result_line(record, ["a"], details=details) == (
            b'{"id": 1, "generated_texts": ["a"], "finish_reasons": ["length"], '
            b'"input_tokens": 3, "output_tokens": 4}\n'
        )


class TestCompression:
    DATA = b"some text, and some text again\n" * 5000

    @pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.zst", "a.ZST", "a.jsonl", "gz"])
    @pytest.mark.parametrize("cut", [1000, 70_000, 1_000_000])
    def test_the_name_chooses_and_the_same_data_gives_the_same_bytes(
        self, name: str, cut: int
    ) -> None:
        whole, pieces = compressor(name), compressor(name)
        stored = whole.encode(self.DATA) + whole.finish()
        cuts = [self.DATA[at : at + cut] for at in range(0, len(self.DATA), cut)]
        assert b"".join([*map(pieces.encode, cuts), pieces.finish()]) == stored
        if name.lower().endswith(".gz"):
            assert gzip.decompress(stored) == self.DATA
            assert stored[4:8] == b"\0\0\0\0"  # no time
        elif name.lower().endswith(".zst"):
            assert zstandard.ZstdDecompressor().decompressobj().decompress(stored) == self.DATA
        else:
            assert stored == self.DATA

    @pytest.mark.parametrize("name", ["a.gz", "a.zst"])
    def test_an_empty_output_is_a_whole_file(self, name: str) -> None:
        stored = compressor(name).finish()
        decompress = gzip.decompress if name == "a.gz" else zstandard.ZstdDecompressor().decompress
        assert decompress(stored) == b""
