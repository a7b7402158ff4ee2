"""`textmill run` with filters and joins, as a process on the echo engine."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support import openai_server
from support.command import kill, read_lines, start_run, textmill, wait_for_parts, write_lines
from support.job_files import chat_request
from support.openai_server import turned

ROWS = [
    {"id": n, "meta": {"n": [n, 2 * n], "é": "ü"}, "body": {"text_inputs": f"text {n % 3}"}}
    for n in range(7)
]
JOIN = ("--join", "input", "--input-filter", "$.body")
PICKED = ("--output-filter", "$['id','SageMakerOutput']")


def echo(tmp_path, *flags, rows=ROWS, name="out.jsonl"):
    source = write_lines(tmp_path / "in.jsonl", *rows)
    return textmill("run", source, "-o", tmp_path / name, "--engine", "echo", *flags)


def manifest(output):
    return json.loads(output.with_name(f"{output.stem}.manifest.json").read_bytes())


def joined(rows=ROWS):
    """What SageMaker's join makes of the rows."""
    return [
        {**row, "SageMakerOutput": {"generated_texts": [row["body"]["text_inputs"]]}}
        for row in rows
    ]


def test_a_join_writes_every_row_whole_with_its_own_result(tmp_path):
    """Rows with equal texts are computed once, and joined to themselves."""
    ran = echo(tmp_path, *JOIN)
    assert ran.code == 0, ran.err
    assert read_lines(tmp_path / "out.jsonl") == joined()
    found = manifest(tmp_path / "out.jsonl")
    assert (found["counts"]["copied"], found["run"]["requests"]) == (4, 3)
    assert (found["join"], found["input_filter"], found["output_filter"]) == (True, "$.body", None)
    assert not any("not used" in warning for warning in found["warnings"])


def test_the_rows_bytes_are_kept(tmp_path):
    row = b'{"b" : 1.50, "id":1e2,"text_inputs":"\\u0061", "c": [ ] }'
    assert echo(tmp_path, "--join", "input", rows=[row]).code == 0
    assert (tmp_path / "out.jsonl").read_bytes() == (
        b'{"b" : 1.50, "id":1e2,"text_inputs":"\\u0061", "c": [ ],'
        b' "SageMakerOutput": {"generated_texts": ["a"]}}\n'
    )


def test_an_output_filter_chooses_what_is_written(tmp_path):
    assert echo(tmp_path, *JOIN, *PICKED).code == 0
    assert read_lines(tmp_path / "out.jsonl") == [
        {"id": row["id"], "SageMakerOutput": row["SageMakerOutput"]} for row in joined()
    ]
    first = ("--input-filter", "$.body", "--output-filter", "$.generated_texts[0]")
    assert echo(tmp_path, *first, name="texts.jsonl").code == 0
    assert read_lines(tmp_path / "texts.jsonl") == [f"text {n % 3}" for n in range(7)]
    verified = textmill("status", tmp_path / "texts.jsonl", "--verify")
    assert (verified.code, "7 rows" in verified.out) == (0, True), verified.out


def test_filters_without_a_join_keep_columns_as_ever(tmp_path):
    flags = ("--input-filter", "$.body", "--keep", "meta")
    assert echo(tmp_path, *flags).code == 0
    assert read_lines(tmp_path / "out.jsonl")[1] == {
        "id": 1,
        "meta": ROWS[1]["meta"],
        "generated_texts": ["text 1"],
    }
    assert echo(tmp_path, *flags, "--output-filter", "$.meta.n[-1]", name="n.jsonl").code == 0
    assert read_lines(tmp_path / "n.jsonl") == [2 * n for n in range(7)]


def test_rows_that_are_no_objects(tmp_path):
    rows = [["k", "first"], ["l", "second"]]
    flags = ("--id", "@ordinal", "--input-filter", "$[1]", "--join", "input")
    assert echo(tmp_path, *flags, rows=rows).code == 0
    assert read_lines(tmp_path / "out.jsonl") == [
        {"SageMakerInput": row, "SageMakerOutput": {"generated_texts": [row[1]]}} for row in rows
    ]


def test_a_result_without_what_the_output_filter_wants_is_an_error_row(tmp_path):
    """Also where it repeats one: copies are filtered for themselves, and the counts add up."""
    rows = [{**row, "tags": ["x"] * (row["id"] % 2)} for row in ROWS]
    ran = echo(tmp_path, *JOIN, "--output-filter", "$.tags[0]", rows=rows)
    assert ran.code == 3, ran.err
    assert "rows 7 = ok 3 + failed 0 + invalid 4" in ran.out
    assert read_lines(tmp_path / "out.jsonl") == ["x"] * 3
    errors = read_lines(tmp_path / "out.errors.jsonl")
    assert [(e["id"], e["line"]) for e in errors] == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert all("output filter" in error["message"] for error in errors)
    found = manifest(tmp_path / "out.jsonl")
    assert found["run"]["requests"] == 3
    assert echo(tmp_path, *JOIN, "--output-filter", "$.tags[0]", rows=rows).code == 3
    assert textmill("status", tmp_path / "out.jsonl", "--verify").code == 3


def test_a_row_without_what_the_input_filter_wants_is_an_error_row(tmp_path):
    rows = [*ROWS[:2], {"id": "no body"}, {"id": "a list", "body": ["t"]}]
    ran = echo(tmp_path, *JOIN, rows=rows)
    assert ran.code == 3, ran.err
    assert read_lines(tmp_path / "out.jsonl") == joined(ROWS[:2])
    errors = read_lines(tmp_path / "out.errors.jsonl")
    assert [(e["id"], e["line"]) for e in errors] == [("no body", 3), ("a list", 4)]
    assert all("input filter" in error["message"] for error in errors)


