"""Inputs that are damaged, foreign or lack a column: what is said, and of which row."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from support.command import read_lines, textmill, write_lines
from support.job_files import PLAIN, ROWS, chat_request, write_input


def echo(*arguments, **kwargs):
    return textmill("run", *arguments, "--engine", "echo", **kwargs)


BAD_FILES = {
    "csv": (
        b'id,text_inputs\n1,"a\nb"\n2\n3,\n4,ok\n',
        [(4, None, "bad_record"), (5, "3", "empty")],
    ),
    "tsv": (b"\nid\ttext_inputs\n1\tok\n2\t\xff\n", [(4, "2", "bad_record")]),
    "lines": (b"ok\n\n\xff\nok\n", [(3, 1, "bad_record")]),
    "jsonl": (
        b'\n{"id": 1, "text_inputs": "ok"}\n{"id": 2}\n[',
        [(3, 2, "missing_field"), (4, None, "bad_json")],
    ),
}


@pytest.mark.parametrize("format_", BAD_FILES)
@pytest.mark.parametrize("ending", ["jsonl", "csv.gz"])
def test_errors_say_the_line_on_which_their_row_begins(tmp_path, format_, ending):
    data, expected = BAD_FILES[format_]
    (tmp_path / "in").write_bytes(data)
    output = tmp_path / f"out.{ending}"
    ran = echo(tmp_path / "in", "-o", output, "--input-format", format_)
    assert ran.code == 3, ran.err
    errors = read_lines(tmp_path / f"{output.name.removesuffix('.jsonl')}.errors.jsonl")
    assert [(error["line"], error["id"], error["code"]) for error in errors] == expected


def test_rows_of_parquet_are_counted_from_one(tmp_path):
    rows = {"id": [7, 8, 7], "text_inputs": ["ok", "", "ok"]}
    pq.write_table(pa.table(rows), tmp_path / "in.parquet")
    assert echo(tmp_path / "in.parquet", "-o", tmp_path / "out.parquet").code == 3
    errors = read_lines(tmp_path / "out.parquet.errors.jsonl")
    assert [(e["line"], e["id"], e["code"]) for e in errors] == [
        (2, 8, "empty"),
        (3, 7, "duplicate_id"),
    ]
    assert pq.read_table(tmp_path / "out.parquet")["id"].to_pylist() == [7]


REFUSED = {
    "plain lines out": (("in.csv", "-o", "out.txt"), "may hold line ends"),
    "unknown input format": (("in.csv", "-o", "o.jsonl", "--input-format", "xml"), "jsonl, csv"),
    "unknown output format": (("in.csv", "-o", "o.jsonl", "--format", "lines"), "jsonl, csv"),
    "no Parquet": (("in.csv", "-o", "o.jsonl", "--input-format", "parquet"), "no Parquet file"),
    "keep in answers": (("requests.jsonl", "-o", "o.jsonl", "--keep", "model"), "no room"),
    "requests and rows": (("requests.jsonl", "in.csv", "-o", "o.jsonl"), "one file"),
    "id of requests": (("requests.jsonl", "-o", "o.csv", "--id", "@ordinal"), "custom_id"),
    "id of lines": (
        ("in.csv", "-o", "o.jsonl", "--input-format", "lines", "--id", "k"),
        "numbered",
    ),
    "name of ours": (("in.csv", "-o", "o.tsv", "--keep", "generated_text"), "one of its own"),
    "Parquet in gzip": (("in.parquet.gz", "-o", "o.jsonl"), "compressed Parquet"),
    "header": (("in.csv", "header.csv", "-o", "o.jsonl"), "header.csv: the first row"),
    "cut gzip": (("in.csv", "cut.csv.gz", "-o", "o.jsonl"), "cut.csv.gz is cut off"),
    "damaged gzip": (("in.csv", "bad.csv.gz", "-o", "o.jsonl"), "bad.csv.gz is damaged"),
    "cut zstd": (("in.csv", "cut.csv.zst", "-o", "o.jsonl"), "cut.csv.zst is cut off"),
    "cut Parquet": (("in.csv", "cut.parquet", "-o", "o.jsonl"), "cut.parquet is no whole Parquet"),
}


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A folder with one good file of CSV, one of requests, and many that cannot be read."""
    folder = tmp_path_factory.mktemp("damaged")
    many = [{"id": n, "text_inputs": f"text {n} {n * n}"} for n in range(2000)]
    plain = write_input(folder, "csv", many).read_bytes()
    parquet = write_input(folder, "parquet", many).read_bytes()
    for path in folder.iterdir():
        path.unlink()
    packed = gzip.compress(plain)
    middle = len(packed) // 2
    files = {
        "in.csv": b"id,text_inputs\n1,fine\n",
        "requests.jsonl": json.dumps(chat_request(ROWS[0])).encode() + b"\n",
        "header.csv": b"id,id\n1,2\n",
        "in.parquet.gz": gzip.compress(parquet),
        "cut.csv.gz": packed[:-40],
        "bad.csv.gz": packed[:middle] + bytes(8) + packed[middle + 8 :],
        "cut.csv.zst": zstandard.compress(plain)[:-40],
        "cut.parquet": parquet[:-40],
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_before_any_work(damaged, case):
    arguments, message = REFUSED[case]
    before = sorted(damaged.iterdir())
    ran = echo(*arguments, cwd=damaged)
    assert (ran.code, message in ran.err) == (2, True), ran.err
    assert ran.err.startswith("error: ")
    assert sorted(damaged.iterdir()) == before


FOREIGN = {
    "in.jsonl.xz": (lzma.compress(b"{}"), "compressed with xz", "decompress it"),
    "in.csv.bz2": (bz2.compress(b"id"), "compressed with bzip2", "decompress it"),
    "in.zip": (b"PK\x03\x04" + bytes(30), "a zip archive", "unpack it"),
    "in.png": (b"\x89PNG\r\n\x1a\n" + bytes(30), "an image", "JSON Lines"),
    "in.jsonl": (bytes(range(256)), "binary", "NUL"),
    "in.txt": ("text".encode("utf-16"), "UTF-16", "iconv"),
}


@pytest.mark.parametrize(
    ("name", "data"),
    {
        "in.csv": b"id,text_inputs\n"
        + b"".join(b"%d,a text\n" % n for n in range(9))
        + b"10,a\0b\n",
        "in.txt": b"a word of text\n" * 10 + b"a\0b\n",
        "in.jsonl": b'\xef\xbb\xbf{"id": 1, "text_inputs": "a"}\n\0\0\0\0\n',
    }.items(),
)
def test_a_stray_nul_hurts_no_other_row(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    ran = textmill("run", tmp_path / name, "-o", tmp_path / "out.jsonl", "--engine", "echo")
    rows = data.count(b"\n") - (name == "in.csv")
    assert (ran.code, f"rows {rows} = " in ran.out) == (3 if name == "in.jsonl" else 0, True)


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_that_holds_no_rows_is_refused_by_what_it_is(tmp_path, name):
    """Before the model is sought: there is none of this name."""
    data, what, hint = FOREIGN[name]
    (tmp_path / name).write_bytes(data)
    ran = textmill("run", tmp_path / name, "-o", tmp_path / "out.jsonl", "--model", "no-such")
    assert ran.code == 2
    assert name in ran.err
    assert what in ran.err
    assert hint in ran.err
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "mark", "said"),
    [
        ("in.csv", ";", "separated by semicolons"),
        ("in.csv", "\t", "--input-format tsv"),
        ("in.tsv", ",", "--input-format csv"),
        ("in.tsv", "|", "separated by bars"),
    ],
)
def test_a_table_with_another_separator_is_refused_before_the_model_is_sought(
    tmp_path, name, mark, said
):
    source = tmp_path / name
    source.write_text(f"id{mark}text_inputs\n1{mark}a\n")
    ran = textmill("run", source, "-o", tmp_path / "out.jsonl", "--model", "no-such")
    assert (ran.code, said in ran.err) == (2, True), ran.err
    source.write_text(f"a{mark}b\n1\n")  # a name may hold anything
    ran = echo(source, "-o", tmp_path / "out.jsonl", "--id", f"a{mark}b")
    assert (ran.code, "(the text)" in ran.err) == (2, True)


