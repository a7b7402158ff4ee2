"""`textmill score` reads what `textmill run` writes, and tables of other systems."""

from __future__ import annotations

import csv
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import textmill as tm
from support.command import textmill, write_lines
from support.job_files import chat_request, write_input
from textmill.errors import InputError

TEXTS = {1: "a b c", 2: 'd, "e"\nf', 3: "g h i"}
ROWS = [{"id": n, "title": "t", "text_inputs": text} for n, text in TEXTS.items()]
WANTED = [{"id": n, "wanted": text, "lang": "en"} for n, text in TEXTS.items()]
OUTPUTS = ["o.jsonl", "o.csv", "o.tsv", "o.parquet", "o.csv.gz", "o.tsv.zst", "o.jsonl.zst"]


def references(folder, format_):
    path = folder / f"wanted.{format_}"
    if format_ == "jsonl":
        return write_lines(path, *WANTED)
    if format_ == "parquet":
        pq.write_table(pa.Table.from_pylist(WANTED), path)
        return path
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*WANTED[0]], delimiter={"csv": ",", "tsv": "\t"}[format_])
        writer.writeheader()
        writer.writerows(WANTED)
    return path


@pytest.mark.parametrize("wanted", ["jsonl", "csv", "tsv", "parquet"])
@pytest.mark.parametrize("output", OUTPUTS)
def test_any_output_is_scored_against_references_of_any_format(tmp_path, output, wanted):
    """The number 1 of one side is the text "1" of the other where that side is a table of texts."""
    if output.startswith("o.parquet"):
        pytest.importorskip("pyarrow")
    job = tm.run(ROWS, tmp_path / output, engine="echo", keep=["title"])
    scores = tm.score(job.output, references(tmp_path, wanted), ref="wanted", by=["lang"])
    assert (scores.counts.scored, scores.counts.pairs, scores.counts.extra) == (3, 3, 0)
    assert scores.rouge1.value == 1.0


@pytest.mark.parametrize("wanted", ["jsonl", "csv"])
def test_answers_in_openais_format_are_scored_by_their_custom_id(tmp_path, wanted):
    rows = [chat_request({"id": n, "text_inputs": text}) for n, text in TEXTS.items()]
    source = write_lines(tmp_path / "requests.jsonl", *rows)
    tm.run(source, tmp_path / "answers.jsonl", engine="echo")
    named = [{"id": f"request {row['id']}", "wanted": row["wanted"]} for row in WANTED]
    path = write_lines(tmp_path / "wanted.jsonl", *named)
    assert tm.score(tmp_path / "answers.jsonl", path).counts.scored == 3
    refused = {"custom_id": "request 9", "response": None, "error": {"code": "expired"}}
    with (tmp_path / "answers.jsonl").open("a") as file:
        file.write(json.dumps(refused) + "\n")
    write_lines(path, *named, {"id": "request 9", "wanted": "x"})
    counts = tm.score(tmp_path / "answers.jsonl", path).counts
    assert (counts.scored, counts.failed) == (3, 1)


def test_columns_named_custom_id_and_response_are_not_always_answers(tmp_path):
    rows = [{"custom_id": n, "response": text} for n, text in TEXTS.items()]
    source = write_lines(tmp_path / "theirs.jsonl", *rows)
    scores = tm.score(
        source, references(tmp_path, "jsonl"), on="custom_id=id", pred="response", ref="wanted"
    )
    assert scores.rouge1.value == 1.0


def test_rows_that_failed_are_known_from_the_errors_of_a_table(tmp_path):
    rows = [*ROWS[:2], {"id": 3, "text_inputs": ""}]
    job = tm.run(write_lines(tmp_path / "in.jsonl", *rows), tmp_path / "o.csv", engine="echo")
    counts = tm.score(job.output, references(tmp_path, "jsonl"), ref="wanted").counts
    assert (counts.scored, counts.failed, counts.missing) == (2, 1, 0)


def test_several_texts_of_a_table_are_several_texts(tmp_path):
    rows = [{**row, "text_inputs": [row["text_inputs"], "other"]} for row in ROWS[:2]]
    job = tm.run([*rows, ROWS[2]], tmp_path / "o.csv", engine="echo")
    scores = tm.score(job.output, references(tmp_path, "jsonl"), ref="wanted")
    assert scores.rouge1.value == 1.0


