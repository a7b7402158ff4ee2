"""Run a command line: its errors as sentences and exit codes, never as tracebacks."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textmill.errors import TextmillError

if TYPE_CHECKING:
    from cyclopts import App

INTERRUPTED = 130


def run_app(app: App, argv: Sequence[str]) -> int:
    """Run `argv` on a cyclopts app and return the exit code; raises no exception of ours.

    The app must be made with `suppress_keyboard_interrupt=False`, or Ctrl-C ends it in silence.
    """
    try:
        result = app(list(argv), result_action="return_value")
        sys.stdout.flush()
    except TextmillError as error:
        sys.stderr.write(f"error: {printable(str(error))}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: the same command goes on from here\n")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (head, less) has seen enough; Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0


def printable(text: str) -> str:
    """Text in which nothing can command a terminal: names and messages may come from a server."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)
