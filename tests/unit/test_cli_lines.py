"""The lines that go on with a job."""

from __future__ import annotations

import pytest

from textmill.cli.lines import NO_RETRY, helps, next_line, retry_line, ways_out

RUN = ["textmill", "run", "my file.jsonl", "-o", "out.jsonl"]


def test_a_retry_says_so_once_and_never_starts_over():
    line = "textmill run 'my file.jsonl' -o out.jsonl --retry-failed"
    assert retry_line(RUN) == retry_line([*RUN, "--fresh", "--retry-failed"]) == line
    assert retry_line(RUN, "/else where") == f"cd '/else where' && {line}"


@pytest.mark.parametrize(
    ("said", "errors", "rows", "expected"),
    [
        (["--max-errors", "20"], 21, 50, "--max-errors 42"),
        (["--max-errors=20"], 21, 50, "--max-errors=42"),
        (["--max-errors", "20"], 20, 50, "--max-errors 20"),
        (["--max-errors", "1%"], 2, 100, "--max-errors 2%"),
        (["--max-errors", "0%"], 2, 100, "--max-errors 1%"),
        (["--max-errors", "0"], 1, 1, "--max-errors 2"),
        (["--max-errors"], 1, 1, "--max-errors"),
        ([], 1, 1, "out.jsonl"),
    ],
)
def test_a_line_that_would_stop_at_once_allows_more_errors(said, errors, rows, expected):
    assert next_line([*RUN, *said], None, errors=errors, rows=rows).endswith(f" {expected}")


@pytest.mark.parametrize(
    ("said", "codes", "expected"),
    [
        ("--timeout 1", {"timeout"}, ""),
        ("--timeout=1", {"timeout"}, ""),
        ("--timeout 600", {"timeout"}, " --timeout 1200"),
        ("--timeout=900.5", {"timeout"}, " --timeout=1801"),
        ("", {"timeout", "too_long"}, " --timeout 1200"),
        ("--timeout 1", {"crashed"}, " --timeout 1"),
        ("--threads 8", {"oom"}, " --threads 1"),
        ("", {"oom", "timeout"}, " --timeout 1200 --threads 1"),
    ],
)
def test_a_retry_does_not_fail_again_for_the_flag_that_it_failed_for(said, codes, expected):
    line = retry_line([*RUN[:2], *said.split(), *RUN[2:]], codes=codes)
    assert sorted(line.split()) == sorted(f"{retry_line(RUN)}{expected}".split())


def test_memory_that_ran_out_is_helped_with_flags_by_name():
    (said,) = helps({"oom": 2, "timeout": 1}, 4096)
    assert "--threads" in said
    assert "--max-batch-tokens 2048" in said
    assert helps({"bad_record"}, 4096) == []
    assert "--precision" in helps({"crashed"}, None)[0]


def test_the_end_of_a_job_says_the_line_that_works_and_what_helps():
    identity = {"max_batch_tokens": "8192"}
    done = {"command": [*RUN, "--timeout", "1"], "output_format": "jsonl", "identity": identity}
    line, memory = ways_out(done, {"oom": 1, "timeout": 1})
    assert line == retry_line([*RUN, "--threads", "1"])
    assert memory.startswith("oom: ")
    assert "--max-batch-tokens 4096" in memory
    read = ways_out({**done, "command": ["textmill", "run", "-", "-o", "o.jsonl"]}, {"crashed": 1})
    assert read[0].endswith("--retry-failed   (with the same standard input)")
    assert ways_out({**done, "output_format": "csv"}, {"timeout": 1}) == [NO_RETRY]
    assert "retry_failed=True" in ways_out({**done, "command": None}, {"timeout": 1})[0]
