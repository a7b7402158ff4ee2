"""What a report reads, says and refuses; how it looks is seen in tests/acceptance."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading

import pytest

import textmill
from support.command import read_lines, write_lines
from support.command import textmill as command
from support.evaluation import demo
from support.jobs import rows_of, run_job
from textmill.engines.echo import EchoEngine
from textmill.errors import OutputError
from textmill.evaluation.results import Comparison
from textmill.evaluation.verdict import verdict
from textmill.report.speed import speed_section
from textmill.report.values import job_of
from textmill.storage.memory import MemoryStore
from textmill.testing.engines import PoisonEngine


@pytest.fixture
def job(tmp_path):
    """A finished job of 12 rows, 9 of which have a result."""
    rows = [{"id": n, "text_inputs": f"text {n} " * 5} for n in range(9)]
    rows += [{"id": n, "text_inputs": 7} for n in range(9, 12)]
    write_lines(tmp_path / "in.jsonl", *rows, b"{")
    textmill.run(tmp_path / "in.jsonl", tmp_path / "out.jsonl", engine="echo")
    write_lines(tmp_path / "ref.jsonl", *[{"id": n, "ref": f"text {n}"} for n in range(13)])
    return tmp_path


def scored(job, **options):
    textmill.score(job / "out.jsonl", job / "ref.jsonl", report=job / "r.html", **options)
    return re.sub(r"<[^>]*>", "", (job / "r.html").read_text("utf-8").partition("<body>")[2])


def test_the_manifest_says_how_fast_a_run_was_and_how_long_its_texts_are(job):
    manifest = json.loads((job / "out.manifest.json").read_text())
    timeline = manifest["run"]["timeline"]
    assert sum(timeline["rows"]) == 13
    assert sum(timeline["tokens"]) == sum(
        manifest["counts"][name] for name in ("input_tokens", "output_tokens")
    )
    lengths = manifest["lengths"]
    assert lengths["rows"] == sum(lengths["input"]["counts"]) == 9
    assert lengths["input"]["max"] == lengths["output"]["max"] == len("text 0 ") * 5


def test_the_page_of_a_job_has_its_batches_over_time_and_what_broke_into_it():
    """Memory runs out for one row and all beside it; a run before ended early."""
    engine = PoisonEngine(EchoEngine(), lambda request: request.ordinal == 1, error=MemoryError())
    store, rows = MemoryStore(), rows_of([f"text number {n}" for n in range(50)])

    def full(progress):
        if progress.rows:
            raise OutputError("the disk is full")

    with pytest.raises(OutputError, match="full"):
        run_job(store, rows, on_progress=full)
    manifest = run_job(store, rows, engine)
    found = manifest["run"]
    timeline = found["timeline"]
    assert sum(timeline["batches"]) == found["batches"]
    assert sum(timeline["requests"]) == found["requests"]
    assert sum(timeline["shrunk"]) == found["events"]["shrunk"] > 0
    assert sum(timeline["padded_tokens"]) > sum(timeline["requests"])
    assert [one["rows"] for one in found["earlier"]] == [found["resumed_rows"]] != [0]
    page = str(speed_section(job_of(manifest).run).element())
    for words in ("Texts per batch", "Tokens, with padding, per batch", "Earlier runs of the job"):
        assert words in page
    assert "Dashed: memory ran out, and batches were smaller from then on: " in page
    assert page.count('class="target"') == 4


def test_scores_of_a_job_show_its_counts_and_why_references_have_no_prediction(job):
    page = scored(job)
    assert "Verified: out.jsonl has the SHA-256 that its manifest says." in page
    assert "bad_record 3" in page
    assert page.count("text_inputs is 7, not a string or a list of them") == 3
    assert "There is no row with this id among the predictions." in page
    assert f"textmill score {job}/out.jsonl {job}/ref.jsonl --report {job}/r.html" in page


def test_predictions_that_were_changed_since_are_told_of(job):
    rows = read_lines(job / "out.jsonl")
    write_lines(job / "out.jsonl", *rows[1:])
    assert "it has changed since the job ran" in scored(job)


@pytest.mark.parametrize("manifest", [None, b"{", b'{"format": 1}', b"\xff"])
def test_predictions_without_a_manifest_that_can_be_read(job, manifest):
    (job / "out.manifest.json").unlink()
    if manifest is not None:
        (job / "out.manifest.json").write_bytes(manifest)
    page = scored(job)
    assert "There is no manifest of a job of textmill's beside the predictions." in page
    assert "Speed of the last run" not in page


def test_a_manifest_of_before_series_and_lengths_says_what_it_lacks(job):
    path = job / "out.manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["run"]["timeline"], manifest["lengths"]
    path.write_text(json.dumps(manifest))
    page = scored(job)
    assert "The manifest does not say how fast the run was over its time." in page
    assert "The manifest does not say how tokens are spread over the rows." in page


def test_the_line_that_makes_the_page_again_has_every_flag_that_was_set(job):
    page = scored(
        job, ref="ref", metrics=["rouge2", "empty"], stemmer=True, missing="skip", samples=150
    )
    line = re.search(r"textmill score .*--report \S+", page).group()
    assert (
        " --ref ref --metric rouge2 --metric empty --stemmer --missing skip --samples 150 " in line
    )
    assert "references without a prediction" in page.lower()


def test_the_same_scores_give_the_same_page(job):
    scored(job)
    first = (job / "r.html").read_bytes()
    scored(job)
    assert (job / "r.html").read_bytes() == first


@pytest.mark.parametrize("place", ["", "none/r.html", "out.jsonl", "in.jsonl", "s3://b/r.html"])
def test_a_report_that_cannot_be_written_is_refused_before_any_work(job, place):
    before = {path.name: path.read_bytes() for path in job.iterdir()}
    report = place if "://" in place else job / place
    with pytest.raises(OutputError, match=r"report|cannot be written"):
        textmill.run(job / "in.jsonl", job / "out.jsonl", engine="echo", fresh=True, report=report)
    if place != "in.jsonl":
        with pytest.raises(OutputError, match=r"report|cannot be written"):
            textmill.score(job / "out.jsonl", job / "ref.jsonl", report=report)
    assert {path.name: path.read_bytes() for path in job.iterdir()} == before


def test_a_report_replaces_nothing_but_an_earlier_report(job):
    """Whatever it is of: side files of the predictions, inputs that a glob finds, anything."""
    textmill.run(job / "in.jsonl", job / "out.jsonl", engine="echo", fresh=True)
    (job / "notes.html").write_text("<!doctype html>\n<p>mine")
    before = {path.name: path.read_bytes() for path in job.iterdir()}
    for name in ("out.manifest.json", "in.jsonl", "notes.html"):
        with pytest.raises(OutputError, match="would replace"):
            textmill.score(job / "out.jsonl", job / "ref.jsonl", report=job / name)
        with pytest.raises(OutputError, match="would replace"):
            textmill.run(job / "i*.jsonl", job / "o.jsonl", engine="echo", report=job / name)
    with pytest.raises(OutputError, match="would replace"):
        textmill.run(job / "in.jsonl", job / "o.jsonl", engine="echo", report=job / "o.jsonl")
    assert {path.name: path.read_bytes() for path in job.iterdir()} == before
    for _ in range(2):
        textmill.run(job / "in.jsonl", job / "out.jsonl", engine="echo", report=job / "r.html")


def test_the_page_of_a_job_without_rows(tmp_path):
    (tmp_path / "in.jsonl").write_bytes(b"")
    textmill.run(
        tmp_path / "in.jsonl", tmp_path / "out.jsonl", engine="echo", report=tmp_path / "r.html"
    )
    assert "0 of 0 rows have a result." in (tmp_path / "r.html").read_text("utf-8")


def test_the_page_of_a_job_with_a_table_says_that_it_is_not_looked_into(job):
    textmill.run(job / "in.jsonl", job / "out.csv", engine="echo", report=job / "r.html")
    page = (job / "r.html").read_text("utf-8")
    assert "The results are csv, which is not looked into." in page
    assert "It was called from Python." in page


def test_the_page_of_a_job_whose_results_are_filtered(job):
    options = {"engine": "echo", "join": "input", "report": job / "r.html"}
    textmill.run(job / "in.jsonl", job / "joined.jsonl", **options)
    assert "text 3 text 3" in (job / "r.html").read_text("utf-8")
    textmill.run(job / "in.jsonl", job / "ids.jsonl", output_filter="$['id']", **options)
    assert "do not hold their texts" in (job / "r.html").read_text("utf-8")


def test_joined_rows_have_the_ids_of_their_own_column(tmp_path):
    write_lines(tmp_path / "in.jsonl", {"key": "k-1", "text_inputs": "a text"})
    options = {"engine": "echo", "id": "key", "join": "input", "report": tmp_path / "r.html"}
    textmill.run(tmp_path / "in.jsonl", tmp_path / "out.jsonl", **options)
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "id k-1" in re.sub(r"<[^>]*>", " ", page).replace("  ", " ")


def test_the_page_of_a_job_without_a_single_result(tmp_path):
    write_lines(tmp_path / "in.jsonl", {"id": 0, "text_inputs": 5})
    textmill.run(
        tmp_path / "in.jsonl", tmp_path / "out.jsonl", engine="echo", report=tmp_path / "r.html"
    )
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "0 of 1 rows have a result." in page
    assert "There are no results." in page


def test_more_records_than_fit_are_said_to_be_a_part(tmp_path):
    rows = [{**row, "id": n} for n, row in enumerate(demo() * 6)]
    write_lines(tmp_path / "ref.jsonl", *rows)
    predictions = [{"id": n, "text": row["document"][:50]} for n, row in enumerate(rows)]
    write_lines(tmp_path / "p.jsonl", *predictions)
    textmill.score(
        *(tmp_path / "p.jsonl", tmp_path / "ref.jsonl"),
        **{"ref": "summary", "metrics": ["rouge1"], "samples": 0, "report": tmp_path / "r.html"},
    )
    page = (tmp_path / "r.html").read_text("utf-8")
    assert re.search(r"(9,9\d\d|10,000) of 12,000 records", page)


def test_the_command_ends_with_the_report_and_its_headline(job):
    done = command(
        *("score", "out.jsonl", "ref.jsonl", "--baseline", "out.jsonl", "--report", "r.html"),
        cwd=job,
    )
    headline, where, report = done.out.splitlines()[-3:]
    assert headline.startswith("Not told apart from the baseline: rouge1 0.0000")
    assert "rouge1 is above the baseline's in none, and below it in none" in where
    assert report == "report    r.html"


@pytest.mark.parametrize(
    ("name", "difference", "p", "said"),
    [
        ("rouge1", 0.1, 0.001, "Better than the baseline"),
        ("rouge1", -0.1, 0.001, "Worse than the baseline"),
        ("rouge1", 0.1, 0.2, "Not told apart from the baseline"),
        ("repetition", -0.1, 0.001, "Better than the baseline"),
        ("empty", 0.1, 0.001, "Worse than the baseline"),
        ("length_ratio", -0.1, 0.001, "Shorter than the baseline"),
        ("copy_rate", 0.1, 0.001, "Copies more than the baseline"),
        ("copy_rate", -0.1, 0.001, "Copies less than the baseline"),
    ],
)
def test_a_verdict_knows_which_way_is_better(name, difference, p, said):
    low, high = difference - 0.05, difference + 0.05
    counts = {"wins": 1, "ties": 0, "losses": 0, "n": 1}
    one = Comparison(
        **{"name": name, "value": 0.5, "baseline": 0.5 - difference, "difference": difference},
        **{"low": low, "high": high, "p_bootstrap": p, "p_randomisation": p},
        **counts,
    )
    assert verdict(one) == said


def pipe_of(path, folder):
    """A pipe with the file's bytes: opened when somebody reads it."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    threading.Thread(target=lambda: pipe.write_bytes(path.read_bytes()), daemon=True).start()
    return pipe


