"""The process of one transform job: `python -m textmill.gateway.transform.worker FOLDER`.

Standard input has one JSON object, `Means`, with the gateway's flags. Only one worker works in a
folder; it holds the folder's lock, which the kernel takes back when it dies. SIGTERM ends it at
once: with a verdict if the job was asked to stop, else so that another worker goes on.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from pathlib import Path

import msgspec

from textmill.errors import TextmillError
from textmill.gateway.transform.work import STOP, Means, Work

LOCK = "worker.lock"
DONE, BUSY, LATER, INTERRUPTED = 0, 73, 75, 130


def main(folder: Path) -> int:
    """Work on the job in `folder`; its exit code tells whether there is a verdict."""
    signal.signal(signal.SIGTERM, _interrupt)
    means = msgspec.json.decode(sys.stdin.buffer.read(), type=Means)
    if not hold(folder):
        return BUSY
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


def hold(folder: Path) -> bool:
    """Take the folder's lock until this process ends; False if another has it."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    os.ftruncate(descriptor, 0)
    os.write(descriptor, b"%d" % os.getpid())
    return True


def holder(folder: Path) -> int | None:
    """The process that works in the folder now; 0 if it has not yet said which it is."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return int(os.read(descriptor, 20) or b"0")
    finally:
        os.close(descriptor)
    return None


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
