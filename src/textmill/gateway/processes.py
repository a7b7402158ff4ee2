"""Processes of our own that outlive a killed gateway, and the locks by which the next finds them.

A process holds a lock on a file of the folder it works in, from its start to its end, and the file
has its number. The kernel takes the lock back when the last process that has it ends.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any


def taken(lock: Path) -> int | None:
    """Take a lock: a descriptor that holds it until it is closed; None if another has it."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    os.ftruncate(descriptor, 0)
    return descriptor


def holder(lock: Path) -> int | None:
    """The process that holds a lock; 0 if it has not yet said which it is, None if none does."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return int(os.read(descriptor, 20) or b"0")
    finally:
        os.close(descriptor)
    return None


def start(
    module: str, folder: Path, output: IO[bytes], environment: Mapping[str, str], **more: Any
) -> subprocess.Popen[bytes]:
    """Start one of our modules on a folder; it is not ended with the gateway.

    environment: added to this process's own. more: as `subprocess.Popen` takes it. Raises `OSError`
    if the system starts no process.
    """
    path = os.pathsep.join(entry or os.curdir for entry in sys.path)
    return subprocess.Popen(  # noqa: S603  our own module
        [sys.executable, "-P", "-m", module, str(folder)],
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, **environment, "PYTHONPATH": path},
        **more,
    )
