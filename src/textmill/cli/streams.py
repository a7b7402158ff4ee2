"""Standard output, watched: what it does not take is told, and never half-told."""

from __future__ import annotations

import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Untaken(OSError):
    """Standard output does not take what is printed: a full disk, a device that is gone."""


class Output:
    """`sys.stdout` while a command runs, until `finish`."""

    def __init__(self, replaced: io.TextIOWrapper) -> None:
        self._replaced, self._raw = replaced, _Raw(replaced.fileno(), "w", closefd=False)
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(self._raw),
            encoding=replaced.encoding,
            errors="replace",  # a terminal without UTF-8 still gets its words
            line_buffering=replaced.line_buffering or replaced.write_through,
        )

    def finish(self) -> Untaken | None:
        """Write what is left; the first error of all writing. A reader that has gone is none.

        After an error the rest goes nowhere, so that the process ends in silence.
        """
        try:
            sys.stdout.flush()
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._raw.fileno())
            sys.stdout.flush()
        sys.stdout = self._replaced
        return self._raw.untaken


class _Raw(io.FileIO):
    untaken: Untaken | None = None

    def write(self, data: ReadableBuffer, /) -> int | None:  # type: ignore[override]
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            words = error.strerror or type(error).__name__
            self.untaken = self.untaken or Untaken(f"standard output cannot be written: {words}")
            raise self.untaken from error


def watch_output() -> Output | None:
    """Put standard output under watch; None where it is not a file of the system."""
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="replace")
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.fileno() == 1:
        sys.stdout.flush()
        return Output(sys.stdout)
    return None
