"""Opening a model folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct

from textmill.engines.checkpoint.architecture import Architecture, read_architecture
from textmill.engines.checkpoint.arrays import Arrays, resolve
from textmill.engines.checkpoint.weights import open_weights
from textmill.errors import CorruptModel, ModelNotFound
from textmill.params import model_parameters
from textmill.storage.inputs import digest

_CONFIG = "config.json"
_GENERATION_CONFIG = "generation_config.json"
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "source.spm",
    "target.spm",
    "target_vocab.json",
)


class ModelFile(Struct, frozen=True):
    """One file that makes the model what it is."""

    name: str
    bytes: int
    sha256: str


class Checkpoint(Struct, frozen=True, kw_only=True):
    """A model folder, opened. Serves every engine; holds the weight files mapped.

    arrays: the weights by the names of `layout`, float32, loaded on access.
    max_input_tokens: longest input, special tokens included; None when there is no limit.
    generation_defaults: the model's own parameters, transformers' names, as they stand.
    files: configuration, tokenizer and weights, with digests.
    weights_digest: digest over everything that decides what the network computes.
    """

    folder: Path
    architecture: Architecture
    arrays: Arrays
    max_input_tokens: int | None
    generation_defaults: dict[str, Any]
    files: tuple[ModelFile, ...]
    weights_digest: str


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open a Hugging Face model folder. Reads every weight file once, for its digest.

    Raises `ModelNotFound` when there is no such folder, `UnsupportedModel` for a type that
    textmill does not run, `UnsafeModel` for what would have to be executed, and `CorruptModel`
    for files that are missing, damaged or do not fit each other.
    """
    if not folder.is_dir():
        raise ModelNotFound(f"there is no model folder {folder}")
    config = _read_json(folder / _CONFIG)
    if config is None:
        raise CorruptModel(
            f"{folder} has no {_CONFIG}", hint="a model folder is what save_pretrained writes"
        )
    architecture = read_architecture(config, str(folder / _CONFIG))
    weights, weight_files = open_weights(folder)
    arrays = resolve(architecture, weights, str(folder))
    core = _digests([folder / _CONFIG, *weight_files])
    others = _digests(folder / name for name in (_GENERATION_CONFIG, *_TOKENIZER_FILES))
    return Checkpoint(
        folder=folder,
        architecture=architecture,
        arrays=arrays,
        max_input_tokens=architecture.max_positions,
        generation_defaults=model_parameters(_read_json(folder / _GENERATION_CONFIG), config),
        files=(*core, *others),
        weights_digest=hashlib.sha256("".join(f.sha256 for f in core).encode()).hexdigest(),
    )


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CorruptModel(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise CorruptModel(f"{path} is not a JSON object")
    return value


def _digests(paths: Iterable[Path]) -> tuple[ModelFile, ...]:
    """Name, size and digest of each of the files that exists."""
    return tuple(
        ModelFile(path.name, path.stat().st_size, digest(str(path)))
        for path in paths
        if path.is_file()
    )
