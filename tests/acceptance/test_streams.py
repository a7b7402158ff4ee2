"""Standard streams that are closed, full or no longer read: one line and an exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.command import environment, read_lines, write_lines
from textmill.errors import ExitCode

PROGRAM = [sys.executable, "-m", "textmill"]
COMMANDS = ["--help", "--version", "run --help", "models --help", "models list", "gateway env"]
ECHO = ["--engine", "echo", "--quiet"]


def to(output, *arguments, unbuffered=False, cwd=None):
    """Run textmill with standard output to a file; its exit code and what it says of errors."""
    done = subprocess.run(
        [*PROGRAM, *arguments],
        stdout=output,
        stderr=subprocess.PIPE,
        env=environment(PYTHONUNBUFFERED="1" if unbuffered else ""),
        cwd=cwd,
        check=False,
    )
    return done.returncode, done.stderr.decode()


@pytest.fixture
def full():
    with Path("/dev/full").open("wb") as file:
        yield file


@pytest.fixture
def unread():
    """A pipe whose reader has gone."""
    ours, theirs = os.pipe()
    os.close(ours)
    yield theirs
    os.close(theirs)


FULL = (ExitCode.UNPRINTED, "error: standard output cannot be written: No space left on device\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_device_is_one_line_and_an_exit_code_of_its_own(command, full):
    assert to(full, *command.split()) == FULL


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_has_gone_is_no_error(command, unread):
    assert to(unread, *command.split()) == (0, "")


@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_job_is_done_whether_or_not_its_summary_can_be_written(tmp_path, full, unbuffered):
    source = write_lines(tmp_path / "in.jsonl", {"id": 1, "text_inputs": "one"})
    line = ["run", source, "-o", tmp_path / "out.jsonl", *ECHO]
    assert to(full, *line, unbuffered=unbuffered) == FULL
    assert read_lines(tmp_path / "out.jsonl") == [{"id": 1, "generated_texts": ["one"]}]


def test_an_error_is_told_before_a_full_device(tmp_path, full):
    code, err = to(full, "run", "missing.jsonl", "-o", "out.jsonl", cwd=tmp_path)
    assert (code, err.splitlines()[0]) == (2, "error: there is no file missing.jsonl")


@pytest.mark.parametrize("words", ["run - -o out.jsonl --engine echo", "score - refs.jsonl"])
def test_standard_input_that_is_closed_is_not_an_empty_one(tmp_path, words):
    write_lines(tmp_path / "refs.jsonl", {"id": 1, "text": "a"})
    line = " ".join([*PROGRAM, words, "<&-"])
    done = subprocess.run(
        ["sh", "-c", line], cwd=tmp_path, env=environment(), capture_output=True, check=False
    )
    expected = b"error: standard input is closed\n  give it a file: - < FILE\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", expected)
    assert [path.name for path in tmp_path.iterdir()] == ["refs.jsonl"]
