"""`textmill run` from every format to every format, as a process on the echo engine."""

from __future__ import annotations

import bz2
import csv
import decimal
import gzip
import json
import lzma
import uuid
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

import textmill as tm
from support import openai_server
from support.command import kill, read_lines, start_run, textmill, wait_for_parts, write_lines
from support.job_files import answers, chat_request, read_output, stored, write_input

INPUTS = ("jsonl", "csv", "tsv", "lines", "openai", "parquet")
OUTPUTS = ("jsonl", "csv", "tsv", "openai", "parquet")
ROWS = [
    {"id": 1, "title": "One", "text_inputs": "plain"},
    {"id": 2, "title": 'Zwei, "2"', "text_inputs": 'first line\nsecond, "line"\tand a tab'},
    {"id": 3, "title": "", "text_inputs": "ünï 東京 😀"},
]
PLAIN = [{**row, "text_inputs": row["text_inputs"].replace("\n", " ")} for row in ROWS]


def echo(*arguments, **kwargs):
    return textmill("run", *arguments, "--engine", "echo", **kwargs)


def manifest(output):
    stem = output.name.removesuffix(".jsonl")
    return json.loads(output.with_name(f"{stem}.manifest.json").read_bytes())


def ids_as_written(input_format, output_format):
    """The ids that lead back to the rows: lines are numbered, requests have their own."""
    ids = {"lines": [0, 1, 2], "openai": [f"request {row['id']}" for row in ROWS]}
    found = ids.get(input_format, [row["id"] for row in ROWS])
    in_text = input_format in {"csv", "tsv"} or output_format in {"csv", "tsv", "openai"}
    return [str(id_) if in_text else id_ for id_ in found]


def pairs():
    """All pairs; those that say nothing new about either side are for the full suite."""
    for source in INPUTS:
        for output in OUTPUTS:
            telling = source in {"jsonl", output} or output in {"jsonl", "parquet"}
            marks = () if telling else pytest.mark.full
            yield pytest.param(source, output, marks=marks, id=f"{source}-{output}")


@pytest.mark.parametrize(("input_format", "output_format"), list(pairs()))
def test_any_format_becomes_any_other(tmp_path, input_format, output_format):
    """Ids, kept columns and texts are right, whoever reads the output."""
    rows = PLAIN if input_format == "lines" else ROWS
    source = write_input(tmp_path, input_format, rows)
    ending = "jsonl" if output_format == "openai" else output_format
    output = tmp_path / f"out.{ending}"
    has_title = input_format not in {"lines", "openai"} and output_format != "openai"
    keep = ("--keep", "title") if has_title else ()
    ran = echo(source, "-o", output, "--format", output_format, *keep)
    assert (ran.code, ran.err.count("\n")) == (0, 1), ran.err
    titles = [row["title"] if has_title else None for row in rows]
    texts = [[row["text_inputs"]] for row in rows]
    expected = list(zip(ids_as_written(input_format, output_format), titles, texts, strict=True))
    assert read_output(output, output_format) == expected
    written = manifest(output)
    assert (written["output_format"], written["compression"]) == (output_format, "none")
    assert written["versions"]["pyarrow"] == pa.__version__  # what its bytes depend on


@pytest.mark.parametrize("name", ["o.jsonl.gz", "o.csv.zst", "o.tsv.GZ", "o.jsonl.zst"])
def test_a_compressed_output_is_the_same_file_compressed(tmp_path, name):
    source = write_input(tmp_path, "csv", ROWS)
    output = tmp_path / name
    plain = tmp_path / name[: name.rindex(".")]
    assert echo(source, "-o", output, "--keep", "title").code == 0
    assert echo(source, "-o", plain, "--keep", "title").code == 0
    data = output.read_bytes()
    if name.lower().endswith(".gz"):
        assert gzip.decompress(data) == plain.read_bytes()
        assert data[4:8] == bytes(4), "no time stands in it"
    else:
        assert stored(output) == plain.read_bytes()
    compression = {"gz": "gzip", "zst": "zstd"}[name.lower().rpartition(".")[2]]
    assert manifest(output)["compression"] == compression


