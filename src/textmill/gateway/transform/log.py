"""A job's log: lines with a time each, as CloudWatch Logs shows them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

LOG = "log.jsonl"
MAX_CHARACTERS = 4096
"""Of one line."""


class Event(Struct, frozen=True):
    """One line. at: milliseconds since 1970, never less than the line's before."""

    at: int
    message: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Event).decode


class JobLog:
    """Appends to the log of the job in a folder; goes on after a line that was cut off."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG
        before = read_log(folder)
        self._last = before[-1].at if before else 0
        self._torn = self._path.exists() and not self._path.read_bytes().endswith(b"\n")

    def write(self, text: str) -> None:
        """Add a line, in the form of SageMaker's own."""
        self._last = max(self._last, int(time.time() * 1000))
        at = datetime.fromtimestamp(self._last / 1000, UTC).isoformat(timespec="milliseconds")
        message = f"{at.removesuffix('+00:00')}:[sagemaker logs]: {text}"[:MAX_CHARACTERS]
        start, self._torn = b"\n" if self._torn else b"", False
        with self._path.open("ab", buffering=0) as file:
            file.write(start + _encode(Event(self._last, message)) + b"\n")


def read_log(folder: Path) -> Sequence[Event]:
    """All lines so far; one that was cut off by a kill is left out."""
    try:
        data = (folder / LOG).read_bytes()
    except FileNotFoundError:
        return []
    found = []
    for line in data.split(b"\n"):
        try:
            found.append(_decode(line))
        except msgspec.MsgspecError:  # empty, or torn
            continue
    return found