@pytest.mark.parametrize("name", ["o.jsonl.bz2", "o.foo", "o.csv.xz", "o.xlsx"])
def test_an_output_of_an_unknown_ending_needs_a_format(tmp_path, name):
    source = write_input(tmp_path, "jsonl", ROWS)
    ran = echo(source, "-o", tmp_path / name)
    assert (ran.code, "--format" in ran.err) == (2, True)
    assert echo(source, "-o", tmp_path / name, "--format", "csv").code == 0
    assert (tmp_path / name).read_text().startswith("id,generated_text")


@pytest.mark.parametrize("name", ["e.parquet.gz", "e.parquet.zst", "e.gz"])
def test_parquet_is_never_compressed_as_a_whole(tmp_path, name):
    source = write_input(tmp_path, "jsonl", ROWS)
    ran = echo(source, "-o", tmp_path / name, "--format", "parquet")
    assert (ran.code, "Parquet compresses its pages itself" in ran.err) == (2, True)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("input_format", ["jsonl", "csv", "parquet", "lines"])
@pytest.mark.parametrize("flags", [("--keep", "titel"), ("--prompt", "{titel}: {text_inputs}")])
def test_a_column_that_no_row_has_is_noticed_before_the_model_is_sought(
    tmp_path, input_format, flags
):
    source = write_input(tmp_path, input_format, PLAIN)
    output = tmp_path / "out.jsonl"
    ran = textmill("run", source, "-o", output, "--model", "no-such", *flags)
    assert ran.code == 2
    assert 'no row has the column "titel"' in ran.err
    assert '"text_inputs"' in ran.err
    dry = textmill("run", source, "-o", output, "--model", "no-such", "--dry-run", *flags)
    assert (dry.code, dry.err) == (2, ran.err)


