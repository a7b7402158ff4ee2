"""Entry point of the `textmill` command: from the first instruction, Ctrl-C ends it in one line."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130
GOES_ON = "interrupted: the same command goes on where this one stopped\n"
KEEPS_NOTHING = {
    "score": "interrupted: nothing was written\n",
    **dict.fromkeys(("bench", "gateway", "serve", "status"), "interrupted\n"),
}
"""What is said by commands that have nothing to go on with."""

TYPE_CHECKING = False  # typing's own takes longer to import than all that is here
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def interrupted(argv: Sequence[str]) -> str:
    """The line with which a command ends that was interrupted."""
    return KEEPS_NOTHING.get(argv[0], GOES_ON) if argv else GOES_ON


def leave(*_: object) -> NoReturn:
    """End the process at once: nothing has begun yet that would have to end, or all has ended."""
    os.write(2, interrupted(sys.argv[1:]).encode())
    os._exit(INTERRUPTED)


try:
    import signal
except KeyboardInterrupt:
    leave()


def main() -> None:
    """Run the command line of this process."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)  # an exception amid imports is told by whoever imports
    _open_closed_streams()
    from textmill.cli.app import app
    from textmill.cli.runner import run_app

    try:
        if signal.getsignal(signal.SIGINT) is leave:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = run_app(app, sys.argv[1:])
    except KeyboardInterrupt:  # a second one, amid the words about the first
        leave()
    finish(status)


def finish(status: int) -> NoReturn:
    """End the process with an exit code; Ctrl-C changes it no more."""
    signal.signal(signal.SIGINT, lambda *_: os._exit(status))
    if status == INTERRUPTED:
        os._exit(status)  # an engine may still compute; everything that counts is on disk
    sys.exit(status)


def _open_closed_streams() -> None:
    """Closed standard streams (`>&-`) become the null device.

    Else the next file to be opened would take their place, and get what libraries print. Only
    `sys.stdin` stays None: an input that is not there is not an empty one.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123  to the end
