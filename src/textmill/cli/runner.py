"""Run a command line: its errors as sentences and exit codes, never as tracebacks."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from textmill.errors import TextmillError, UsageError

INTERRUPTED = 130


def run_app(app: App, argv: Sequence[str]) -> int:
    """Run `argv` on a cyclopts app and return the exit code; raises no exception of ours.

    The app must be made with `suppress_keyboard_interrupt=False`, or Ctrl-C ends it in silence.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        result = app(
            [_standard_input(argument) for argument in argv],
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        sys.stdout.flush()
    except CycloptsError as error:
        sys.stderr.write(f"error: {error}\n  see {app.name[0]} --help\n")
        return UsageError.exit_code
    except TextmillError as error:
        sys.stderr.write(f"error: {printable(str(error))}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: the same command goes on from here\n")
        return INTERRUPTED
    except MemoryError:
        sys.stderr.write("error: out of memory\n  finished rows are kept: use --max-batch-tokens\n")
        return TextmillError.exit_code
    except BrokenPipeError:
        # The reader of a pipe (head, less) has seen enough; Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0


def _interrupt(*_: object) -> None:
    """A supervisor's request to stop is the user's Ctrl-C: leave everything resumable."""
    raise KeyboardInterrupt


def _standard_input(argument: str) -> str:
    """A lone dash looks like a flag to the parser; the file it means does not."""
    return "/dev/stdin" if argument == "-" else argument


def printable(text: str) -> str:
    """Text in which nothing can command a terminal: names and messages may come from a server."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
