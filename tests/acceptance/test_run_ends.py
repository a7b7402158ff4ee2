"""How a job ends when its filter, its disk, its parts or its user get in the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

import textmill as python
from support.command import (
    environment,
    held,
    kill,
    read_lines,
    start_run,
    textmill,
    wait_for_parts,
    wait_while_it_runs,
    write_lines,
)
from support.crashing import Child, Job
from support.s3_jobs import Prefix, begin, end, rows_in_parts
from textmill.errors import TooManyErrors

ROWS = [{"id": i, "title": f"t{i}", "text_inputs": f"text {i}"} for i in range(5)]
MANY = [{"id": i, "text_inputs": f"text {i} " + "x" * 200} for i in range(60_000)]


def run(source, output, *flags, **kwargs):
    return textmill("run", source, "-o", output, "--engine", "echo", *flags, **kwargs)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- output filters ----------------------------------------------------------------------------

NEVER = {
    "a name": (("--output-filter", "$.text"), "$.text: "),
    "a column that is not kept": (("--keep", "title", "--output-filter", "$['id','body']"), "body"),
    "below a join": (("--join", "input", "--output-filter", "$.SageMakerOutput.text"), "text"),
    "below a text": (("--output-filter", "$.generated_texts[0].x"), "generated_texts"),
}


@pytest.mark.parametrize("case", NEVER)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["run", "dry"])
def test_a_filter_that_no_result_can_satisfy_is_refused_before_the_model_is_loaded(
    tmp_path, case, dry
):
    flags, named = NEVER[case]
    source = write_lines(tmp_path / "in.jsonl", *ROWS)
    model = ("--model", tmp_path / "no-such-model", "--offline")
    ran = textmill("run", source, "-o", tmp_path / "out.jsonl", *model, *flags, *dry)
    assert (ran.code, "no result has what is to be written" in ran.err) == (2, True), ran.err
    assert named in ran.err
    assert 'a result has: "' in ran.err
    assert names(tmp_path) == ["in.jsonl"]


def test_a_row_whose_result_cannot_have_it_is_never_computed(tmp_path):
    rows = [*ROWS, {"id": 5, "title": "other", "text_inputs": "text 5", "tags": ["x"]}]
    source = write_lines(tmp_path / "in.jsonl", *rows)
    flags = ("--join", "input", "--output-filter", "$['id','tags']")
    dry = run(source, tmp_path / "out.jsonl", *flags, "--dry-run")
    assert "5 rows would fail with missing_field" in dry.out, dry.out
    assert run(source, tmp_path / "out.jsonl", *flags).code == 3
    assert read_lines(tmp_path / "out.jsonl") == [{"id": 5, "tags": ["x"]}]
    assert json.loads((tmp_path / "out.manifest.json").read_text())["run"]["requests"] == 1


def test_more_texts_than_a_record_gets_are_noticed_before_it_is_computed(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *ROWS, {"id": "two", "text_inputs": ["a", "b"]})
    ran = run(source, tmp_path / "out.jsonl", "--output-filter", "$.generated_texts[-2]")
    assert ran.code == 3, ran.err
    assert read_lines(tmp_path / "out.jsonl") == ["a"]
    assert json.loads((tmp_path / "out.manifest.json").read_text())["run"]["requests"] == 2


# --- the user's disk ---------------------------------------------------------------------------


@pytest.fixture
def locked(tmp_path):
    """A folder of somebody else's that nobody else may enter, and what to put before a command for
    a user to whom that applies."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    write_lines(folder / "in.jsonl", *ROWS)
    prefix: tuple[str, ...] = ()
    if os.geteuid() == 0:
        prefix = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
        if shutil.which(prefix[0]) is None:
            pytest.skip("needs setpriv (util-linux), or not to be the superuser")
        os.chown(folder, 65534, 65534)
        folder.chmod(0o700)
    else:
        folder.chmod(0)
    yield folder, prefix
    folder.chmod(0o700)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "in.jsonl", "-o", "theirs/o.jsonl"), "choose a folder that you may write to"),
        (("run", "theirs/in.jsonl", "-o", "o.jsonl"), "check its permissions"),
        (("run", "theirs/in.jsonl", "-o", "o.jsonl", "--dry-run"), "check its permissions"),
        (("status", "theirs/o.jsonl"), "check its permissions"),
        (("status", "theirs"), "check its permissions"),
    ],
    ids=["output", "input", "dry run", "status of a job", "status of all"],
)
def test_a_folder_that_one_may_not_enter_is_named_with_what_to_do(tmp_path, locked, words, message):
    write_lines(tmp_path / "in.jsonl", *ROWS)
    _, prefix = locked
    engine = ("--engine", "echo") if words[0] == "run" else ()
    ran = textmill(*words, *engine, cwd=tmp_path, prefix=prefix)
    assert (ran.code, message in ran.err, "theirs" in ran.err) == (2, True, True), ran.err
    assert "Errno" not in ran.err
    assert names(tmp_path) == ["in.jsonl", "theirs"]


