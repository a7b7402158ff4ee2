"""Whether the process that began a run still works on it. Asks the kernel, never the job's lock."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from textmill.errors import InputError
from textmill.transform.journal import RunBegan
from textmill.words import written

_CLOCK_SLACK = timedelta(seconds=3)
"""A journal's times are whole seconds, and the kernel's idea of when it booted wanders as much."""

_STATE, _START_TICKS = 0, 19
"""Fields of /proc/PID/stat, counted from behind the program's name."""


def is_alive(run: RunBegan) -> bool | None:
    """Whether the run's process is there; None if it is another host's, which cannot be asked.

    A zombie is not, nor is a younger process that has been given the same number.
    """
    if run.host != socket.gethostname():
        return None
    if not _exists(run.pid):
        return False
    state, began = _process(run.pid)
    if state in {"Z", "X"}:
        return False
    return began is None or began <= parse_time(run.at) + _CLOCK_SLACK


def parse_time(text: str) -> datetime:
    """A time of a journal. Raises `InputError`."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InputError(f"{written(text)} is not a time") from error


def _exists(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True  # it is another user's
    return True


def _process(pid: int) -> tuple[str, datetime | None]:
    """A process's state and when it began; neither where there is no /proc (macOS)."""
    with suppress(OSError, ValueError, IndexError, KeyError):
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        seconds = _booted_at() + int(fields[_START_TICKS]) / os.sysconf("SC_CLK_TCK")
        return fields[_STATE], datetime.fromtimestamp(seconds, UTC)
    return "", None


def _booted_at() -> int:
    """When the machine started, in seconds of Unix time."""
    lines = Path("/proc/stat").read_text("ascii").splitlines()
    return int(dict(line.split(maxsplit=1) for line in lines)["btime"])