@pytest.mark.parametrize("input_format", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize(
    ("rows", "flags", "said"),
    [
        (ROWS, ("--id", "nope"), '"nope" (--id nope)'),
        ([{"no": 1, "text_inputs": "t"}], (), '"id" (--id id)'),
        ([{"id": 1, "body": "t"}], (), '--prompt "Summarize: {body}"'),
    ],
    ids=["another id", "no id", "no text"],
)
def test_rows_without_an_id_or_a_text_are_refused_before_the_model_is_sought(
    tmp_path, input_format, rows, flags, said
):
    source = tmp_path / f"in.{input_format}"
    if input_format == "jsonl":
        write_lines(source, *rows)
    elif input_format == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), source)
    else:
        lines = [",".join(rows[0]), *(",".join(f'"{n}"' for n in row) for row in rows)]
        source.write_text("\n".join(lines) + "\n")
    ran = textmill("run", source, "-o", tmp_path / "out.jsonl", "--model", "no-such", *flags)
    assert (ran.code, said in ran.err, "there are: " in ran.err) == (2, True, True), ran.err


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("id,text_inputs\n1,a\n2,b\n", "--input-format csv"),
        ("id\ttext_inputs\n1\ta\n", "--input-format tsv"),
        ("first text\nsecond text\n", "--input-format csv, tsv or lines"),
        ('[{"id": 1, "text_inputs": "a"}]', "jq -c '.[]'"),
        ('[\n  {"id": 1, "text_inputs": "a"}\n]\n', "jq -c '.[]'"),
        ('{\n  "id": 1, "text_inputs": "a"\n}\n', "jq -c ."),
    ],
    ids=["csv", "tsv", "lines", "array", "array over lines", "object over lines"],
)
def test_another_format_on_standard_input_is_refused_with_what_to_do(tmp_path, data, said):
    ran = echo("-", "-o", tmp_path / "out.jsonl", stdin=data.encode())
    assert (ran.code, said in ran.err) == (2, True), ran.err
    assert "standard input is not JSON Lines" in ran.err
    assert list(tmp_path.iterdir()) == []