@pytest.mark.parametrize("name", ["o.jsonl", "o.csv", "o.tsv.gz", "o.parquet", "o.jsonl.zst"])
def test_a_finished_job_is_recognised_in_every_format(tmp_path, name):
    source = write_input(tmp_path, "jsonl", ROWS)
    output = tmp_path / name
    assert echo(source, "-o", output).code == 0
    stamp = output.stat().st_mtime_ns
    again = echo(source, "-o", output)
    assert (again.code, again.out[:17]) == (0, "already complete:")
    assert output.stat().st_mtime_ns == stamp
    other = echo(source, "-o", output, "--keep", "title")
    assert (other.code, "is the output of another job" in other.err) == (2, True)
    retried = echo(source, "-o", output, "--retry-failed")
    assert (retried.code, retried.out[:17]) == (0, "already complete:")
    assert output.stat().st_mtime_ns == stamp
    verified = textmill("status", output, "--verify")
    assert verified.code == 0, verified.out


def test_answers_are_recognised_as_finished_too(tmp_path):
    source = write_input(tmp_path, "openai", ROWS)
    assert echo(source, "-o", tmp_path / "o.jsonl").code == 0
    assert echo(source, "-o", tmp_path / "o.jsonl").out.startswith("already complete:")
    other = echo(source, "-o", tmp_path / "o.jsonl", "--format", "jsonl")
    assert (other.code, 'output_format: was "openai", is "jsonl"' in other.err) == (2, True)


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


def test_inputs_of_several_formats_are_one_job(tmp_path):
    """Every error names its file; ids of lines count on over all inputs."""
    sources = [
        write_input(tmp_path, "jsonl", [ROWS[0]]),
        write_input(tmp_path, "csv", [ROWS[1], {"id": 9, "title": "no text", "text_inputs": ""}]),
        write_input(tmp_path, "parquet", [ROWS[2]]),
        write_input(tmp_path, "lines", [PLAIN[1]]),
    ]
    packed = tmp_path / "more.csv.gz"
    packed.write_bytes(gzip.compress(b'id,text_inputs\n1,"again, but as text"\n'))
    for ending in ("jsonl", "parquet"):
        output = tmp_path / f"out.{ending}"
        ran = echo(*sources, packed, "-o", output)
        assert ran.code == 3, ran.err
        ids = [1, "2", 3, 4, "1"]
        ids = ids if ending == "jsonl" else ["1", "2", "3", "4", "1"]
        assert [row[0] for row in read_output(output, ending)] == ids
        error_file = "out.errors.jsonl" if ending == "jsonl" else "out.parquet.errors.jsonl"
        (error,) = read_lines(tmp_path / error_file)
        assert (error["file"], error["line"], error["code"]) == (str(sources[1]), 4, "empty")


def test_formats_can_be_said(tmp_path):
    data = tmp_path / "in.dat"
    data.write_bytes(write_input(tmp_path, "csv", ROWS).read_bytes())
    unsaid = echo(data, "-o", tmp_path / "unsaid.jsonl")
    assert (unsaid.code, "--input-format csv" in unsaid.err) == (2, True)
    said = ("--input-format", "csv", "--keep", "title", "--format", "tsv")
    assert echo(data, "-o", tmp_path / "out.txt", *said).code == 0
    expected = [(str(row["id"]), row["title"], [row["text_inputs"]]) for row in ROWS]
    assert read_output(tmp_path / "out.txt", "tsv") == expected


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


