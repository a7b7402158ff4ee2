"""A job replaces what stood at its names when it began, and nothing that came there since."""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path

import pytest

from support.command import Ran, read_lines, start_run, textmill, wait_for_parts, write_lines
from support.s3_jobs import Prefix, begin, end

ROWS = [{"id": n, "text_inputs": f"text {n}"} for n in range(20_000)]
BAD = b'{"id": "bad", "text_inputs": 1}'
NAMES = ["out.jsonl", "out.errors.jsonl", "out.manifest.json"]
PRECIOUS = b'{"precious": true}\n'


def run(folder: Path, *flags: str, output: str = "out.jsonl", source: str = "in.jsonl") -> Ran:
    return textmill("run", source, "-o", output, "--engine", "echo", *flags, cwd=folder)


@pytest.fixture
def half_done(tmp_path):
    """A job that was killed half-way."""
    source = write_lines(tmp_path / "in.jsonl", *ROWS, BAD)
    process = start_run(source, tmp_path / "out.jsonl")
    wait_for_parts(process, tmp_path / "out.jsonl", 2)
    process.kill()
    process.communicate()
    assert (tmp_path / "out.jsonl.job").is_dir()
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_what_appears_while_a_job_is_unfinished_is_not_replaced(half_done, name):
    (half_done / name).write_bytes(PRECIOUS)
    for _ in range(2):
        ran = run(half_done)
        assert (ran.code, f"{name} has appeared" in ran.err, "--fresh" in ran.err) == (
            2,
            True,
            False,
        )
        assert (half_done / name).read_bytes() == PRECIOUS
    (half_done / name).unlink()  # as the hint says
    assert run(half_done).code == 3
    assert [row["id"] for row in read_lines(half_done / "out.jsonl")] == list(range(20_000))
    assert json.loads((half_done / "out.manifest.json").read_bytes())["run"]["resumed_rows"] > 0


@pytest.mark.parametrize("name", NAMES[:2])
def test_what_appears_while_a_job_runs_is_not_replaced(tmp_path, name):
    many = [{"id": n, "text_inputs": f"text {n}"} for n in range(100_000)]
    source = write_lines(tmp_path / "in.jsonl", *many)
    process = start_run(source, tmp_path / "out.jsonl")
    wait_for_parts(process, tmp_path / "out.jsonl", 1)
    (tmp_path / name).write_bytes(PRECIOUS)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, f"{name} has appeared".encode() in err) == (2, True), err
    assert (tmp_path / name).read_bytes() == PRECIOUS
    (tmp_path / name).unlink()
    assert run(tmp_path).code == 0
    manifest = json.loads((tmp_path / "out.manifest.json").read_bytes())
    assert (manifest["counts"]["ok"], manifest["run"]["rows"]) == (100_000, 0)


def test_an_output_that_is_replaced_afresh_must_still_be_the_same(half_done):
    """`--fresh` says that what stands there may go; not what is written there afterwards."""
    (half_done / "out.jsonl").write_bytes(b"old\n")
    process = start_run(half_done / "in.jsonl", half_done / "out.jsonl", "--fresh")
    wait_for_parts(process, half_done / "out.jsonl", 2)
    process.kill()
    process.communicate()
    (half_done / "out.jsonl").write_bytes(PRECIOUS)
    assert run(half_done).code == 2
    assert (half_done / "out.jsonl").read_bytes() == PRECIOUS
    assert run(half_done, "--fresh").code == 3
    assert len(read_lines(half_done / "out.jsonl")) == 20_000


@pytest.mark.parametrize(("one", "other"), [("o", "o.jsonl"), ("o.jsonl", "o")])
@pytest.mark.parametrize("flags", [(), ("--fresh",)])
def test_two_outputs_do_not_share_their_side_files(tmp_path, one, other, flags):
    write_lines(tmp_path / "in.jsonl", *ROWS[:3], BAD)
    assert run(tmp_path, output=one).code == 3
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    ran = run(tmp_path, *flags, output=other)
    assert (ran.code, f"{one} is the output of another job" in ran.err) == (2, True)
    assert "--fresh" not in ran.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_unfinished_job_keeps_its_side_files_names(half_done):
    ran = run(half_done, output="out")
    assert (ran.code, "out.jsonl is the output of another job" in ran.err) == (2, True)
    assert run(half_done).code == 3


def test_outputs_with_other_endings_have_side_files_of_their_own(tmp_path):
    write_lines(tmp_path / "in.jsonl", *ROWS[:3])
    assert [run(tmp_path, output=name).code for name in ("o.jsonl", "o.csv", "o.tsv")] == [0] * 3


@pytest.mark.parametrize("change", ["damaged", "missing"])
def test_a_finished_job_whose_error_file_is_not_whole_says_so(tmp_path, change):
    write_lines(tmp_path / "in.jsonl", *ROWS[:3], BAD)
    assert run(tmp_path).code == 3
    errors = tmp_path / "out.errors.jsonl"
    saved = shutil.copy(errors, tmp_path / "saved")
    if change == "damaged":
        errors.write_bytes(errors.read_bytes().replace(b"bad", b"BAD"))
    else:
        errors.unlink()
    ran = run(tmp_path)
    word = "not as the job wrote it" if change == "damaged" else "missing"
    assert (ran.code, f"out.errors.jsonl is {word}" in ran.err) == (2, True), ran.err
    shutil.move(saved, errors)
    assert run(tmp_path).code == 3


def test_on_s3_too_what_appears_is_not_replaced(s3_url, credentials, proxy, request):
    place = Prefix(s3_url, f"ownership/{zlib.crc32(request.node.name.encode()):08x}")
    url = place.put("in.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in ROWS[:4000]))
    first = begin(url, place.url("out.jsonl"), proxy.url)
    while not [name for name in place.names("out.jsonl.job/") if "/parts/" in name]:
        assert first.poll() is None
    first.kill()
    first.communicate()
    place.put("out.errors.jsonl", PRECIOUS)
    ran = end(begin(url, place.url("out.jsonl"), proxy.url))
    assert (ran.code, "out.errors.jsonl has appeared" in ran.err) == (2, True), ran.err
    assert place.get("out.errors.jsonl") == PRECIOUS