def test_damaged_lines_of_json_are_rows_of_their_own_even_if_there_are_no_others(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", b'{"id": 1, "text_inputs": ', b'{"id": 2}x')
    assert echo(source, "-o", tmp_path / "out.jsonl").code == 3
    assert "invalid 2" in textmill("status", tmp_path / "out.jsonl").out


def test_a_table_with_another_separator_and_other_columns_is_told_so(tmp_path):
    source = tmp_path / "in.csv"
    source.write_text("number;body\n1;a\n")
    ran = echo(source, "-o", tmp_path / "out.jsonl")
    assert (ran.code, "separated by semicolons" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ('"abc', "never closed\n"),
        ('"abc\nx\n', "takes in the 1 line after"),
        ('"a\nx\ny', "2 lines"),
    ],
)
def test_an_open_quote_says_how_many_lines_it_takes_in(tmp_path, end, said):
    (tmp_path / "in.csv").write_text(f"id,text_inputs\n1,a\n2,{end}")
    ran = echo(tmp_path / "in.csv", "-o", tmp_path / "out.jsonl")
    assert "line 3, bad_record: the quote that opens on line 3 is never closed" in ran.out
    assert said in ran.out


def test_blank_lines_are_no_rows_in_any_total(tmp_path):
    for name, text in {
        "in.jsonl": '\n{"id": 1, "text_inputs": "a"}\n\n \t\r\n\n{"id": 2, "text_inputs": "b"}\n\n',
        "in.csv": "\nid,text_inputs\n\n1,a\n\n2,b\n \n",
        "in.txt": "one\n\n\ntwo\n",
    }.items():
        (tmp_path / name).write_text(text, newline="")
        output = tmp_path / f"{name}.out.jsonl"
        dry = echo(tmp_path / name, "-o", output, "--dry-run")
        assert "for 2 rows" in dry.out, dry.out
        assert echo(tmp_path / name, "-o", output).code == 0
        manifest = json.loads(output.with_suffix(".manifest.json").read_bytes())
        assert manifest["inputs"][0]["rows"] == 2


def test_a_column_that_some_rows_of_some_file_have_is_no_mistake(tmp_path):
    first = write_lines(tmp_path / "1.jsonl", {"id": 1, "text_inputs": "a"})
    second = write_lines(tmp_path / "2.jsonl", {"id": 2, "text_inputs": "b", "note": "n"}, b"{")
    output = tmp_path / "out.jsonl"
    ran = echo(first, second, "-o", output, "--keep", "note")
    assert ran.code == 3
    assert [row.get("note") for row in read_lines(output)] == [None, "n"]
    nested = write_lines(tmp_path / "3.jsonl", {"id": 3, "author": {"name": "N"}})
    assert echo(nested, "-o", output, "--fresh", "--prompt", "{author.name}").code == 0


def test_damage_within_one_of_several_files_is_told_with_file_and_row_group(tmp_path):
    for name, first in (("a", 0), ("b", 2_000)):
        ids = list(range(first, first + 2_000))
        texts = [f"text number {n}" for n in ids]
        table = pa.table({"id": ids, "text_inputs": texts})
        pq.write_table(table, tmp_path / f"{name}.parquet", row_group_size=500, compression="zstd")
    damaged = tmp_path / "b.parquet"
    column = pq.ParquetFile(damaged).metadata.row_group(2).column(1)
    start = column.dictionary_page_offset + 30
    data = bytearray(damaged.read_bytes())
    data[start : start + 100] = bytes(100)
    damaged.write_bytes(data)
    ran = echo(tmp_path / "a.parquet", damaged, "-o", tmp_path / "out.jsonl")
    assert ran.code == 2
    assert f"{damaged}, row group 3 of 4 (rows 1,001 to 1,500) is damaged" in ran.err
    assert "a.parquet" not in ran.err
    assert "fetch or make it again" in ran.err
    assert not (tmp_path / "out.jsonl").exists()
