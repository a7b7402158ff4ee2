"""A job replaces nothing at its names but what it knows as its own."""

from __future__ import annotations

import json
import os
import zlib

import pytest

from support.command import (
    held,
    kill,
    read_lines,
    start_run,
    textmill,
    wait_for_parts,
    wait_while_it_runs,
    write_lines,
)
from support.s3_jobs import Prefix, begin, end, rows_in_parts

ROWS = [{"id": i, "text_inputs": f"text {i} " + "x" * (i % 50)} for i in range(60_000)]
BAD = {"id": "bad", "text_inputs": 5}
NAMES = ("out.jsonl", "out.errors.jsonl", "out.manifest.json")


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    source = write_lines(folder / "in.jsonl", *ROWS, BAD)
    assert textmill("run", source, "-o", folder / "out.jsonl", "--engine", "echo").code == 3
    return source, contents(folder)


def contents(folder):
    """Output and error file; the manifest tells of its run."""
    return [(folder / name).read_bytes() for name in NAMES[:2]]


def run(source, output, *flags):
    return textmill("run", source, "-o", output, "--engine", "echo", *flags)


def killed(source, output, *flags):
    process = start_run(source, output, *flags)
    wait_for_parts(process, output, 3)
    kill(process)


def parts(folder):
    found = (folder / "out.jsonl.job" / "parts").iterdir()
    return {path.name: path.read_bytes() for path in found}


def check_refusal(code, err, name):
    assert (code, f"{name} has appeared or was changed" in err) == (2, True), err
    assert "move it away and run the same line again" in err
    assert "--fresh" not in err


def check_goes_on_once_moved(source, folder, name, whole):
    (folder / name).rename(folder / "mine")
    assert run(source, folder / "out.jsonl").code == 3
    assert (folder / "mine").read_text() == "mine"
    assert contents(folder) == whole
    assert json.loads((folder / NAMES[2]).read_text())["run"]["resumed_rows"] > 0


@pytest.mark.parametrize("name", NAMES)
def test_a_resume_leaves_what_has_appeared_at_its_names(tmp_path, many, name):
    source, whole = many
    killed(source, tmp_path / "out.jsonl")
    (tmp_path / name).write_text("mine")
    before = parts(tmp_path)
    ran = run(source, tmp_path / "out.jsonl")
    check_refusal(ran.code, ran.err, name)
    assert (tmp_path / name).read_text() == "mine"
    assert parts(tmp_path) == before
    check_goes_on_once_moved(source, tmp_path, name, whole)


@pytest.mark.parametrize("name", NAMES)
def test_a_commit_leaves_what_has_appeared_while_the_job_ran(tmp_path, many, name):
    source, whole = many
    process = start_run(source, tmp_path / "out.jsonl")
    wait_for_parts(process, tmp_path / "out.jsonl", 3)
    with held(process):
        (tmp_path / name).write_text("mine")
    _, err = process.communicate()
    check_refusal(process.returncode, err.decode(), name)
    assert (tmp_path / name).read_text() == "mine"
    assert not list(tmp_path.glob("*.unfinished"))
    check_goes_on_once_moved(source, tmp_path, name, whole)


def test_the_results_of_another_job_are_not_replaced_by_a_resume(tmp_path, many):
    source, _ = many
    killed(source, tmp_path / "out.jsonl")
    other = write_lines(tmp_path / "other.jsonl", *ROWS[:3])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert run(other, elsewhere / "out.jsonl").code == 0
    for path in elsewhere.iterdir():
        path.rename(tmp_path / path.name)
    ran = run(source, tmp_path / "out.jsonl")
    check_refusal(ran.code, ran.err, "out.jsonl")
    assert len(read_lines(tmp_path / "out.jsonl")) == 3


def test_fresh_replaces_the_output_that_was_there_and_no_later_one(tmp_path, many):
    source, whole = many
    output = tmp_path / "out.jsonl"
    assert run(write_lines(tmp_path / "few.jsonl", *ROWS[:3], BAD), output).code == 3
    killed(source, output, "--fresh")
    assert len(read_lines(output)) == 3
    before = output.read_bytes()
    output.write_text("mine")
    ran = run(source, output)
    check_refusal(ran.code, ran.err, "out.jsonl")
    assert output.read_text() == "mine"
    output.unlink()
    assert run(source, output).code == 3
    assert contents(tmp_path) == whole
    assert output.read_bytes() != before