def test_an_id_of_a_table_is_its_text_first_and_a_number_else(tmp_path):
    path = write_lines(tmp_path / "w.jsonl", {"id": 7, "t": "x"}, {"id": "007", "t": "y"})
    (tmp_path / "p.csv").write_text("id,text\n007,y\n7,x\n")
    scores = tm.score(tmp_path / "p.csv", path)
    assert (
        scores.counts.scored,
        scores.exact_match.value if "exact_match" in dir(scores) else 1,
    ) == (2, 1)
    write_lines(tmp_path / "p.jsonl", {"id": "7", "text": "x"})
    with pytest.raises(InputError, match="different ids"):
        tm.score(tmp_path / "p.jsonl", path)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.csv", 'id,text\n1,a\n2,"b', "p.csv, line 3: the quote that opens on line 3"),
        ("p.csv", "id,text\n1,a,b\n", "p.csv, line 2: the row has 3 cells, the header 2"),
        ("p.csv", "id;text\n1;a\n", "separated by semicolons"),
        ("p.tsv", "id,text\n1,a\n", "separated by commas"),
        ("p.csv", "id,id\n1,a\n", 'the name "id" is there twice'),
        ("p.csv", b"id,text\n1,caf\xe9\n", "line 2: not UTF-8"),
        ("p.csv", "id,text\n1,a\n".encode("utf-16"), "text in UTF-16"),
        ("p.csv", "no,text\n1,a\n", 'no field "id"; there are "no", "text"'),
        ("p.txt", "id,text\n1,a\n", "CSV and TSV by their names"),
    ],
)
def test_a_table_that_cannot_be_read_whole_is_refused_with_the_line(tmp_path, name, text, said):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as refused:
        tm.score(tmp_path / name, references(tmp_path, "jsonl"), ref="wanted")
    assert said in str(refused.value)


def test_json_lines_are_read_as_such_whatever_their_name(tmp_path):
    rows = [{"id": n, "text": text} for n, text in TEXTS.items()]
    source = write_lines(tmp_path / "results.csv", *rows)
    assert tm.score(source, references(tmp_path, "jsonl"), ref="wanted").counts.scored == 3


def test_the_command_scores_tables_and_a_baseline_of_another_format(tmp_path):
    table = write_input(tmp_path, "csv", ROWS)
    first = textmill("run", table, "-o", "a.tsv", "--engine", "echo", cwd=tmp_path)
    second = textmill("run", table, "-o", "b.parquet", "--engine", "echo", cwd=tmp_path)
    assert (first.code, second.code) == (0, 0)
    wanted = references(tmp_path, "csv")
    (tmp_path / "wanted.csv.gz").write_bytes(gzip.compress(wanted.read_bytes()))
    flags = ("--ref", "wanted", "--baseline", "b.parquet", "--report", "r.html")
    ran = textmill("score", "a.tsv", "wanted.csv.gz", *flags, cwd=tmp_path)
    assert (ran.code, ran.err) == (0, ""), ran.err
    assert "against b.parquet, over 3 records" in ran.out


def test_what_failed_is_told_by_the_id_that_was_named(tmp_path):
    """Predictions of another system, with their failures among them, under an id of its own."""
    predictions = write_lines(
        tmp_path / "p.jsonl",
        {"key": 1, "generated_text": "a b"},
        {"key": 2, "error": "the server was away"},
    )
    references = write_lines(
        tmp_path / "r.jsonl", {"doc": 1, "summary": "a b"}, {"doc": 2, "summary": "c"}
    )
    page = tmp_path / "page.html"
    ran = textmill(
        *("score", predictions, references, "--on", "key=doc", "--ref", "summary"),
        *("--missing", "zero", "--report", page),
    )
    assert ran.code == 0, ran.err
    assert "the server was away" in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "said", "advice"),
    [
        ((".", "r.jsonl"), ". cannot be read: is a directory", "name a file in it"),
        (("p.jsonl", "folder"), "the folder folder has no Parquet files", "name a file in it"),
        (
            ("p.jsonl", "r.jsonl", "--pred", "text", "--baseline", "b.jsonl"),
            'b.jsonl, line 1: no field "text"',
            "name the right one with --baseline-pred",
        ),
        (
            ("p.jsonl", "r.jsonl", "--report", "-"),
            "a report is a file, and goes to no standard output",
            "--report report.html",
        ),
        (
            ("hf://datasets/a/b", "r.jsonl"),
            "is on a hub, where only references may be",
            "name a file of predictions on this machine",
        ),
    ],
)
def test_what_cannot_be_read_is_told_with_what_helps(tmp_path, arguments, said, advice):
    write_lines(tmp_path / "p.jsonl", {"id": 1, "text": "a"})
    write_lines(tmp_path / "b.jsonl", {"id": 1, "out": "a"})
    write_lines(tmp_path / "r.jsonl", {"id": 1, "ref": "a"})
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "r.jsonl").write_bytes(b"")
    ran = textmill("score", *arguments, cwd=tmp_path)
    assert ran.code == 2
    first, hint = ran.err.splitlines()
    assert said in first
    assert advice in hint
