"""Run a command line: its errors as sentences and exit codes, never as tracebacks."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from textmill.cli.main import interrupted
from textmill.cli.streams import Output, Untaken, watch_output
from textmill.errors import ExitCode, TextmillError, meaning_of

STANDARD_INPUT = "/dev/stdin"
"""What a lone dash is turned into: the parser would take it for a flag."""


def run_app(app: App, argv: Sequence[str]) -> int:
    """Run `argv` on a cyclopts app and return the exit code; raises no exception of ours.

    The app must be made with `suppress_keyboard_interrupt=False`, or Ctrl-C ends it in silence.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    output = watch_output()
    try:
        result = app(
            [_standard_input(argument) for argument in argv],
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        status = result if isinstance(result, int) else ExitCode.DONE
    except (BrokenPipeError, SystemExit):  # which of them, depends on who prints
        status = ExitCode.DONE  # the reader of a pipe (head, less) has seen enough
    except Untaken:
        status = ExitCode.UNPRINTED  # told below
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  told, with its exit code
        message, status = explain(error, argv)
        sys.stderr.write(printable(message))
        sys.stderr.flush()
    return _all_told(output, status)


def explain(error: BaseException, argv: Sequence[str] = ()) -> tuple[str, ExitCode]:
    """What to print for an exception that ends the command `argv`, and its exit code."""
    if isinstance(error, KeyboardInterrupt):
        return interrupted(argv), ExitCode.INTERRUPTED
    if isinstance(error, CycloptsError):
        words = " ".join(["textmill", *(error.command_chain or ())])
        return f"error: {error}\n  see {words} --help\n", ExitCode.REFUSED
    _, message, hint, status = meaning_of(error)
    if isinstance(error, MemoryError):
        hint = "a job keeps its finished rows"
    if not isinstance(error, TextmillError | OSError | MemoryError):
        where = "".join(traceback.format_exception(error))
        return f"{where}error: {message}\n  this is a bug of textmill: please report it\n", status
    return f"error: {message}\n" + (f"  {hint}\n" if hint else ""), status


def _all_told(output: Output | None, status: int) -> int:
    """The exit code, now that all is printed; another one if standard output did not take all."""
    untaken = output.finish() if output else None
    if untaken is None:
        return status
    sys.stderr.write(f"error: {untaken}\n")
    return status or ExitCode.UNPRINTED


def _interrupt(*_: object) -> None:
    """A supervisor's request to stop is the user's Ctrl-C: leave everything resumable."""
    raise KeyboardInterrupt


def _standard_input(argument: str) -> str:
    return STANDARD_INPUT if argument == "-" else argument


def printable(text: str) -> str:
    """Text in which nothing can command a terminal: names and messages may come from a server."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
