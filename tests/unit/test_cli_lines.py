"""The lines that go on with a job."""

from __future__ import annotations

import pytest

from textmill.cli.lines import next_line, retry_line

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