@pytest.mark.parametrize("format_", INPUTS)
def test_standard_input_in_every_format(tmp_path, format_):
    """What the first bytes do not tell has to be said."""
    data = write_input(tmp_path, format_, PLAIN).read_bytes()
    flags = ("--input-format", format_) if format_ in {"csv", "tsv", "lines"} else ()
    data = gzip.compress(data) if format_ == "tsv" else data
    output = tmp_path / "out.parquet"
    ran = echo("-", "-o", output, *flags, stdin=data)
    assert ran.code == 0, ran.err
    assert [row[2] for row in read_output(output, "parquet")] == [[r["text_inputs"]] for r in PLAIN]
    assert [row[0] for row in read_output(output, "parquet")] == ids_as_written(format_, "parquet")
    if format_ == "parquet":
        assert echo("-", "-o", output, stdin=data).out.startswith("already complete:")


@pytest.mark.parametrize("format_", INPUTS)
def test_a_dry_run_reads_every_format_and_writes_nothing(tmp_path, format_):
    source = write_input(tmp_path, format_, PLAIN)
    ran = echo(source, "-o", tmp_path / "out.csv", "--dry-run")
    assert ran.code == 0, ran.err
    assert PLAIN[1]["text_inputs"].replace("\t", "?") in ran.out
    assert "3 rows\n" in ran.out
    assert list(tmp_path.iterdir()) == [source]


TYPED = {
    "integer": pa.array([1, 2**60], pa.int64()),
    "unsigned": pa.array([1, 2**64 - 1], pa.uint64()),
    "text": pa.array(["007", "x"]),
    "uuid": pa.array([uuid.UUID(int=n).bytes for n in (1, 2)], pa.uuid()),
    "decimal": pa.array([decimal.Decimal("1.10"), decimal.Decimal("-2.00")]),
    "date": pa.array([date(2020, 2, 29), date(1999, 12, 31)]),
    "instant": pa.array(
        [datetime(2020, 1, 1, 5, 30, tzinfo=UTC), datetime(1960, 1, 1, tzinfo=UTC)]
    ),
}


@pytest.mark.parametrize("kind", TYPED)
def test_ids_of_parquet_keep_their_type_and_join(tmp_path, kind):
    ids = TYPED[kind]
    table = pa.table({"key": ids, "text_inputs": ["a", "b"], "n": pa.array([1, None], pa.int8())})
    pq.write_table(table, tmp_path / "in.parquet")
    said = {"id": "key", "keep": "n", "engine": "echo"}
    tm.run(tmp_path / "in.parquet", tmp_path / "out.parquet", **said)
    out = pq.read_table(tmp_path / "out.parquet")
    assert (out.schema.field("id").type, out.schema.field("n").type) == (ids.type, pa.int8())
    assert out["id"].combine_chunks() == ids
    assert out["n"].to_pylist() == [1, None]
    if kind != "uuid":  # pyarrow's join knows no extension types
        joined = table.join(out.select(["id"]), "key", "id", join_type="inner")
        assert sorted(joined["text_inputs"].to_pylist()) == ["a", "b"]


