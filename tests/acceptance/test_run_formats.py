"""`textmill run` from every format to every format, as a process on the echo engine."""

from __future__ import annotations

import csv
import decimal
import gzip
import json
import uuid
from datetime import UTC, date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import textmill as tm
from support import openai_server
from support.command import kill, read_lines, start_run, textmill, wait_for_parts, write_lines
from support.job_files import (
    INPUTS,
    PLAIN,
    ROWS,
    answers,
    chat_request,
    read_output,
    stored,
    write_input,
)

OUTPUTS = ("jsonl", "csv", "tsv", "openai", "parquet")


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


@pytest.mark.parametrize(
    ("name", "other", "noted"),
    [
        ("o.csv", "6", True),
        ("o.parquet", "6", True),
        ("o.csv", "a", False),
        ("o.csv", 7, False),
        ("o.jsonl", "6", False),
    ],
)
def test_ids_that_only_json_tells_apart_are_noted(tmp_path, name, other, noted):
    source = write_lines(
        tmp_path / "in.jsonl",
        {"id": 6, "text_inputs": "a"},
        {"id": other, "text_inputs": "b"},
    )
    ran = echo(source, "-o", tmp_path / name)
    assert ("some ids are texts, others not" in ran.out) == noted


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
