"""Converted models on disk, by content: a checkpoint is converted once, not at each start."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from textmill.engines.checkpoint import Checkpoint
from textmill.engines.ct2.spec import BUILDER_VERSION, write_model
from textmill.errors import InputError, OutputError
from textmill.storage.inputs import digest
from textmill.telemetry import versions_of

_SEAL = "seal.json"
"""Written last: the digest of every other file of the entry."""


def cached_model(checkpoint: Checkpoint, precision: str, cache_dir: Path) -> Path:
    """Folder of the checkpoint as a CTranslate2 model, converted now if it is not there intact.

    Processes may do this at the same time: one converts, the others wait for it. Raises
    `OutputError` when `cache_dir` cannot be written.
    """
    entry = cache_dir / "ct2" / _key(checkpoint, precision)
    if _is_intact(entry):
        return entry
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with _alone(entry):
            if not _is_intact(entry):
                _build(checkpoint, precision, entry)
    except OSError as error:
        raise OutputError(
            f"the converted model cannot be written to {entry.parent}: {error.strerror}",
            hint="it takes a quarter of the model's float32 size in int8; choose another cache"
            " with TEXTMILL_HOME",
        ) from error
    return entry


@contextmanager
def _alone(entry: Path) -> Iterator[None]:
    """Be the only process that builds this entry. The lock file stays: it is empty."""
    with entry.with_name(f".{entry.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _key(checkpoint: Checkpoint, precision: str) -> str:
    library = versions_of("ctranslate2")["ctranslate2"]  # importing it would take 15 MB
    parts = (checkpoint.weights_digest, precision, library, str(BUILDER_VERSION))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _build(checkpoint: Checkpoint, precision: str, entry: Path) -> None:
    """Convert into a folder beside the entry, seal it, and put it in its place."""
    building = entry.with_name(f".building-{entry.name}")
    shutil.rmtree(building, ignore_errors=True)  # of a process that was killed
    building.mkdir()
    try:
        write_model(checkpoint, precision, building)
        digests = {path.name: digest(str(path)) for path in building.iterdir()}
        (building / _SEAL).write_text(json.dumps(digests), encoding="utf-8")
        shutil.rmtree(entry, ignore_errors=True)  # a damaged one
        building.rename(entry)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _is_intact(entry: Path) -> bool:
    try:
        digests = json.loads((entry / _SEAL).read_bytes())
        found = {path.name: digest(str(path)) for path in entry.iterdir() if path.name != _SEAL}
    except (OSError, ValueError, InputError):
        return False
    return bool(found == digests)