class TestFromPython:
    def test_a_table_is_read_as_its_parquet_file_would_be(self, tmp_path):
        table = pa.table(
            {
                "id": TYPED["decimal"],
                "text_inputs": ["abc", "def"],
                "max_new_tokens": pa.array([None, 2]),
                "unread": pa.array([float("nan"), 1.0]),
                "when": TYPED["instant"],
            }
        )
        said = {"engine": "echo", "keep": ["when"]}
        job = tm.run(table, tmp_path / "table.parquet", **said)
        pq.write_table(table, tmp_path / "in.parquet")
        tm.run(tmp_path / "in.parquet", tmp_path / "file.parquet", **said)
        out = pq.read_table(tmp_path / "table.parquet")
        assert out == pq.read_table(tmp_path / "file.parquet")
        assert out["generated_texts"].to_pylist() == [["abc"], ["de"]]
        assert out["id"].combine_chunks() == TYPED["decimal"]
        assert out["when"].combine_chunks() == TYPED["instant"]
        assert tm.run(table, tmp_path / "table.parquet", **said).already_done
        assert job.counts.ok == 2

    def test_a_value_that_json_cannot_say_is_null_where_it_is_copied(self, tmp_path):
        table = pa.table({"id": [1, 2], "text_inputs": ["a", "b"], "x": [float("nan"), 0.5]})
        job = tm.run(table, tmp_path / "out.jsonl", engine="echo", keep=["x"])
        assert [row["x"] for row in job.results] == [None, 0.5]
        (note,) = job.manifest["warnings"]
        assert note.startswith('no JSON for 1 value of the column "x"')
        job = tm.run(table, tmp_path / "by.jsonl", engine="echo", prompt="{x}")
        assert [(e.line, e.id, e.code) for e in job.failures] == [(1, 1, "bad_record")]

    def test_a_table_of_a_type_without_parquet_is_refused(self, tmp_path):
        odd = pa.array([(1, 2, 3)], pa.month_day_nano_interval())
        table = pa.table({"id": [1], "text_inputs": ["a"], "odd": odd})
        with pytest.raises(tm.UsageError, match="cannot be read as Parquet"):
            tm.run(table, tmp_path / "out.jsonl", engine="echo")
        assert list(tmp_path.iterdir()) == []

    def test_dicts_go_into_every_format(self, tmp_path):
        for format_ in ("csv", "parquet", "openai"):
            output = tmp_path / f"out.{format_}"
            job = tm.run(ROWS, output, engine="echo", format=format_)
            assert job.counts.ok == 3
            assert [texts for _, _, texts in read_output(output, format_)] == [
                [row["text_inputs"]] for row in ROWS
            ]

    def test_results_are_read_where_they_are_lines(self, tmp_path):
        job = tm.run(ROWS, tmp_path / "out.jsonl.gz", engine="echo")
        assert [row["id"] for row in job.results] == [1, 2, 3]
        table = tm.run(ROWS, tmp_path / "out.csv", engine="echo")
        with pytest.raises(tm.UsageError, match="csv"):
            next(table.results)


def test_requests_have_parameters_of_their_own_and_fail_alone(tmp_path):
    completion = {
        "custom_id": "two prompts",
        "url": "/v1/completions",
        "body": {"prompt": ["first", "second"], "n": 2, "num_beams": 2},
    }
    requests = [
        chat_request({"id": 1, "text_inputs": "abcdef"}, max_tokens=3),
        chat_request({"id": 2, "text_inputs": "abcdef"}),
        chat_request({"id": 3, "text_inputs": "abcdef"}, temperature=0.7),
        chat_request({"id": 4, "text_inputs": "abcdef"}, stream=True),
        chat_request({"id": 1, "text_inputs": "again"}),
        completion,
    ]
    source = write_lines(tmp_path / "requests.jsonl", *requests)
    ran = echo(source, "-o", tmp_path / "answers.jsonl", "--set", "max_new_tokens=5")
    assert ran.code == 3, ran.err
    short, plain, both = read_lines(tmp_path / "answers.jsonl")
    assert [answers(row) for row in (short, plain)] == [["abc"], ["abcde"]]
    assert answers(both) == ["first", "first", "secon", "secon"]
    body = short["response"]["body"]
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"] == {"prompt_tokens": 6, "completion_tokens": 3, "total_tokens": 9}
    assert (body["object"], short["response"]["status_code"]) == ("chat.completion", 200)
    assert (both["response"]["body"]["object"], both["error"]) == ("text_completion", None)
    errors = read_lines(tmp_path / "answers.errors.jsonl")
    assert [(e["id"], e["line"], e["code"]) for e in errors] == [
        ("request 3", 3, "bad_parameter"),
        ("request 4", 4, "bad_parameter"),
        ("request 1", 5, "duplicate_id"),
    ]
    assert "stream" in errors[1]["message"]
    assert echo(source, "-o", tmp_path / "answers.csv", "--set", "max_new_tokens=5").code == 3
    texts = [row[2] for row in read_output(tmp_path / "answers.csv", "csv")]
    assert texts == [["abc"], ["abcde"], ["first", "first", "secon", "secon"]]


