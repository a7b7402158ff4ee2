"""Run a command line: its errors as sentences and exit codes, never as tracebacks."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from io import TextIOWrapper

from cyclopts import App, CycloptsError

from textmill.cli.main import GOES_ON, INTERRUPTED
from textmill.errors import TextmillError, UsageError

STANDARD_INPUT = "/dev/stdin"
"""What a lone dash is turned into: the parser would take it for a flag."""


def run_app(app: App, argv: Sequence[str]) -> int:
    """Run `argv` on a cyclopts app and return the exit code; raises no exception of ours.

    The app must be made with `suppress_keyboard_interrupt=False`, or Ctrl-C ends it in silence.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal without UTF-8 still gets its words
            stream.reconfigure(errors="replace")
    try:
        result = app(
            [_standard_input(argument) for argument in argv],
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        status = result if isinstance(result, int) else 0
    except (TextmillError, CycloptsError, KeyboardInterrupt, MemoryError, OSError) as error:
        message, status = explain(error)
        sys.stderr.write(printable(message))
        sys.stderr.flush()
    return status if _flushed() else status or UsageError.exit_code


def explain(error: BaseException) -> tuple[str, int]:
    """What to print for an error that ends a command, and its exit code."""
    if isinstance(error, TextmillError):
        return f"error: {error}\n", error.exit_code
    if isinstance(error, CycloptsError):
        words = " ".join(["textmill", *(error.command_chain or ())])
        return f"error: {error}\n  see {words} --help\n", UsageError.exit_code
    if isinstance(error, KeyboardInterrupt):
        return GOES_ON, INTERRUPTED
    if isinstance(error, MemoryError):
        return "error: out of memory\n  a job keeps its finished rows\n", TextmillError.exit_code
    if isinstance(error, BrokenPipeError):  # the reader of a pipe (head, less) has seen enough
        return "", 0
    return f"error: {error}\n", UsageError.exit_code


def _flushed() -> bool:
    """Whether all output was taken; if not, what is left is dropped, so that exit is silent."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError, AttributeError) as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stderr.write(f"error: the output could not be written: {error}\n")
        return False
    return True


def _interrupt(*_: object) -> None:
    """A supervisor's request to stop is the user's Ctrl-C: leave everything resumable."""
    raise KeyboardInterrupt


def _standard_input(argument: str) -> str:
    return STANDARD_INPUT if argument == "-" else argument


def printable(text: str) -> str:
    """Text in which nothing can command a terminal: names and messages may come from a server."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
