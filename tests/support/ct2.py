"""Ct2Engine on tiny models and on the demo model."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.tiny_models import session_folder
from textmill.core import Params
from textmill.engines.checkpoint import Checkpoint, open_checkpoint
from textmill.engines.ct2.cache import cached_model
from textmill.engines.ct2.engine import Ct2Engine
from textmill.engines.ct2.rules import Ct2Rules
from textmill.engines.stopping import Decode

DEMO = Path(__file__).parents[2] / "src" / "textmill" / "assets" / "demo"


@functools.cache
def checkpoint_of(folder: Path) -> Checkpoint:
    return open_checkpoint(folder)


def numbers(sequences: Sequence[Sequence[int]]) -> list[str]:
    """A stand-in for decoding: ids as words."""
    return [" ".join(map(str, ids)) for ids in sequences]


def make_engine(
    folder: Path,
    *,
    decode: Decode = numbers,
    precision: str = "float32",
    threads: int = 1,
    cache_dir: Path | None = None,
    seed: int = 0,
) -> Ct2Engine:
    """The engine in this process."""
    checkpoint = checkpoint_of(folder)
    model = cached_model(checkpoint, precision, cache_dir or session_folder() / "cache")
    rules = rules_of(folder, precision=precision, workers=threads)
    return Ct2Engine(model, rules, decode=decode, seed=seed)


def rules_of(folder: Path, *, precision: str = "float32", workers: int = 1) -> Ct2Rules:
    return Ct2Rules.of(checkpoint_of(folder).architecture, precision=precision, workers=workers)


@functools.cache
def shared_engine(folder: Path) -> Ct2Engine:
    """A float32 engine for tests that leave it as they found it."""
    return make_engine(folder)


def params_for(folder: Path, **settings: Any) -> Params:
    """Parameters with the model's own start and end tokens."""
    architecture = checkpoint_of(folder).architecture
    defaults: dict[str, Any] = {
        "max_new_tokens": 24,
        "decoder_start_token_id": architecture.decoder_start_token_id,
        "eos_token_ids": architecture.eos_token_ids,
    }
    return Params(**(defaults | settings))


@functools.cache
def demo_inputs(count: int) -> list[list[int]]:
    """The first demo records as token ids, with the prompt of the demo."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(DEMO / "model" / "tokenizer.json"))
    with (DEMO / "data" / "packages.jsonl").open(encoding="utf-8") as lines:
        documents = [json.loads(line)["document"] for _, line in zip(range(count), lines)]  # noqa: B905
    return [tokenizer.encode(f"Briefly summarize this text: {d}").ids for d in documents]
