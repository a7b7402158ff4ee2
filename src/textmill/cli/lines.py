"""The line that goes on with a job, as the user can type it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from math import ceil
from pathlib import Path

RETRY = "--retry-failed"
_MAX_ERRORS = "--max-errors"
_STANDARD_INPUT = ("-", "/dev/stdin")


def reads_standard_input(command: Sequence[str] | None) -> bool:
    """Whether the line alone does not say what the job reads."""
    return command is not None and any(word in command for word in _STANDARD_INPUT)


def retry_line(
    command: Sequence[str], cwd: str | None = None, *, standard_input: str | None = None
) -> str:
    """The line of a job, so that its failed rows are computed again.

    standard_input: the file that is to be read as such.
    """
    words = [word for word in _again(command) if word != RETRY]
    return _typed([*words, RETRY], cwd, standard_input)


def next_line(
    command: Sequence[str],
    cwd: str | None,
    *,
    errors: int,
    rows: int,
    standard_input: str | None = None,
) -> str:
    """The line that continues a job, of whose `rows` done so many are `errors`.

    Where its --max-errors allows no more, it allows twice as many. standard_input: the file that is
    to be read as such.
    """
    words = _again(command)
    at, limit = _limit(words)
    if limit is not None and errors > _allowed(limit, rows):
        words[at] = words[at].removesuffix(limit) + _larger(limit, errors)
    return _typed(words, cwd, standard_input)


def _again(command: Sequence[str]) -> list[str]:
    """--fresh would start over."""
    return [word for word in command if word != "--fresh"]


def _limit(words: Sequence[str]) -> tuple[int, str | None]:
    """Where the line says what --max-errors is, and what."""
    for at, word in enumerate(words):
        if word.startswith(f"{_MAX_ERRORS}="):
            return at, word.partition("=")[2]
        if word == _MAX_ERRORS and at + 1 < len(words):
            return at + 1, words[at + 1]
    return 0, None


def _allowed(limit: str, rows: int) -> float:
    try:
        return rows * float(limit[:-1]) / 100 if limit.endswith("%") else float(limit)
    except ValueError:
        return float("inf")


def _larger(limit: str, errors: int) -> str:
    if limit.endswith("%"):
        return f"{min(100, max(1, ceil(2 * float(limit[:-1]))))}%"
    return str(2 * errors)


def _typed(words: Sequence[str], cwd: str | None, standard_input: str | None = None) -> str:
    is_here = cwd in {None, str(Path.cwd())}
    line = shlex.join(words)
    if standard_input is not None:
        file = standard_input if is_here else str(Path(standard_input).absolute())
        line += f" < {shlex.quote(file)}"
    return line if is_here else f"cd {shlex.quote(str(cwd))} && {line}"
