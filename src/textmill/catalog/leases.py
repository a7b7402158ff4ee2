"""Locks on folders of the cache: many may use one, one may build it, nobody may remove it in use.

They are `flock`s on empty files, so they end with the process that holds them, however it ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from textmill.errors import ModelError, ModelNotFound

PARTIAL = ".partial"
"""How the name of an incomplete folder ends; both names share one lock."""


@contextmanager
def lease(home: Path, folder: Path) -> Iterator[None]:
    """Keep a folder of the cache from being removed while it is in use, by any process.

    Folders outside of the cache need no lease and get none. Raises `ModelNotFound` when the
    folder was removed before the lease was had.
    """
    if not folder.is_relative_to(home):
        yield
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(_locked(home, folder, fcntl.LOCK_SH))
        except OSError as error:
            # A shared cache may be read-only for its users: nobody removes from it but its owner.
            if error.errno not in {errno.EROFS, errno.EACCES, errno.EPERM}:
                raise
        if not folder.is_dir():
            raise ModelNotFound(f"{folder} was removed meanwhile", hint="Run the same line again.")
        yield


@contextmanager
def building(home: Path, folder: Path) -> Iterator[None]:
    """Be the only one who fills a folder; waits while another process does."""
    with _locked(home, folder, fcntl.LOCK_EX):
        yield


@contextmanager
def removing(home: Path, folder: Path) -> Iterator[None]:
    """Be the only one who has to do with a folder. Raises `ModelError` if somebody else has."""
    try:
        with _locked(home, folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield
    except BlockingIOError as error:
        raise ModelError(
            f"{folder} is in use by another textmill process; nothing was removed",
            hint="Wait until that process ends, then try again.",
        ) from error


@contextmanager
def _locked(home: Path, folder: Path, mode: int) -> Iterator[None]:
    """Hold the lock of a folder of the cache. Raises `BlockingIOError` if `mode` says LOCK_NB."""
    parts = folder.relative_to(home).with_name(folder.name.removesuffix(PARTIAL)).parts
    path = home / "locks" / ("--".join(parts) + ".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, mode)
        yield
    finally:
        os.close(handle)
