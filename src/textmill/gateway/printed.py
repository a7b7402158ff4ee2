"""What an endpoint's process prints, as a log: each line once, with the time it was found.

A process writes to a file, which ends with it: the next one of its folder begins another. The log
goes on. Each of its lines says how far it had come, so that a gateway that was killed goes on too.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from textmill.gateway.transform.log import LOG, MAX_CHARACTERS, Event

_STEP_BYTES = 1 << 20


class Line(Event, frozen=True):
    """One line. end: the byte of the process's output that follows it."""

    end: int = 0


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


class Printed:
    """The log of a folder. One thread writes it; `transform.log.read_log` reads it."""

    def __init__(self, folder: Path, output: str) -> None:
        """`output`: the name of the file that processes write to."""
        self._output, self._path = folder / output, folder / LOG
        self._last = self._written()

    def began(self) -> None:
        """A process begins, with an output of its own. Raises `OSError`."""
        self._append([self._line("the endpoint's process begins", 0)])

    def collect(self, *, ended: bool) -> None:
        """Add the lines that are new; of a process that has ended, one without an end too.

        Raises `OSError`.
        """
        try:
            size = self._output.stat().st_size
        except FileNotFoundError:
            return
        while self._last.end < size:
            with self._output.open("rb") as file:
                file.seek(self._last.end)
                data = file.read(_STEP_BYTES)
            is_rest = ended or len(data) == _STEP_BYTES  # no line is that long
            whole = data if is_rest else data[: data.rfind(b"\n") + 1]
            if not whole:
                return
            end, lines = self._last.end, []
            for line in whole.splitlines(keepends=True):
                end += len(line)
                lines.append(self._line(line.decode("utf-8", "replace").rstrip(), end))
            self._append(lines)

    def _line(self, text: str, end: int) -> Line:
        at = max(self._last.at, int(time.time() * 1000))
        return Line(at=at, message=text[:MAX_CHARACTERS], end=end)

    def _append(self, lines: list[Line]) -> None:
        with self._path.open("ab", buffering=0) as file:
            file.write(b"".join(_encode(line) + b"\n" for line in lines))
        self._last = lines[-1]

    def _written(self) -> Line:
        """The last line, once what a kill has cut off is taken away."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return Line(at=0, message="")
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            with self._path.open("r+b") as file:
                file.truncate(len(whole))
        last = whole[:-1].rpartition(b"\n")[2]
        return _decode(last) if last else Line(at=0, message="")
