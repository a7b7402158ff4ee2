"""Converted models on disk, by content: a checkpoint is converted once, not at each start."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path

from textmill.engines.checkpoint import Checkpoint
from textmill.engines.ct2_spec import BUILDER_VERSION, write_model
from textmill.errors import OutputError

_SEAL = "seal.json"
"""Written last: the digest of every other file of the entry."""


def cached_model(checkpoint: Checkpoint, precision: str, cache_dir: Path) -> Path:
    """Folder of the checkpoint as a CTranslate2 model, converted now if it is not there intact.

    Processes may do this at the same time. Raises `OutputError` when `cache_dir` cannot be
    written.
    """
    entry = cache_dir / "ct2" / _key(checkpoint, precision)
    if _is_intact(entry):
        return entry
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        _build(checkpoint, precision, entry)
    except OSError as error:
        raise OutputError(
            f"the converted model cannot be written to {entry.parent}: {error.strerror}",
            hint="it takes a quarter of the model's float32 size in int8; choose another cache",
        ) from error
    return entry


def _key(checkpoint: Checkpoint, precision: str) -> str:
    import ctranslate2

    parts = (checkpoint.weights_digest, precision, ctranslate2.__version__, str(BUILDER_VERSION))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _build(checkpoint: Checkpoint, precision: str, entry: Path) -> None:
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=entry.parent))
    try:
        write_model(checkpoint, precision, building)
        digests = {path.name: _digest(path) for path in building.iterdir()}
        (building / _SEAL).write_text(json.dumps(digests), encoding="utf-8")
        _move_in(building, entry)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _move_in(building: Path, entry: Path) -> None:
    """Put the new entry in place of a damaged one, or of none."""
    try:
        building.rename(entry)
    except OSError:
        if _is_intact(entry):
            return  # another process was faster
        damaged = building.with_name(f"{building.name}-damaged")
        entry.rename(damaged)
        shutil.rmtree(damaged, ignore_errors=True)
        building.rename(entry)


def _is_intact(entry: Path) -> bool:
    try:
        digests = json.loads((entry / _SEAL).read_bytes())
        found = {path.name: _digest(path) for path in entry.iterdir() if path.name != _SEAL}
    except (OSError, ValueError):
        return False
    return bool(found == digests)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
