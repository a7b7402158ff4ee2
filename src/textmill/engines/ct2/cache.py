"""Converted models on disk, by content: a checkpoint is converted once, not at each start."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from textmill.engines.checkpoint import Checkpoint
from textmill.engines.converted import converted, entry_name
from textmill.engines.ct2.spec import BUILDER_VERSION, write_model
from textmill.telemetry import versions_of


def cached_model(checkpoint: Checkpoint, precision: str, cache_dir: Path) -> Path:
    """Folder of the checkpoint as a CTranslate2 model, converted now if it is not there intact.

    Processes may do this at the same time: one converts, the others wait for it. Raises
    `OutputError` when `cache_dir` cannot be written.
    """
    library = versions_of("ctranslate2")["ctranslate2"]  # importing it would take 15 MB
    name = entry_name(checkpoint.weights_digest, precision, library, str(BUILDER_VERSION))
    return converted(
        cache_dir / "ct2" / name,
        partial(write_model, checkpoint, precision),
        room="a quarter of the model's float32 size in int8",
    )