def test_a_file_in_the_place_of_the_job_folder_is_told_and_kept(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *ROWS)
    (tmp_path / "out.jsonl.job").write_text("mine")
    ran = run(source, tmp_path / "out.jsonl")
    assert (ran.code, "out.jsonl.job is a file" in ran.err) == (2, True), ran.err
    assert "move it away" in ran.err
    assert (tmp_path / "out.jsonl.job").read_text() == "mine"
    (tmp_path / "out.jsonl.job").unlink()
    assert run(source, tmp_path / "out.jsonl").code == 0


@pytest.mark.parametrize("lost", ["", "parts", "parts/00000.jsonl", "lock"])
def test_a_job_folder_removed_during_the_run_is_told_and_the_line_works_again(tmp_path, lost):
    source = write_lines(tmp_path / "in.jsonl", *MANY)
    output = tmp_path / "out.jsonl"
    process = start_run(source, output)
    wait_for_parts(process, output, 4)
    path = tmp_path / "out.jsonl.job" / lost
    with held(process):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    _, err = process.communicate()
    assert process.returncode == 2, err
    assert b"out.jsonl.job" in err
    assert b"run the same line again" in err
    assert not output.exists()
    assert run(source, output).code == 0
    assert [row["id"] for row in read_lines(output)] == list(range(len(MANY)))


# --- damaged parts, changed inputs -------------------------------------------------------------


def flipped(data):
    """A bit within the first frame."""
    at = data.index(b"text")
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_after_a_flipped_byte_the_advice_costs_only_the_rows_of_its_part(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *MANY)
    output = tmp_path / "out.jsonl"
    process = start_run(source, output, "--max-batch-tokens", "1500")
    wait_for_parts(process, output, 5)
    kill(process)
    part = tmp_path / "out.jsonl.job" / "parts" / "00001.jsonl"
    part.write_bytes(flipped(part.read_bytes()))
    flags = ("--max-batch-tokens", "1500")
    ran = run(source, output, *flags)
    assert (ran.code, f"remove {part} and run the same line again" in ran.err) == (2, True), ran.err
    assert "--fresh" not in ran.err
    part.unlink()
    assert run(source, output, *flags).code == 0
    assert [row["id"] for row in read_lines(output)] == list(range(len(MANY)))
    assert json.loads((tmp_path / "out.manifest.json").read_text())["run"]["resumed_rows"] > 256


