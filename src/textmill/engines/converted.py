"""Models that an engine converted, on disk by content: done once, not at each start."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from textmill.errors import InputError, OutputError
from textmill.storage.inputs import digest

_SEAL = "seal.json"
"""Written last: the digest of every other file of the entry."""


def entry_name(*parts: str) -> str:
    """Name of an entry that depends on all of the parts."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def converted(entry: Path, write: Callable[[Path], None], *, room: str) -> Path:
    """The folder `entry`, written by `write` now if it is not there intact.

    Processes may do this at the same time: one converts, the others wait for it. room: how much
    space it takes, for the message. Raises `OutputError` when the cache cannot be written.
    """
    if is_intact(entry):
        return entry
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with _alone(entry):
            if not is_intact(entry):
                _build(entry, write)
    except OSError as error:
        raise OutputError(
            f"the converted model cannot be written to {entry.parent}: {error.strerror}",
            hint=f"it takes {room}; choose another cache with TEXTMILL_HOME",
        ) from error
    return entry


@contextmanager
def _alone(entry: Path) -> Iterator[None]:
    """Be the only process that builds this entry. The lock file stays: it is empty."""
    with entry.with_name(f".{entry.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(entry: Path, write: Callable[[Path], None]) -> None:
    """Convert into a folder beside the entry, seal it, and put it in its place."""
    building = entry.with_name(f".building-{entry.name}")
    shutil.rmtree(building, ignore_errors=True)  # of a process that was killed
    building.mkdir()
    try:
        write(building)
        digests = {path.name: digest(str(path)) for path in building.iterdir()}
        (building / _SEAL).write_text(json.dumps(digests), encoding="utf-8")
        shutil.rmtree(entry, ignore_errors=True)  # a damaged one
        building.rename(entry)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def is_intact(entry: Path) -> bool:
    """Whether the entry is there as it was written."""
    try:
        digests = json.loads((entry / _SEAL).read_bytes())
        found = {path.name: digest(str(path)) for path in entry.iterdir() if path.name != _SEAL}
    except (OSError, ValueError, InputError):
        return False
    return bool(found == digests)
