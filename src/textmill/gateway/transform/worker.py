"""The process of one transform job: `python -m textmill.gateway.transform.worker FOLDER`.

Standard input has one JSON object, `Means`, with the gateway's flags. Only one worker works in a
folder; it holds the folder's lock, which the kernel takes back when it dies. SIGTERM ends it at
once: with a verdict if the job was asked to stop, else so that another worker goes on.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import msgspec

from textmill.errors import TextmillError
from textmill.gateway.processes import taken
from textmill.gateway.transform.work import STOP, Means, Work

LOCK = "worker.lock"
DONE, BUSY, LATER, INTERRUPTED = 0, 73, 75, 130


def main(folder: Path) -> int:
    """Work on the job in `folder`; its exit code tells whether there is a verdict."""
    signal.signal(signal.SIGTERM, _interrupt)
    means = msgspec.json.decode(sys.stdin.buffer.read(), type=Means)
    lock = taken(folder / LOCK)
    if lock is None:
        return BUSY
    os.write(lock, b"%d" % os.getpid())
    work = Work(folder, means)
    try:
        try:
            work.do()
        except KeyboardInterrupt:
            if not (folder / STOP).exists():
                return INTERRUPTED
            work.do()  # it sees the stop, and has nothing else to do
    except TextmillError as error:
        sys.stderr.write(f"{error}\n")
        return LATER
    return DONE


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
