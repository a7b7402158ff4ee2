"""The line that goes on with a job, as the user can type it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

from textmill.errors import ErrorCode

RETRY = "--retry-failed"
NO_RETRY = "a finished table is not opened again: run the failed rows as a job of their own"
_OUTPUT = ("-o", "--output")
_MAX_ERRORS, _TIMEOUT = "--max-errors", "--timeout"
_TIMEOUT_SECONDS = 600.0
"""What --timeout is by default."""
_STANDARD_INPUT = ("-", "/dev/stdin")


def reads_standard_input(command: Sequence[str] | None) -> bool:
    """Whether the line alone does not say what the job reads."""
    return command is not None and any(word in command for word in _STANDARD_INPUT)


def retry_line(
    command: Sequence[str],
    cwd: str | None = None,
    *,
    codes: Collection[str] = (),
    standard_input: str | None = None,
    output: str | None = None,
) -> str:
    """The line of a job, so that its failed rows are computed again, with better prospects.

    codes: what they failed with; of the flags that may change, those are set that help.
    standard_input: the file that is to be read as such. output: where the job has been moved to.
    """
    words = [word for word in _again(command, output) if word != RETRY]
    if ErrorCode.TIMEOUT in codes:
        words = _with_flag(words, _TIMEOUT, _more_time(_value(words, _TIMEOUT)))
    if ErrorCode.OOM in codes:
        words = _with_flag(words, "--threads", "1")
    return _typed([*words, RETRY], cwd, standard_input)


def helps(codes: Collection[str], max_batch_tokens: int | None) -> list[str]:
    """What to do about rows that fail with `codes` even so: sentences, with flags.

    max_batch_tokens: of the job that failed. What changes it, is another job.
    """
    found = []
    if ErrorCode.OOM in codes:
        half = "" if max_batch_tokens is None else f" {max(1, max_batch_tokens // 2)}"
        found.append(
            f"oom: use fewer --threads; else start over (--fresh) with --max-batch-tokens{half},"
            " or with a --max-input-tokens and --truncate"
        )
    if ErrorCode.CRASHED in codes:
        found.append("crashed: start over (--fresh) with another --precision or --engine")
    return found


def ways_out(manifest: Mapping[str, Any], codes: Collection[str]) -> list[str]:
    """How the rows of a finished job that failed with `codes` may get a result: first the line."""
    command = manifest.get("command")
    if manifest["output_format"] != "jsonl":
        first = NO_RETRY
    elif command is None:
        first = "make the call again with retry_failed=True"
    else:
        same = "   (with the same standard input)" if reads_standard_input(command) else ""
        first = retry_line(command, codes=codes) + same
    tokens = json.loads(manifest["identity"].get("max_batch_tokens", "null"))
    return [first, *helps(codes, tokens)]


def next_line(
    command: Sequence[str],
    cwd: str | None,
    *,
    errors: int,
    rows: int,
    standard_input: str | None = None,
    output: str | None = None,
) -> str:
    """The line that continues a job, of whose `rows` done so many are `errors`.

    Where its --max-errors allows no more, it allows twice as many. standard_input: the file that is
    to be read as such. output: where the job has been moved to.
    """
    words = _again(command, output)
    limit = _value(words, _MAX_ERRORS)
    if limit is not None and errors > _allowed(limit, rows):
        words = _with_flag(words, _MAX_ERRORS, _larger(limit, errors))
    return _typed(words, cwd, standard_input)


def _again(command: Sequence[str], output: str | None) -> list[str]:
    """--fresh would start over."""
    words = [word for word in command if word != "--fresh"]
    if output is None:
        return words
    given = [flag for flag in _OUTPUT if _place(words, flag) is not None]
    return _with_flag(words, (given or _OUTPUT)[0], output)


def _place(words: Sequence[str], flag: str) -> tuple[int, str] | None:
    """Where the value of a flag stands, and what stands before it in that word."""
    for at, word in enumerate(words):
        if word.startswith(f"{flag}="):
            return at, f"{flag}="
        if word == flag and at + 1 < len(words):
            return at + 1, ""
    return None


def _value(words: Sequence[str], flag: str) -> str | None:
    place = _place(words, flag)
    return None if place is None else words[place[0]].removeprefix(place[1])


def _with_flag(words: Sequence[str], flag: str, value: str | None) -> list[str]:
    """The line with the flag set, where it stood if it did; without the flag if `value` is None."""
    place = _place(words, flag)
    if place is None:
        return [*words] if value is None else [*words, flag, value]
    at, before = place
    if value is None:
        return [*words[: at if before else at - 1], *words[at + 1 :]]
    return [*words[:at], before + value, *words[at + 1 :]]


def _more_time(seconds: str | None) -> str | None:
    """Twice the --timeout that was too short; None is the default, where that is more."""
    try:
        given = _TIMEOUT_SECONDS if seconds is None else float(seconds)
    except ValueError:
        return None
    return f"{2 * given:g}" if given >= _TIMEOUT_SECONDS else None


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