@pytest.mark.parametrize("name", NAMES)
def test_a_resume_in_a_bucket_leaves_what_has_appeared_at_its_names(
    s3_url, credentials, tmp_path, request, name
):
    place = Prefix(s3_url, f"names/{zlib.crc32(request.node.name.encode()):08x}")
    source = str(write_lines(tmp_path / "in.jsonl", *ROWS[:8000], BAD))
    process = begin(source, place.url("out.jsonl"), s3_url)
    wait_while_it_runs(process, lambda: len(rows_in_parts(place)[0]) >= 500)
    kill(process)
    place.put(name, b"mine")
    ran = end(begin(source, place.url("out.jsonl"), s3_url))
    check_refusal(ran.code, ran.err, name)
    assert place.get(name) == b"mine"
    assert len(rows_in_parts(place)[0]) >= 500
    place.remove(name)
    ran = end(begin(source, place.url("out.jsonl"), s3_url))
    assert ran.code == 3, ran.err
    assert run(source, tmp_path / "out.jsonl").code == 3
    assert [place.get(one) for one in NAMES[:2]] == contents(tmp_path)
    assert place.json(NAMES[2])["run"]["resumed_rows"] >= 500


def test_a_commit_in_a_bucket_leaves_what_has_appeared_while_the_job_ran(
    s3_url, credentials, tmp_path
):
    place = Prefix(s3_url, "names/commit")
    source = str(write_lines(tmp_path / "in.jsonl", *ROWS[:8000]))
    process = begin(source, place.url("out.jsonl"), s3_url)
    wait_while_it_runs(process, lambda: rows_in_parts(place)[0])
    with held(process):
        place.put("out.jsonl", b"mine")
    ran = end(process)
    check_refusal(ran.code, ran.err, "out.jsonl")
    assert place.get("out.jsonl") == b"mine"
    assert len(rows_in_parts(place)[0]) == 8000


# --- two jobs that would share side files ------------------------------------------------------


@pytest.mark.parametrize(("first", "second"), [("o", "o.jsonl"), ("o.jsonl", "o")])
def test_outputs_that_would_share_side_files_are_refused_and_never_replaced(
    tmp_path, first, second
):
    source = write_lines(tmp_path / "in.jsonl", *ROWS[:3], BAD)
    assert run(source, tmp_path / first).code == 3
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    for flags in ((), ("--fresh",)):
        ran = run(source, tmp_path / second, *flags)
        assert (ran.code, f"{tmp_path / first} is the output of another job" in ran.err) == (
            2,
            True,
        )
        assert "--fresh" not in ran.err
        after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        assert after == before
    assert "already complete" in run(source, tmp_path / first).out


def test_the_side_files_of_an_unfinished_job_are_not_taken(tmp_path, many):
    source, whole = many
    killed(source, tmp_path / "out.jsonl")
    ran = run(source, tmp_path / "out")
    assert (ran.code, "out.jsonl is the output of another job" in ran.err) == (2, True), ran.err
    assert "--fresh" not in ran.err
    assert run(source, tmp_path / "out.jsonl").code == 3
    assert contents(tmp_path) == whole


# --- the error file of a finished job ----------------------------------------------------------


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_finished_job_without_its_error_file_is_not_complete(tmp_path, damage):
    source = write_lines(tmp_path / "in.jsonl", *ROWS[:3], BAD)
    output, errors = tmp_path / "out.jsonl", tmp_path / "out.errors.jsonl"
    assert run(source, output).code == 3
    before = errors.read_bytes()
    if damage == "missing":
        errors.unlink()
    else:
        errors.write_bytes(before.replace(b"bad", b"bed"))
    ran = run(source, output)
    assert (ran.code, str(errors) in ran.err, "bring it back" in ran.err) == (2, True, True)
    errors.write_bytes(before)
    assert "already complete" in run(source, output).out
    errors.unlink()
    assert run(source, output, "--fresh").code == 3
    assert errors.read_bytes() == before


# --- symbolic links ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_link_at_one_of_its_names_is_followed(tmp_path, name):
    """It stays a link, and the file that it leads to comes and goes as without it."""
    source = write_lines(tmp_path / "in.jsonl", *ROWS[:3], BAD)
    output, far = tmp_path / "out.jsonl", tmp_path / "far"
    far.mkdir()
    (tmp_path / name).symlink_to("far/file")
    assert run(source, output).code == 3
    first = (far / "file").read_bytes()
    assert "already complete" in run(source, output).out
    write_lines(source, *ROWS[:4])
    assert run(source, output, "--fresh").code == 0
    assert (tmp_path / name).is_symlink()
    assert [path.name for path in far.iterdir()] == ["file"] * (name != NAMES[1])
    assert name == NAMES[1] or (far / "file").read_bytes() != first
    assert len(read_lines(output)) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        {"in.jsonl", "far", NAMES[0], NAMES[2], name}
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_link_to_what_is_no_file_is_refused_and_that_stays(tmp_path, name):
    source = write_lines(tmp_path / "in.jsonl", *ROWS[:3])
    output = tmp_path / "out.jsonl"
    assert run(source, output).code == 0
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / name).symlink_to("pipe")
    ran = run(source, output, "--fresh")
    assert (ran.code, "is not an ordinary file" in ran.err) == (2, True), ran.err
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / name).is_symlink()