@pytest.mark.parametrize("side", ["predictions", "references", "baseline"])
def test_what_comes_by_a_pipe_is_shown_and_has_the_digest_of_what_came(job, side):
    files = {
        "predictions": job / "out.jsonl",
        "references": job / "ref.jsonl",
        "baseline": job / "out.jsonl",
    }
    digest = hashlib.sha256(files[side].read_bytes()).hexdigest()
    pipe = pipe_of(files[side], job)
    files[side] = pipe
    scores = textmill.score(**files, report=job / "r.html")
    page = (job / "r.html").read_text("utf-8")
    assert f"{pipe} (a pipe)" in page
    assert digest in page
    first = scores.records.examples([0])[0]
    assert first.prediction == first.baseline == "text 0 " * 5
    assert "text 0 text 0" in re.sub(r"<[^>]*>", "", page)


def test_standard_input_is_scored_as_the_file_that_it_came_from(job):
    data = (job / "out.jsonl").read_bytes()
    done = command("score", "-", "ref.jsonl", "--report", "p.html", cwd=job, stdin=data)
    assert done.code == 0, done.err
    page = (job / "p.html").read_text("utf-8")
    assert hashlib.sha256(data).hexdigest() in page
    from_file = command("score", "out.jsonl", "ref.jsonl", "--report", "f.html", cwd=job)
    cards = [re.findall("<article.*?</article>", text, re.DOTALL)
             for text in (page, (job / "f.html").read_text("utf-8"))]  # fmt: skip
    assert from_file.code == 0
    assert cards[0] == cards[1] != []


def test_one_pipe_for_two_files_is_refused(job):
    done = command("score", "-", "-", cwd=job, stdin=b'{"id": 1, "text": "a"}\n')
    assert (done.code, "can be read only once" in done.err) == (2, True), done.err


def test_a_pipe_of_a_damaged_file_is_named_in_the_message(job):
    done = command("score", "-", "ref.jsonl", cwd=job, stdin=b'{"id": 0, "text": "a"}\n{"id": 1\n')
    assert done.code == 2
    assert "/dev/stdin, line 2: " in done.err