def test_columns_named_like_parameters_are_parameters_in_tables(tmp_path):
    source = tmp_path / "in.csv"
    with source.open("w", newline="") as file:
        rows = [["id", "text_inputs", "max_new_tokens"], ["a", "abcdef", 2], ["b", "abcdef", ""]]
        csv.writer(file).writerows(rows)
    assert echo(source, "-o", tmp_path / "out.jsonl", "--set", "max_new_tokens=4").code == 0
    texts = [row["generated_texts"] for row in read_lines(tmp_path / "out.jsonl")]
    assert texts == [["ab"], ["abcd"]]


def test_a_kept_column_may_have_any_name_though_rows_repeat(tmp_path):
    rows = [{"id": n, "text_inputs": "same", "finish_reasons": f"mine {n}"} for n in range(3)]
    source = write_lines(tmp_path / "in.jsonl", *rows)
    assert echo(source, "-o", tmp_path / "out.jsonl", "--keep", "finish_reasons").code == 0
    assert read_lines(tmp_path / "out.jsonl") == [
        {"id": n, "finish_reasons": f"mine {n}", "generated_texts": ["same"]} for n in range(3)
    ]


KILLED = {
    "csv": ("jsonl", "out.csv", ("--keep", "title")),
    "parquet": ("parquet", "out.parquet", ("--keep", "title")),
    "answers": ("openai", "out.jsonl", ()),
    "gzip": ("csv", "out.jsonl.gz", ("--keep", "title")),
    "zstd": ("lines", "out.tsv.zst", ()),
}


@pytest.mark.parametrize("case", [*list(KILLED)[:-1], pytest.param("zstd", marks=pytest.mark.full)])
def test_a_killed_job_resumes_to_the_same_bytes(tmp_path, case):
    """Equal texts are there as well: every third row repeats one far before it."""
    input_format, name, flags = KILLED[case]
    rows = [
        {"id": n, "title": f"Title {n}", "text_inputs": f"text {n % 20_000} " + "x" * (n % 40)}
        for n in range(30_000)
    ]
    source = write_input(tmp_path, input_format, rows)
    (tmp_path / "whole").mkdir()
    output, whole = tmp_path / name, tmp_path / "whole" / name
    assert echo(source, "-o", whole, *flags).code == 0
    for windows in (2, 6):
        process = start_run(source, output, *flags)
        wait_for_parts(process, output, windows)
        kill(process)
        assert not output.exists()
    ran = echo(source, "-o", output, *flags)
    assert ran.code == 0, ran.err
    assert output.read_bytes() == whole.read_bytes()
    assert manifest(output)["run"]["resumed_rows"] > 0
    assert manifest(output)["counts"] == manifest(whole)["counts"]


@pytest.fixture
def server():
    with openai_server.running() as state:
        yield state


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out.jsonl.gz"])
def test_failed_rows_are_retried_where_the_results_are_lines(tmp_path, server, name):
    """A table cannot be opened again: this is said, and the table stays as it is."""
    server.fault_of = lambda seen: openai_server.reply(400) if "two" in seen.text else None
    source = write_lines(
        tmp_path / "in.jsonl", *({"id": n, "text_inputs": n} for n in ("one", "two", "three"))
    )
    output = tmp_path / name
    run = ("run", source, "-o", output, "--model", server.url)
    assert textmill(*run).code == 3
    before = output.read_bytes()
    server.fault_of = lambda seen: None
    ran = textmill(*run, "--retry-failed")
    if name == "out.jsonl.gz":
        assert ran.code == 0, ran.err
        assert [row[0] for row in read_output(output, "jsonl")] == ["one", "two", "three"]
    else:
        assert (ran.code, "only a job with results as JSON Lines" in ran.err) == (2, True), ran.err
        assert output.read_bytes() == before
        assert not (tmp_path / f"{name}.job").exists()


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
        assert manifest(output)["inputs"][0]["rows"] == 2


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
