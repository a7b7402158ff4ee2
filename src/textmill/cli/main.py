"""Entry point of the `textmill` command: from the first instruction, Ctrl-C ends it in one line."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

INTERRUPTED = 130
GOES_ON = "interrupted: the same command goes on where this one stopped\n"


def main() -> None:
    """Run the command line of this process."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)  # an exception amid imports is told by whoever imports
    _open_closed_streams()
    from textmill.cli.app import app
    from textmill.cli.runner import run_app

    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    finish(run_app(app, sys.argv[1:]))


def finish(status: int) -> NoReturn:
    """End the process with an exit code."""
    if status == INTERRUPTED:
        os._exit(status)  # an engine may still compute; everything that counts is on disk
    sys.exit(status)


def _leave(*_: object) -> None:
    """Nothing has begun yet that would have to end."""
    os.write(2, GOES_ON.encode())
    os._exit(INTERRUPTED)


def _open_closed_streams() -> None:
    """Closed standard streams (`>&-`) become the null device.

    Else the next file to be opened would take their place, and get what libraries print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  to the end
