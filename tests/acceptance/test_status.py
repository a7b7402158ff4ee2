"""`textmill status` beside real runs: running, killed, interrupted, finished, damaged."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

import textmill as python
from support.command import environment, textmill, write_lines
from support.waiting import wait_for
from textmill.api.status import StatusReader
from textmill.transform.job import Description
from textmill.transform.runs import State
from textmill.transform.status import JobStatus

ROWS = 120_000
ROOT = Path(__file__).parents[2]


def row(n):
    if n % 1000 == 7:
        return {"id": n, "text_inputs": 5}
    return {"id": n, "text_inputs": f"text number {n} " + "x" * (n % 50)}


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """An input that takes the echo engine some seconds, and what comes out when nobody looks."""
    folder = tmp_path_factory.mktemp("many")
    source = write_lines(folder / "in.jsonl", *map(row, range(ROWS)))
    assert textmill("run", source, "-o", folder / "whole.jsonl", "--engine", "echo").code == 3
    return source, (folder / "whole.jsonl").read_bytes()


def begin(source, folder, *flags):
    """A run in its own folder, as a user starts it."""
    words = ("run", source, "-o", "out.jsonl", "--engine", "echo", *flags)
    return subprocess.Popen(
        [sys.executable, "-m", "textmill", *words],
        cwd=folder,
        env=environment(PYTHONWARNINGS="default::UserWarning"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def events(folder):
    journal = folder / "out.jsonl.job" / "journal.jsonl"
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    return [json.loads(line) for line in lines]


def progress(folder):
    return [event for event in events(folder) if event["event"] == "progress"]


def wait_for_progress(process, folder):
    wait_for(lambda: process.poll() is not None or progress(folder))
    assert process.poll() is None, "the run was over before it could be looked at"


@contextmanager
def running(source, folder):
    """A run that has reported progress and now stands still, so that there is time to look."""
    process = begin(source, folder)
    try:
        wait_for_progress(process, folder)
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def killed(tmp_path, many):
    with running(many[0], tmp_path):
        pass
    return tmp_path


def finished(folder, *rows, name="out"):
    write_lines(folder / f"{name}.in.jsonl", *rows)
    files = (f"{name}.in.jsonl", "-o", f"{name}.jsonl")
    return textmill("run", *files, "--engine", "echo", "--quiet", cwd=folder)


def look(folder, *arguments):
    """The exit code, and what --json prints."""
    ran = textmill("status", *arguments, "--json", cwd=folder)
    return ran.code, [json.loads(line) for line in ran.out.splitlines()]


def files(folder):
    """Everything that a look could have changed."""
    found = {path: path.stat() for path in folder.rglob("*")}
    return {path: (stat.st_mtime_ns, stat.st_size) for path, stat in found.items()}


def rows_in_parts(folder):
    """Whole frames of all parts, read without textmill: what a resume would not compute again."""
    done = []
    for part in (folder / "out.jsonl.job" / "parts").iterdir():
        frame = []
        for line in map(json.loads, part.read_bytes().split(b"\n")[:-1]):
            if "frame" in line:
                done += frame
                frame = []
            else:
                frame.append(line["n"])
    return done


def test_a_running_job_says_how_far_and_how_fast_it_is(tmp_path, many):
    with running(many[0], tmp_path) as process:
        before = files(tmp_path)
        code, (job,) = look(tmp_path, "out.jsonl")
        shown = textmill("status", cwd=tmp_path)
        last = progress(tmp_path)[-1]
        assert files(tmp_path) == before
    assert (code, job["state"], job["total"]) == (0, "running", ROWS)
    assert f"process {process.pid} on" in job["detail"]
    counts = job["counts"]
    assert (counts["rows"], counts["ok"], counts["codes"]) == (
        last["rows"],
        last["ok"],
        last["codes"],
    )
    assert counts["rows"] == counts["ok"] + counts["failed"] + counts["invalid"]
    assert job["rows_per_second"] > 0
    left = (ROWS - counts["rows"]) / job["rows_per_second"]
    assert job["eta_seconds"] == pytest.approx(left)
    assert (job["runs"], job["deaths"]) == (1, 0)
    assert shown.code == 0
    assert f"{counts['rows']:,} / {ROWS:,} rows" in shown.out
    assert "ETA" in shown.out
    assert "to continue" not in shown.out
    assert "bad_record" in shown.out
    assert "for example line 8, id 7: text_inputs is 5" in shown.out


def test_fifty_looks_do_not_disturb_a_run(tmp_path, many):
    source, whole = many
    process = begin(source, tmp_path)
    wait_for_progress(process, tmp_path)
    seen = []
    for _ in range(50):
        seen += python.status(tmp_path / "out.jsonl", verify=len(seen) % 10 == 5)
    _, err = process.communicate()
    assert (process.returncode, b"error:" in err) == (3, False), err
    assert (tmp_path / "out.jsonl").read_bytes() == whole
    assert State.RUNNING in {job.state for job in seen} <= {State.RUNNING, State.COMPLETE}
    assert all(job.is_sound for job in seen), [job for job in seen if not job.is_sound]
    rows = [job.counts.rows for job in seen]
    assert rows == sorted(rows)


def test_a_killed_job_is_counted_exactly_and_says_how_to_continue(tmp_path, many, killed):
    source, whole = many
    done = rows_in_parts(killed)
    code, (job,) = look(killed, "out.jsonl")
    assert (code, job["state"], job["deaths"], job["eta_seconds"]) == (0, "died", 1, None)
    assert job["counts"]["rows"] == len(done)
    assert job["counts"]["codes"] == {"bad_record": sum(n % 1000 == 7 for n in done)}
    assert job["failures"][0]["example"]["line"] == job["failures"][0]["example"]["id"] + 1
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shown = textmill("status", killed / "out.jsonl.job", cwd=elsewhere).out
    line = next(x for x in shown.splitlines() if x.startswith("to continue:")).partition(":  ")[2]
    assert line == f"cd {killed} && textmill run {source} -o out.jsonl --engine echo"
    words = shlex.split(line)[4:]
    assert textmill(*words, cwd=killed).code == 3
    assert (killed / "out.jsonl").read_bytes() == whole
    _, (job,) = look(killed, "out.jsonl")
    assert (job["state"], job["counts"]["rows"]) == ("complete", ROWS)
    assert job["resumed"] == len(done)


def test_a_job_that_was_moved_is_continued_where_it_is(tmp_path, many, killed):
    there = tmp_path / "there"
    there.mkdir()
    shutil.move(killed / "out.jsonl.job", there)
    shown = textmill("status", there).out
    assert f"note: it began as {killed}/out.jsonl" in shown
    line = next(x for x in shown.splitlines() if x.startswith("to continue:")).partition(":  ")[2]
    assert textmill(*shlex.split(line)[4:], cwd=killed).code == 3
    assert (there / "out.jsonl").read_bytes() == many[1]
    assert not (killed / "out.jsonl").exists()


def test_a_job_reached_by_another_name_has_not_moved(tmp_path, killed):
    (tmp_path / "link").symlink_to(killed)
    assert "it began as" not in textmill("status", tmp_path / "link" / "out.jsonl").out


def test_a_changed_copy_of_standard_input_is_damage(tmp_path, many):
    words = ("run", "-", "-o", "out.jsonl", "--engine", "echo", "--max-errors", "0")
    assert textmill(*words, cwd=tmp_path, stdin=many[0].read_bytes()).code == 4
    code, (job,) = look(tmp_path, "out.jsonl", "--verify")
    assert (code, job["verification"]["problems"]) == (0, [])
    assert "the copy of the input" in job["verification"]["checked"][0]
    with (tmp_path / "out.jsonl.job" / "stdin.jsonl").open("ab") as copy:
        copy.write(b"x")
    code, (job,) = look(tmp_path, "out.jsonl", "--verify")
    (problem,) = job["verification"]["problems"]
    assert (code, "is not the input that the job began with" in problem) == (70, True)


def test_a_job_that_was_started_fresh_is_not_continued_fresh(tmp_path, killed):
    record = killed / "out.jsonl.job" / "job.json"
    described = msgspec.json.decode(record.read_bytes(), type=Description)
    command = [*described.command, "--fresh"]
    changed = msgspec.structs.replace(described, command=command).sealed()
    record.write_bytes(msgspec.json.encode(changed))
    shown = textmill("status", "out.jsonl", cwd=killed).out
    assert "to continue:  textmill run" in shown
    assert "--fresh" not in shown


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_job_has_stopped(tmp_path, many, how):
    process = begin(many[0], tmp_path)
    wait_for_progress(process, tmp_path)
    process.send_signal(how)
    process.communicate()
    code, (job,) = look(tmp_path, "out.jsonl")
    assert (code, job["state"], job["deaths"]) == (0, "stopped", 0)
    assert job["counts"]["rows"] == len(rows_in_parts(tmp_path))
    assert "to continue:  textmill run" in textmill("status", cwd=tmp_path).out


def test_a_finished_job(tmp_path):
    assert finished(tmp_path, *map(row, range(5))).code == 0
    code, (job,) = look(tmp_path, "out.jsonl", "--verify")
    assert (code, job["state"], job["counts"]["rows"], job["runs"]) == (0, "complete", 5, None)
    seen = job["verification"]
    assert seen["problems"] == []
    assert any("out.jsonl: 5 rows" in text for text in seen["checked"])
    assert any("out.in.jsonl: as it was" in text for text in seen["checked"])
    assert any("model's files were not read" in text for text in seen["notes"])
    for name in ("out.jsonl", "out.manifest.json", "out.jsonl.job", "."):
        assert look(tmp_path, name)[1][0]["output"] == "out.jsonl"


def test_a_finished_job_with_failures_exits_3_and_groups_them(tmp_path):
    rows = [b"{", {"id": "a", "text_inputs": 5}, {"id": "b", "text_inputs": ""}, b"[]"]
    assert finished(tmp_path, *rows, {"id": "c", "text_inputs": "fine"}).code == 3
    code, (job,) = look(tmp_path, "out.jsonl", "--verify")
    assert (code, job["state"], job["verification"]["problems"]) == (3, "complete", [])
    examples = {cause["code"]: cause["example"] for cause in job["failures"]}
    counts = {cause["code"]: cause["count"] for cause in job["failures"]}
    assert counts == job["counts"]["codes"]
    assert sum(counts.values()) == job["counts"]["invalid"] == 4
    assert (examples["bad_record"]["line"], examples["bad_record"]["id"]) == (2, "a")
    shown = textmill("status", "out.jsonl", cwd=tmp_path).out
    assert 'for example line 2, id "a": text_inputs is 5' in shown


@pytest.mark.parametrize("name", ["out.jsonl.gz", "out.jsonl.zst", "out.csv", "out.parquet"])
def test_other_outputs_are_found_and_verified(tmp_path, name):
    write_lines(tmp_path / "in.jsonl", b"{", *map(row, range(5)))
    assert textmill("run", "in.jsonl", "-o", name, "--engine", "echo", cwd=tmp_path).code == 3
    for asked in (name, "."):
        code, (job,) = look(tmp_path, asked, "--verify")
        assert (code, job["output"], job["verification"]["problems"]) == (3, name, [])
    counted = not any("rows were not counted" in note for note in job["verification"]["notes"])
    assert counted == (".jsonl" in name)
    output = tmp_path / name
    data = bytearray(output.read_bytes())
    data[len(data) // 2] ^= 1
    output.write_bytes(data)
    assert look(tmp_path, name, "--verify")[0] == 70


def test_a_changed_byte_is_found_by_verify_alone(tmp_path):
    finished(tmp_path, *map(row, range(5)))
    output = tmp_path / "out.jsonl"
    data = bytearray(output.read_bytes())
    data[data.index(b"text number 3")] ^= 1
    output.write_bytes(data)
    assert look(tmp_path, "out.jsonl")[0] == 0
    code, (job,) = look(tmp_path, "out.jsonl", "--verify")
    assert code == 70
    (problem,) = job["verification"]["problems"]
    assert problem.startswith("out.jsonl has changed: its SHA-256 is")
    shown = textmill("status", "--verify", cwd=tmp_path)
    assert (shown.code, "FAILED: out.jsonl has changed" in shown.out) == (70, True)


def test_a_changed_byte_of_the_error_file_is_found(tmp_path):
    finished(tmp_path, b"{", *map(row, range(5)))
    errors = tmp_path / "out.errors.jsonl"
    errors.write_bytes(errors.read_bytes().replace(b"bad_json", b"bad_bson"))
    code, (job,) = look(tmp_path, "out.jsonl", "--verify")
    assert code == 70
    assert any("its codes are not those" in text for text in job["verification"]["problems"])


def test_a_manifest_that_was_made_to_fit_does_not_hide_a_missing_row(tmp_path):
    """Even if somebody corrects size and digest, lines and counts have to agree."""
    import hashlib

    finished(tmp_path, *map(row, range(5)))
    output, manifest = tmp_path / "out.jsonl", tmp_path / "out.manifest.json"
    data = b"".join(output.read_bytes().splitlines(keepends=True)[:-1])
    output.write_bytes(data)
    said = json.loads(manifest.read_text())
    said["outputs"][0] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest.write_text(json.dumps(said))
    code, (job,) = look(tmp_path, "out.jsonl", "--verify")
    assert code == 70
    assert job["verification"]["problems"] == ["out.jsonl has 4 lines, the manifest says 5"]
    said["counts"]["ok"] = 4
    manifest.write_text(json.dumps(said))
    _, (job,) = look(tmp_path, "out.jsonl", "--verify")
    assert any("do not add up" in text for text in job["verification"]["problems"])


@pytest.mark.parametrize("damage", ["gone", "short"])
def test_a_missing_or_shortened_output_is_damage_without_verify(tmp_path, damage):
    finished(tmp_path, *map(row, range(5)))
    output = tmp_path / "out.jsonl"
    if damage == "gone":
        output.unlink()
    else:
        os.truncate(output, output.stat().st_size - 1)
    code, (job,) = look(tmp_path, "out.jsonl")
    assert (code, job["state"]) == (70, "damaged")
    assert ("is not there any more" if damage == "gone" else "bytes, not") in job["detail"]
    assert look(tmp_path, "out.jsonl", "--verify")[0] == 70


def test_a_changed_input_is_a_warning(tmp_path):
    finished(tmp_path, *map(row, range(5)))
    with (tmp_path / "out.in.jsonl").open("ab") as file:
        file.write(b"\n")
    code, (job,) = look(tmp_path, "out.jsonl", "--verify")
    assert code == 0
    assert (
        "warning: input out.in.jsonl has changed since the job ran" in job["verification"]["notes"]
    )
    (tmp_path / "out.in.jsonl").unlink()
    code, (job,) = look(tmp_path, "out.jsonl", "--verify")
    assert code == 0
    assert any("is not there" in note for note in job["verification"]["notes"])


@pytest.mark.parametrize("name", ["records", "standard input"])
def test_an_input_is_compared_whatever_its_name(tmp_path, name):
    write_lines(tmp_path / name, row(0))
    assert textmill("run", name, "-o", "out.jsonl", "--engine", "echo", cwd=tmp_path).code == 0
    _, (job,) = look(tmp_path, "out.jsonl", "--verify")
    assert f"input {name}: as it was" in job["verification"]["checked"]


def test_what_can_be_read_only_once_is_not_compared_and_not_waited_for(tmp_path):
    """A pipe of that name may be there again, which nobody writes to."""
    os.mkfifo(tmp_path / "pipe")
    for name, data in (("-", b'{"id": 0, "text_inputs": "a"}\n'), ("pipe", b"\n")):
        run = [sys.executable, "-m", "textmill", "run", name, "-o", "out.jsonl", "--engine", "echo"]
        process = subprocess.Popen(
            [*run, "--quiet", "--fresh"], cwd=tmp_path, stdin=subprocess.PIPE, env=environment()
        )
        if name == "pipe":
            (tmp_path / "pipe").write_bytes(data)
        process.communicate(data if name == "-" else b"")
        assert process.returncode == 0
        code, (job,) = look(tmp_path, "out.jsonl", "--verify")
        shown = "standard input" if name == "-" else name
        why = f"the input was {shown}, to be read only once: there is nothing to compare it with"
        assert (code, why in job["verification"]["notes"]) == (0, True), job["verification"]


def test_a_torn_tail_is_said_and_is_no_damage(killed):
    part = min((killed / "out.jsonl.job" / "parts").iterdir())
    done = len(rows_in_parts(killed))
    os.truncate(part, part.stat().st_size - 5)
    code, (job,) = look(killed, "out.jsonl", "--verify")
    assert (code, job["state"], job["verification"]["problems"]) == (0, "died", [])
    assert any("part 0: ends in" in note for note in job["verification"]["notes"])
    assert job["counts"]["rows"] == len(rows_in_parts(killed)) < done


def test_a_changed_byte_in_a_part_is_damage_that_says_where(killed):
    part = min((killed / "out.jsonl.job" / "parts").iterdir())
    data = bytearray(part.read_bytes())
    data[data.index(b"text number 3")] ^= 1
    part.write_bytes(data)
    for flags in ((), ("--verify",)):
        code, (job,) = look(killed, "out.jsonl", *flags)
        assert (code, job["state"]) == (70, "damaged")
        assert "00000.jsonl is damaged: the frame at byte" in job["detail"]
    assert any("00000.jsonl is damaged" in text for text in job["verification"]["problems"])


def test_a_part_in_the_place_of_another_is_damage(killed):
    first, second = sorted((killed / "out.jsonl.job" / "parts").iterdir())[:2]
    second.write_bytes(first.read_bytes())
    code, (job,) = look(killed, "out.jsonl", "--verify")
    assert code == 70
    assert any("part 1: it holds rows 0 to 255" in p for p in job["verification"]["problems"])


@pytest.mark.parametrize("name", ["job.json", "journal.jsonl"])
def test_a_damaged_description_or_journal_is_a_state(killed, name):
    file = killed / "out.jsonl.job" / name
    file.write_bytes(file.read_bytes().replace(b'"', b"\xff", 2))
    code, (job,) = look(killed, "out.jsonl", "--verify")
    assert (code, job["state"]) == (70, "damaged")
    assert f"{name} is damaged" in job["detail"]


def test_a_letter_of_the_description_that_has_changed_is_damage(killed, many):
    file = killed / "out.jsonl.job" / "job.json"
    data = file.read_bytes()
    file.write_bytes(
        data.replace(b'"top_k', b'"uop_k').replace(b"parameter top_k", b"parameter uop_k")
    )
    assert file.read_bytes() != data
    _, (job,) = look(killed, "out.jsonl")
    assert "job.json is damaged: it is not as it was written" in job["detail"]
    ran = textmill("run", many[0], "-o", "out.jsonl", "--engine", "echo", cwd=killed)
    assert (ran.code, "job.json is damaged" in ran.err) == (2, True), ran.err


def test_several_jobs_in_a_folder_have_a_line_each(tmp_path, many):
    assert finished(tmp_path, *map(row, range(5)), name="fine").code == 0
    assert finished(tmp_path, b"{", row(1), name="holes").code == 3
    (tmp_path / "other.manifest.json").write_text('{"name": "an app"}')
    (tmp_path / "deeper").mkdir()
    finished(tmp_path / "deeper", row(1))
    with running(many[0], tmp_path):
        code, jobs = look(tmp_path)
        shown = textmill("status", cwd=tmp_path)
    assert code == 3
    assert [(job["output"], job["state"]) for job in jobs] == [
        ("fine.jsonl", "complete"),
        ("holes.jsonl", "complete"),
        ("out.jsonl", "running"),
    ]
    assert (shown.code, len(shown.out.splitlines())) == (3, 4)
    assert [line.split("\t")[0] for line in shown.out.splitlines()[1:]] == [
        job["output"] for job in jobs
    ]
    (tmp_path / "fine.jsonl").unlink()
    shown = textmill("status", tmp_path)
    assert shown.code == 70
    assert f"{tmp_path}/fine.jsonl is not there any more" in shown.out


def test_a_job_that_cannot_be_read_hides_no_other(tmp_path):
    assert finished(tmp_path, row(1), name="fine").code == 0
    (tmp_path / "loop.jsonl.job").symlink_to("loop.jsonl.job")
    (tmp_path / "odd.jsonl.job" / "job.json").mkdir(parents=True)
    code, jobs = look(tmp_path)
    states = {job["output"]: job["state"] for job in jobs}
    assert code == 70
    assert states == {"fine.jsonl": "complete", "loop.jsonl": "damaged", "odd.jsonl": "damaged"}


def test_watch_ends_with_the_job_and_its_exit_code(tmp_path, many):
    process = begin(many[0], tmp_path)
    wait_for_progress(process, tmp_path)
    watched = textmill("status", "out.jsonl", "--watch", cwd=tmp_path)
    process.communicate()
    assert watched.code == 3
    first, *_, _ = watched.out.splitlines()
    assert "out.jsonl   running   " in first
    assert "rows/s" in first
    assert "out.jsonl   complete   finished at" in watched.out
    assert f"rows {ROWS:,} = ok" in watched.out


def test_watch_ends_when_the_job_is_killed(tmp_path, many):
    with running(many[0], tmp_path) as process:
        watch = subprocess.Popen(
            [sys.executable, "-m", "textmill", "status", "out.jsonl", "--watch", "--json"],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
        )
        first = json.loads(watch.stdout.readline())
        process.kill()
        process.wait()
    rest = watch.communicate(timeout=120)[0].splitlines()
    assert (first["state"], json.loads(rest[-1])["state"]) == ("running", "died")
    assert watch.returncode == 0


def test_ctrl_c_ends_a_watch_and_nothing_else(tmp_path, many):
    with running(many[0], tmp_path) as process:
        watch = subprocess.Popen(
            [sys.executable, "-m", "textmill", "status", "out.jsonl", "--watch"],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        watch.stdout.readline()
        watch.send_signal(signal.SIGINT)
        _, err = watch.communicate(timeout=120)
        assert (watch.returncode, err) == (130, b"")
        assert process.poll() is None


def test_what_is_no_job_is_said_in_plain_words(tmp_path):
    finished(tmp_path, *map(row, range(5)), name="predict")
    write_lines(tmp_path / "mine.jsonl", {"id": 1})
    (tmp_path / "app.manifest.json").write_text('{"name": "an app"}')
    (tmp_path / "empty").mkdir()
    (tmp_path / "loading.jsonl.job").mkdir()
    (tmp_path / "loading.jsonl.job" / "lock").touch()
    expected = {
        "predct.jsonl": "there is no job predct.jsonl\n  did you mean predict.jsonl?",
        "zzz": "there is no job zzz\n  looked in",
        "no/predict.jsonl": "there is no job no/predict.jsonl\n  there is no folder no",
        "mine.jsonl": "mine.jsonl is not the output of a job of textmill",
        "app.manifest.json": "is the manifest of something else than a job of textmill",
        "empty": "there is no job in empty",
        "loading.jsonl": "loading.jsonl.job holds no job yet",
        "ftp://host/x": "textmill has no store for ftp://",
    }
    for name, words in expected.items():
        ran = textmill("status", name, cwd=tmp_path)
        assert (ran.code, words in ran.err) == (2, True), ran.err


def test_an_unreadable_manifest_is_no_traceback(tmp_path):
    finished(tmp_path, *map(row, range(5)))
    manifest = tmp_path / "out.manifest.json"
    manifest.write_text("{")
    code, (job,) = look(tmp_path, "out.jsonl", "--verify")
    assert (code, job["state"]) == (70, "damaged")
    assert "out.manifest.json is damaged" in job["detail"]
    assert look(tmp_path, "out.manifest.json")[0] == 70
    manifest.write_text('{"format": 99, "identity": {}, "counts": {}, "outputs": []}')
    code, (job,) = look(tmp_path, "out.jsonl")
    assert (code, "has format 99" in job["detail"]) == (70, True)


def test_a_fresh_run_over_a_finished_job_is_shown_while_it_runs(tmp_path, many):
    finished(tmp_path, row(1))
    process = begin(many[0], tmp_path, "--fresh")
    wait_for_progress(process, tmp_path)
    process.send_signal(signal.SIGSTOP)
    (now,) = python.status(tmp_path / "out.jsonl")
    process.kill()
    process.communicate()
    assert (now.state, now.total) == (State.RUNNING, ROWS)


def test_names_cannot_command_the_terminal(tmp_path):
    finished(tmp_path, {"id": "\x1b[2J", "text_inputs": 5}, row(1))
    assert "\x1b" not in textmill("status", "out.jsonl", cwd=tmp_path).out


def test_every_key_of_the_json_is_documented():
    page = (ROOT / "docs" / "howto" / "status.md").read_text("utf-8")
    assert [f"`{name}`" in page for name in JobStatus.__struct_fields__].count(False) == 0


def test_looking_again_finds_the_same(tmp_path):
    finished(tmp_path, b"{", row(1))
    reader = StatusReader(tmp_path)
    assert reader.read() == reader.read() == python.status(tmp_path)


def test_a_job_that_its_error_budget_stopped_is_continued_with_a_larger_one(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *({"id": n} for n in range(9)), {"text_inputs": ""})
    run = ("run", source, "-o", tmp_path / "out.jsonl", "--engine", "echo", "--max-errors", "2")
    assert textmill(*run).code == 4
    shown = textmill("status", tmp_path / "out.jsonl").out
    (line,) = [line for line in shown.splitlines() if line.startswith("to continue: ")]
    assert int(line.rpartition("--max-errors ")[2]) > 2