def test_a_damaged_part_in_a_bucket_is_mended_as_advised(s3_url, credentials, tmp_path):
    place = Prefix(s3_url, "ends/damaged")
    source = str(write_lines(tmp_path / "in.jsonl", *MANY[:8000]))
    process = begin(source, place.url("out.jsonl"), s3_url)
    wait_while_it_runs(process, lambda: len(rows_in_parts(place)[1]) >= 3)
    kill(process)
    name = next(one for one in place.names() if "/parts/00001.jsonl/" in one)
    first, second = place.get(name), place.get(name.replace("00001.jsonl", "00000.jsonl"))
    place.put(name, flipped(first) + second)
    ran = end(begin(source, place.url("out.jsonl"), s3_url))
    below = name.rpartition("/")[0]
    assert ran.code == 2, ran.err
    assert f"remove all objects below {place.url(below)}/ and" in ran.err
    for one in place.names(below):
        place.remove(one)
    assert end(begin(source, place.url("out.jsonl"), s3_url)).code == 0
    rows = [json.loads(line)["id"] for line in place.get("out.jsonl").splitlines()]
    assert rows == list(range(8000))
    assert place.json("out.manifest.json")["run"]["resumed_rows"] >= 256


def test_an_input_that_changed_needs_fresh_as_it_says_or_its_old_content(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *MANY)
    before, output = source.read_bytes(), tmp_path / "out.jsonl"
    process = start_run(source, output)
    wait_for_parts(process, output, 2)
    with source.open("ab") as file:
        file.write(b'{"id": "late", "text_inputs": "late"}\n')
    _, err = process.communicate()
    assert (process.returncode, b"has changed while it was read" in err) == (2, True), err
    assert b"start over with --fresh" in err
    changed = source.read_bytes()
    source.write_bytes(before)
    assert run(source, output).code == 0
    assert len(read_lines(output)) == len(MANY)
    source.write_bytes(changed)
    assert run(source, output, "--fresh").code == 0
    assert len(read_lines(output)) == len(MANY) + 1


# --- Ctrl-C after the commit, and how to go on -------------------------------------------------


def test_ctrl_c_after_the_commit_finds_the_job_done(tmp_path):
    """At every event from the one that makes the manifest appear."""

    def prepare(folder):
        write_lines(folder / "in.jsonl", *ROWS)

    job = Job("done", tmp_path / "job", prepare, "--engine", "echo")
    with Child(tmp_path / "child") as child:
        folder = job.lay_out("count")
        events = child.trip(job.arguments(folder), folder).events
        links = [n for n, e in enumerate(events, 1) if "os.link" in e and "out.manifest" in e]
        assert len(links) == 1, events
        codes = []
        for at in range(links[0], len(events) + 1):
            folder = job.lay_out("done")
            ended = child.trip(job.arguments(folder), folder, at=at, number=signal.SIGINT)
            assert "Traceback" not in ended.err, ended.err
            codes.append(ended.code)
            if (folder / "out.manifest.json").exists():
                assert (ended.code, "interrupted" in ended.err) == (0, False), (at, ended)
                assert "done: rows 5 = ok 5" in ended.out
            job.check_resumed(child.run(job.arguments(folder)), folder)
    assert codes.count(0) >= len(codes) - 1, codes


def stopped(folder, *words, **kwargs):
    """A job that its error budget ends, and the line that status gives."""
    ran = textmill(*words, "--engine", "echo", "--max-errors", "0", cwd=folder, **kwargs)
    assert ran.code == 4, ran.err
    shown = textmill("status", "out.jsonl", cwd=folder).out
    return next(line for line in shown.splitlines() if line.startswith("to continue"))


def typed(folder, line):
    """Type it in a shell that knows `textmill`, and nothing of the first run's environment."""
    (folder / "bin").mkdir(exist_ok=True)
    tool = folder / "bin" / "textmill"
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m textmill "$@"\n')
    tool.chmod(0o755)
    env = environment()
    env["PATH"] = f"{tool.parent}:{env['PATH']}"
    return subprocess.run(
        ["sh", "-c", line.partition(":  ")[2]],
        cwd=folder,
        env=env,
        capture_output=True,
        check=False,
    )


