"""`textmill run --shard k/n`: one large file as several jobs, as processes on the echo engine."""

from __future__ import annotations

import gzip
import json
import re

import pytest

from support.command import kill, read_lines, start_run, textmill, wait_for_parts, write_lines
from support.job_files import chat_request

ROWS = [{"id": n, "text_inputs": f"text {n} " + "é" * (n * 37 % 90)} for n in range(200)]


def echo(source, output, *flags, **kwargs):
    return textmill("run", source, "-o", output, "--engine", "echo", *flags, **kwargs)


def manifest(output):
    return json.loads(output.with_name(f"{output.stem}.manifest.json").read_bytes())


@pytest.mark.parametrize("count", [1, 3, 7])
def test_the_shards_results_one_after_the_other_are_those_of_one_job(tmp_path, count):
    """Bad rows included; their lines count from the byte that the shard's name tells."""
    lines = [json.dumps(row).encode() for row in ROWS]
    lines[77:77] = [b"", b'{"id": "bad"}']
    lines[150:150] = [b"{"]
    source = write_lines(tmp_path / "in.jsonl", *lines)
    assert echo(source, tmp_path / "whole.jsonl", "--id", "id").code == 3
    outputs, errors, stretches = b"", [], []
    for number in range(1, count + 1):
        output = tmp_path / f"{number}.jsonl"
        ran = echo(source, output, "--shard", f"{number}/{count}")
        assert ran.code in {0, 3}, ran.err
        outputs += output.read_bytes()
        (entry,) = manifest(output)["inputs"]
        stretches.append(entry["span"])
        for error in read_lines(tmp_path / f"{number}.errors.jsonl"):
            start = int(re.search(r"from byte ([\d,]+)\]", entry["name"])[1].replace(",", ""))
            line = source.read_bytes()[start - 1 :].split(b"\n")[error["line"] - 1]
            errors.append((error["code"], line))
            assert entry["name"].startswith(f"{source}[shard {number}/{count}, ")
    assert outputs == (tmp_path / "whole.jsonl").read_bytes()
    assert errors == [("missing_field", b'{"id": "bad"}'), ("bad_json", b"{")]
    assert [start for start, _ in stretches] == [0, *(end for _, end in stretches[:-1])]
    assert stretches[-1][1] == source.stat().st_size


def test_more_shards_than_rows(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *ROWS[:2])
    found = []
    for number in range(1, 9):
        assert echo(source, tmp_path / f"{number}.jsonl", "--shard", f"{number}/8").code == 0
        found += [row["id"] for row in read_lines(tmp_path / f"{number}.jsonl")]
    assert found == [0, 1]


def test_requests_can_be_cut_too(tmp_path):
    requests = [chat_request({"id": n, "text_inputs": f"text {n}"}) for n in range(20)]
    source = write_lines(tmp_path / "in.jsonl", *requests)
    assert echo(source, tmp_path / "whole.jsonl").code == 0
    parts = []
    for number in (1, 2):
        assert echo(source, tmp_path / f"{number}.jsonl", "--shard", f"{number}/2").code == 0
        parts.append((tmp_path / f"{number}.jsonl").read_bytes())
    assert b"".join(parts) == (tmp_path / "whole.jsonl").read_bytes()
    assert all(b'"object": "chat.completion"' in part for part in parts)


def test_another_shard_is_another_job(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *ROWS)
    output = tmp_path / "out.jsonl"
    assert echo(source, output, "--shard", "2/4").code == 0
    before = output.read_bytes()
    assert echo(source, output, "--shard", "2/4").out.startswith("already complete:")
    ran = echo(source, output, "--shard", "3/4")
    assert (ran.code, "input 1: was" in ran.err) == (2, True), ran.err
    assert output.read_bytes() == before
    verified = textmill("status", output, "--verify")
    assert (verified.code, "not compared: it is a part of a file" in verified.out) == (0, True)


def test_a_dry_run_looks_at_the_shard_only(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *ROWS)
    ran = echo(source, tmp_path / "out.jsonl", "--shard", "4/4", "--dry-run")
    assert ran.code == 0, ran.err
    shown = re.search(r"(\d+) rows", ran.out)
    assert shown
    assert 30 < int(shown[1]) < 70
    assert "id 0\n" not in ran.out
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_killed_shard_resumes_to_the_same_bytes(tmp_path):
    rows = [{"id": n, "text_inputs": f"text number {n} " + "x" * (n % 50)} for n in range(60_000)]
    source = write_lines(tmp_path / "in.jsonl", *rows)
    output = tmp_path / "out.jsonl"
    flags = ("--shard", "2/2")
    assert echo(source, tmp_path / "whole.jsonl", *flags).code == 0
    process = start_run(source, output, *flags)
    wait_for_parts(process, output, 5)
    kill(process)
    other = echo(source, output, "--shard", "1/2")
    assert (other.code, "input 1: was" in other.err) == (2, True), other.err
    assert echo(source, output, *flags).code == 0
    assert output.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert manifest(output)["run"]["resumed_rows"] > 0


REFUSED = {
    "gzip": (("in.jsonl.gz",), "1/2", "is compressed"),
    "CSV": (("in.csv",), "1/2", "its records are not lines"),
    "standard input": (("-",), "1/2", "a shard is of one file"),
    "two files": (("in.jsonl", "other.jsonl"), "1/2", "a shard is of one file"),
    "numbered rows": (("in.jsonl", "--id", "@ordinal"), "1/2", "number the rows of each shard"),
    "plain lines": (("in.txt",), "1/2", "would number its lines from 0"),
    "no shard": (("in.jsonl",), "3/2", "there is no shard 3/2"),
    "no number": (("in.jsonl",), "half", "is not a shard"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_cut_is_refused_before_any_work(tmp_path, case):
    arguments, shard, message = REFUSED[case]
    plain = write_lines(tmp_path / "in.jsonl", *ROWS).read_bytes()
    write_lines(tmp_path / "other.jsonl", *ROWS)
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(plain))
    (tmp_path / "in.csv").write_text("id,text_inputs\n1,a\n2,b\n")
    (tmp_path / "in.txt").write_text("one text\nanother text\n")
    before = sorted(tmp_path.iterdir())
    run = ("run", *arguments, "-o", "out.jsonl", "--engine", "echo", "--shard", shard)
    ran = textmill(*run, cwd=tmp_path, stdin=plain)
    assert (ran.code, message in ran.err) == (2, True), ran.err
    assert sorted(tmp_path.iterdir()) == before