def test_tables_are_joined_as_objects_of_their_columns(tmp_path):
    (tmp_path / "in.csv").write_text('id,text_inputs,more\n1,same,"a ""b"""\n2,same,\n')
    table = {"id": [1, 2], "text_inputs": ["same"] * 2, "more": pa.array([1.5, None])}
    pq.write_table(pa.table(table), tmp_path / "in.parquet")
    expected = {
        "csv": [("1", 'a "b"'), ("2", "")],
        "parquet": [(1, 1.5), (2, None)],
    }
    for kind, rows in expected.items():
        output = tmp_path / f"{kind}.jsonl"
        run = ("run", tmp_path / f"in.{kind}", "-o", output, "--engine", "echo")
        ran = textmill(*run, "--join", "input")
        assert ran.code == 0, ran.err
        made = {"generated_texts": ["same"]}
        assert read_lines(output) == [
            {"id": id_, "text_inputs": "same", "more": more, "SageMakerOutput": made}
            for id_, more in rows
        ]


def test_sampling_and_looking_first(tmp_path):
    dry = echo(tmp_path, *JOIN, *PICKED, "--dry-run")
    assert (dry.code, "    text 2\n" in dry.out) == (0, True), dry.out
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    assert echo(tmp_path, *JOIN, "--sample", "4").code == 0
    assert read_lines(tmp_path / "out.jsonl") == joined(ROWS[:4])


def test_no_join_is_no_join(tmp_path):
    assert echo(tmp_path, "--input-filter", "$.body", "--join", "none", name="out.csv").code == 0
    assert (tmp_path / "out.csv").read_text().splitlines()[1] == "0,text 0,"


REFUSED = {
    "join into a table": (("--join", "input"), "out.csv", "into the table with --keep"),
    "filter into Parquet": (("--output-filter", "$.id"), "out.parquet", "parquet cannot hold"),
    "keep with a join": (("--join", "input", "--keep", "meta"), "out.jsonl", "nothing to keep"),
    "another join": (("--join", "output"), "out.jsonl", "only the input to join"),
    "no path": (("--input-filter", "body"), "out.jsonl", "$"),
    "beyond the subset": (("--output-filter", "$..id"), "out.jsonl", "character"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_before_any_work(tmp_path, case):
    flags, name, message = REFUSED[case]
    ran = echo(tmp_path, *flags, name=name)
    assert (ran.code, message in ran.err) == (2, True), ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize("flags", [("--join", "input"), ("--input-filter", "$")], ids=str)
def test_requests_and_lines_have_no_columns_to_filter(tmp_path, flags):
    requests = write_lines(
        tmp_path / "requests.jsonl", chat_request({**ROWS[0], "text_inputs": "t"})
    )
    lines = tmp_path / "lines.txt"
    lines.write_text("a text\n")
    for source in (requests, lines):
        ran = textmill("run", source, "-o", tmp_path / "o.jsonl", "--engine", "echo", *flags)
        assert (ran.code, "rows with columns" in ran.err) == (2, True), ran.err


def test_another_filter_is_another_job(tmp_path):
    assert echo(tmp_path, *JOIN, *PICKED).code == 0
    assert echo(tmp_path, *JOIN, *PICKED).out.startswith("already complete:")
    ran = echo(tmp_path, *JOIN)
    assert (ran.code, "output_filter: was" in ran.err) == (2, True), ran.err


def test_a_killed_join_resumes_to_the_same_bytes(tmp_path):
    """Copies of texts that were computed before the kill get their own row and filter."""
    rows = [
        {"id": n, "body": {"text_inputs": f"text {n % 15_000}"}, "x": [n] * (n % 3 + 1)}
        for n in range(30_000)
    ]
    source = write_lines(tmp_path / "in.jsonl", *rows)
    flags = (*JOIN, "--output-filter", "$['id','x','SageMakerOutput']")
    output = tmp_path / "out.jsonl"
    for windows in (2, 6):
        process = start_run(source, output, *flags)
        wait_for_parts(process, output, windows)
        kill(process)
    ran = textmill("run", source, "-o", output, "--engine", "echo", *flags)
    assert ran.code == 0, ran.err
    assert read_lines(output) == [
        {
            "id": row["id"],
            "x": row["x"],
            "SageMakerOutput": {"generated_texts": [row["body"]["text_inputs"]]},
        }
        for row in rows
    ]
    assert manifest(output)["run"]["resumed_rows"] > 0
    assert manifest(output)["counts"]["copied"] == 15_000


def test_failed_rows_of_a_join_are_retried(tmp_path):
    """Of a job that was complete, so its lines have to be read as what they are."""
    with openai_server.running() as server:
        server.fault_of = lambda seen: openai_server.reply(400) if "1" in seen.text else None
        source = write_lines(tmp_path / "in.jsonl", *ROWS)
        output = tmp_path / "out.jsonl"
        run = ("run", source, "-o", output, "--model", server.url, *JOIN)
        first = textmill(*run, "--output-filter", "$['SageMakerOutput','id']")
        assert (first.code, "ok 5 + failed 2 + invalid 0" in first.out) == (3, True), first.err
        server.fault_of = lambda seen: None
        ran = textmill(*run, "--output-filter", "$['SageMakerOutput','id']", "--retry-failed")
    assert ran.code == 0, ran.err
    assert read_lines(output) == [
        {"SageMakerOutput": {"generated_texts": [turned(f"text {n % 3}")]}, "id": n}
        for n in range(7)
    ]