def test_the_line_to_continue_with_reads_what_came_from_standard_input(tmp_path):
    rows = [*ROWS, {"id": "bad", "text_inputs": 5}]
    data = write_lines(tmp_path / "in.jsonl", *rows).read_bytes()
    line = stopped(tmp_path, "run", "-", "-o", "out.jsonl", stdin=data)
    assert line.endswith(" < out.jsonl.job/stdin.jsonl"), line
    assert typed(tmp_path, line).returncode == 3
    assert len(read_lines(tmp_path / "out.jsonl")) == 5


@pytest.mark.parametrize("other", [b"", b'{"id": 9, "text_inputs": "other"}\n'])
def test_another_standard_input_does_not_replace_the_copy_of_an_unfinished_jobs(tmp_path, other):
    """Nobody may have the first one any more: a pipe that was cut off is not the end of it."""
    data = write_lines(tmp_path / "in.jsonl", *ROWS, {"id": "bad", "text_inputs": 5}).read_bytes()
    line = stopped(tmp_path, "run", "-", "-o", "out.jsonl", stdin=data)
    run = ("run", "-", "-o", "out.jsonl", "--engine", "echo")
    refused = textmill(*run, cwd=tmp_path, stdin=other)
    assert refused.code == 2
    assert "holds an unfinished job that differs from this one:\n  input: was " in refused.err
    assert (tmp_path / "out.jsonl.job" / "stdin.jsonl").read_bytes() == data
    assert [path.name for path in tmp_path.glob("*.job/stdin*")] == ["stdin.jsonl"]
    assert typed(tmp_path, line).returncode == 3
    assert len(read_lines(tmp_path / "out.jsonl")) == 5


def test_another_standard_input_may_begin_afresh(tmp_path):
    data = write_lines(tmp_path / "in.jsonl", *ROWS, {"id": "bad", "text_inputs": 5}).read_bytes()
    stopped(tmp_path, "run", "-", "-o", "out.jsonl", stdin=data)
    other = b'{"id": 9, "text_inputs": "other"}\n'
    run = ("run", "-", "-o", "out.jsonl", "--engine", "echo")
    assert textmill(*run, "--fresh", cwd=tmp_path, stdin=other).code == 0
    assert [row["id"] for row in read_lines(tmp_path / "out.jsonl")] == [9]


def test_the_line_to_continue_with_has_the_parameters_of_the_environment(tmp_path):
    write_lines(tmp_path / "in.jsonl", *ROWS, {"id": "bad", "text_inputs": 5})
    env = environment(HYPER_PARAMS='{"max_new_tokens": 3}')
    line = stopped(tmp_path, "run", "in.jsonl", "-o", "out.jsonl", env=env)
    assert """:  env 'HYPER_PARAMS={"max_new_tokens": 3}' textmill run""" in line, line
    ran = typed(tmp_path, line)
    assert ran.returncode == 3, ran.stderr
    assert {row["generated_texts"][0] for row in read_lines(tmp_path / "out.jsonl")} == {"tex"}


def test_rows_from_python_are_to_be_given_again(tmp_path):
    rows = [{"id": 1, "text_inputs": "a"}, {"id": 2, "text_inputs": 5}]
    with pytest.raises(TooManyErrors):
        python.run(rows, tmp_path / "out.jsonl", engine="echo", max_errors=0)
    shown = textmill("status", tmp_path / "out.jsonl").out
    assert "to continue, make the call again that began it with the same rows" in shown


def test_a_job_here_whose_inputs_are_in_a_bucket_is_verified(s3_url, credentials, tmp_path):
    place = Prefix(s3_url, "ends/status")
    lines = write_lines(tmp_path / "in.jsonl", *ROWS).read_bytes()
    url, output = place.put("in.jsonl", lines), tmp_path / "out.jsonl"
    assert run(url, output, "--endpoint-url", s3_url).code == 0
    ran = textmill("status", output, "--verify", "--endpoint-url", s3_url)
    assert (ran.code, f"verified: input {url}: as it was" in ran.out) == (0, True), ran.err
