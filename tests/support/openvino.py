"""OpenvinoEngine on tiny models and on the demo model."""

from __future__ import annotations

import functools
from pathlib import Path

from support.ct2 import checkpoint_of, numbers
from support.tiny_models import session_folder
from textmill.engines.inflight.limits import Limits
from textmill.engines.openvino.compiled import entry_for, open_model
from textmill.engines.openvino.engine import OpenvinoEngine
from textmill.engines.openvino.model import Model
from textmill.engines.openvino.precision import arithmetic, has_bfloat16
from textmill.engines.openvino.rules import OpenvinoRules
from textmill.engines.stopping import Decode

LIMITS = Limits(rows=16, bytes=1 << 28, encode_tokens=128)


def rules_of(folder: Path, *, precision: str = "float32", threads: int = 1) -> OpenvinoRules:
    half = arithmetic(precision, bfloat16=has_bfloat16()).half
    architecture = checkpoint_of(folder).architecture
    return OpenvinoRules.of(architecture, precision=precision, half=half, threads=threads)


@functools.cache
def model_of(
    folder: Path, precision: str = "float32", threads: int = 1, cache_dir: Path | None = None
) -> Model:
    checkpoint = checkpoint_of(folder)
    rules = rules_of(folder, precision=precision, threads=threads)
    entry = entry_for(
        checkpoint.weights_digest, rules.arithmetic, cache_dir or session_folder() / "cache"
    )
    return open_model(
        entry,
        checkpoint.architecture,
        rules.arithmetic,
        lambda: checkpoint,
        threads=threads,
        streams=rules.lanes,
    )


def make_engine(
    folder: Path,
    *,
    decode: Decode = numbers,
    precision: str = "float32",
    threads: int = 1,
    seed: int = 0,
    limits: Limits = LIMITS,
) -> OpenvinoEngine:
    """The engine in this process."""
    model = model_of(folder, precision, threads)
    rules = rules_of(folder, precision=precision, threads=threads)
    return OpenvinoEngine(model, rules, limits, decode=decode, seed=seed)
