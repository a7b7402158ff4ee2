"""The same line once more: a stopped job goes on, a finished one stays, others' files stay."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from support.articles import ARTICLES, echo
from support.command import (
    environment,
    kill,
    read_lines,
    start_run,
    textmill,
    wait_for_parts,
    write_lines,
)


def test_running_the_same_line_again_does_nothing(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *ARTICLES)
    echo(source, tmp_path)
    stamp = (tmp_path / "out.jsonl").stat().st_mtime_ns
    ran = echo(source, tmp_path)
    assert (ran.code, ran.out.splitlines()[0][:17]) == (0, "already complete:")
    assert (tmp_path / "out.jsonl").stat().st_mtime_ns == stamp


def test_another_job_does_not_replace_an_output_unless_told(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *ARTICLES)
    echo(source, tmp_path)
    ran = echo(source, tmp_path, "--set", "max_new_tokens=3")
    assert ran.code == 2
    assert "parameter max_new_tokens: was 256, is 3" in ran.err
    assert echo(source, tmp_path, "--set", "max_new_tokens=3", "--fresh").code == 0
    assert read_lines(tmp_path / "out.jsonl")[0]["generated_texts"] == ["tex"]


def test_a_file_that_is_no_job_is_never_replaced_silently(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *ARTICLES)
    (tmp_path / "out.jsonl").write_text("precious")
    assert echo(source, tmp_path).code == 2
    assert (tmp_path / "out.jsonl").read_text() == "precious"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    rows = [{"id": i, "text_inputs": f"text number {i} " + "x" * (i % 50)} for i in range(120_000)]
    source = write_lines(folder / "in.jsonl", *rows)
    assert textmill("run", source, "-o", folder / "whole.jsonl", "--engine", "echo").code == 0
    return source, (folder / "whole.jsonl").read_bytes()


def test_a_retry_where_nothing_has_run_says_that_it_computes_all(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *ARTICLES)
    first = echo(source, tmp_path, "--retry-failed")
    assert "--retry-failed found no earlier run here" in first.err
    assert "note: --retry-failed found no earlier run here" in first.out
    again = echo(source, tmp_path, "--retry-failed")
    assert "no earlier run" not in again.err


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_stopped_job_resumes_to_the_same_bytes(tmp_path, many, how):
    source, whole = many
    output = tmp_path / "out.jsonl"
    for windows in (3, 8, 14):
        process = start_run(source, output)
        wait_for_parts(process, output, windows)
        process.send_signal(how)
        _, err = process.communicate()
        assert process.returncode == (-9 if how == signal.SIGKILL else 130)
        assert b"Traceback" not in err
        assert not output.exists()
    ran = textmill("run", source, "-o", output, "--engine", "echo")
    assert ran.code == 0
    assert output.read_bytes() == whole
    last = json.loads((tmp_path / "out.manifest.json").read_text())["run"]
    assert last["resumed_rows"] > 0
    rows = [one["rows"] for one in last["earlier"]]
    assert len(rows) == 3
    assert rows == sorted(rows)
    assert rows[-1] <= last["resumed_rows"]


def test_an_unfinished_job_is_not_resumed_as_another(tmp_path, many):
    source, _ = many
    output = tmp_path / "out.jsonl"
    process = start_run(source, output)
    wait_for_parts(process, output, 5)
    kill(process)
    ran = textmill("run", source, "-o", output, "--engine", "echo", "--seed", "7")
    assert ran.code == 2
    assert "seed: was 0, is 7" in ran.err


def test_two_runs_on_one_output_do_not_meet(tmp_path, many):
    source, whole = many
    output = tmp_path / "out.jsonl"
    first = start_run(source, output)
    wait_for_parts(first, output, 2)
    second = textmill("run", source, "-o", output, "--engine", "echo")
    assert second.code == 2
    assert "another run" in second.err
    first.communicate()
    assert first.returncode == 0
    assert output.read_bytes() == whole


def test_a_users_own_files_are_never_touched(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *ARTICLES)
    for name in ("out.errors.jsonl", "out.manifest.json"):
        (tmp_path / name).write_text("mine")
        assert echo(source, tmp_path).code == 2
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()
    (tmp_path / "out.jsonl.job").mkdir()
    (tmp_path / "out.jsonl.job" / "data.txt").write_text("mine")
    ran = echo(source, tmp_path)
    assert (ran.code, "no job of textmill's" in ran.err) == (2, True)
    assert (tmp_path / "out.jsonl.job" / "data.txt").read_text() == "mine"


def test_an_input_named_like_the_unfinished_output_survives(tmp_path):
    source = write_lines(tmp_path / "out.jsonl.unfinished", *ARTICLES)
    before = source.read_bytes()
    assert echo(source, tmp_path).code == 2
    assert source.read_bytes() == before


@pytest.mark.parametrize("name", ["out.jsonl", "out.errors.jsonl", "out.jsonl.unfinished"])
def test_an_input_is_never_replaced_though_it_comes_as_standard_input(tmp_path, name):
    source = write_lines(tmp_path / name, *ARTICLES)
    before = source.read_bytes()
    flags = ["run", "-", "-o", "out.jsonl", "--fresh", "--engine", "echo"]
    with source.open("rb") as stdin:
        ran = subprocess.run(
            [sys.executable, "-m", "textmill", *flags],
            cwd=tmp_path,
            stdin=stdin,
            env=environment(),
            capture_output=True,
            check=False,
        )
    assert (ran.returncode, b"standard input is an input of this job" in ran.stderr) == (2, True)
    assert source.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_rows_of_a_job_that_lost_its_description_are_not_used(tmp_path, many):
    source, _ = many
    output = tmp_path / "out.jsonl"
    process = start_run(source, output)
    wait_for_parts(process, output, 5)
    kill(process)
    (tmp_path / "out.jsonl.job" / "job.json").unlink()
    ran = textmill("run", source, "-o", output, "--engine", "echo", "--set", "max_new_tokens=3")
    assert ran.code == 0
    assert {row["generated_texts"][0] for row in read_lines(output)} == {"tex"}


def test_a_damaged_description_is_refused(tmp_path, many):
    source, _ = many
    output = tmp_path / "out.jsonl"
    process = start_run(source, output)
    wait_for_parts(process, output, 3)
    kill(process)
    (tmp_path / "out.jsonl.job" / "job.json").write_text("{")
    ran = textmill("run", source, "-o", output, "--engine", "echo")
    assert (ran.code, "job.json is damaged" in ran.err) == (2, True)


def test_an_input_that_changes_while_it_is_read_is_refused(tmp_path, many):
    source = tmp_path / "in.jsonl"
    source.write_bytes(many[0].read_bytes())
    output = tmp_path / "out.jsonl"
    process = start_run(source, output)
    wait_for_parts(process, output, 2)
    with source.open("ab") as file:
        file.write(b'{"id": "late", "text_inputs": "late"}\n')
    _, err = process.communicate()
    assert (process.returncode, b"has changed while it was read" in err) == (2, True)
    assert not output.exists()


def test_an_output_without_any_result_may_be_replaced(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *({**row, "document": None} for row in ARTICLES))
    wrong = echo(source, tmp_path, "--prompt", "{document}")
    assert (wrong.code, "for example line 1, missing_field" in wrong.out) == (3, True)
    assert echo(source, tmp_path, "--prompt", "{text_inputs}").code == 0
