"""Which tokenizer a model folder holds, and opening it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textmill.engines.base import Tokenizer
from textmill.engines.tokenizing.config import TokenizerConfig, read_config, read_object
from textmill.errors import CorruptModel, UnsupportedModel
from textmill.words import written

FILE = "tokenizer.json"

_CLASS_OF_MODEL = {
    "t5": "T5Tokenizer",
    "mt5": "T5Tokenizer",
    "umt5": "T5Tokenizer",
    "bart": "RobertaTokenizer",
    "mbart": "MBartTokenizer",
    "pegasus": "PegasusTokenizer",
    "marian": "MarianTokenizer",
    "m2m_100": "M2M100Tokenizer",
}
_SAME_CLASS = {
    "MT5Tokenizer": "T5Tokenizer",
    "BartTokenizer": "RobertaTokenizer",
}
_WITHOUT_CLASS = {"", "PreTrainedTokenizer", "TokenizersBackend"}
_ALWAYS_AS_WRITTEN = {
    "umt5"
}  # transformers takes these files as they are, whatever class they name


def open_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a Hugging Face model folder.

    Ids and texts equal those of transformers' `AutoTokenizer` on the same folder; where they do
    not, docs/decisions/tokenizers.md says why.

    Raises `CorruptModel` when files are missing, damaged or disagree, and `UnsupportedModel` for
    a tokenizer class that textmill does not know and that has no tokenizer.json.
    """
    file = _read_file(folder / FILE)
    config = read_config(folder, file.get("added_tokens") or () if file else ())
    name = tokenizer_class(config)
    if name == "ByT5Tokenizer":
        from textmill.engines.tokenizing.byt5 import ByteTokenizer

        return ByteTokenizer(config)
    if name in {"MarianTokenizer", "M2M100Tokenizer"}:
        return _open_pieces(name, config)
    return _open_fast(name, config, file)


def tokenizer_class(config: TokenizerConfig) -> str:
    """The class that the folder names, or that its model type has; empty if neither is known."""
    named = _SAME_CLASS.get(config.tokenizer_class, config.tokenizer_class)
    usual = _CLASS_OF_MODEL.get(config.model_type, "")
    if config.tokenizer_class in _WITHOUT_CLASS - {""}:
        return ""
    return named or usual


def _read_file(path: Path) -> dict[str, Any] | None:
    """tokenizer.json's content, or None when there is none."""
    if not path.is_file():
        return None
    file = read_object(path)
    tokens = file.get("added_tokens") or []
    if not isinstance(file.get("model"), dict) or not isinstance(tokens, list):
        raise CorruptModel(f"{path} is not a tokenizer")
    return file


def _open_pieces(name: str, config: TokenizerConfig) -> Tokenizer:
    from textmill.engines.tokenizing import mapped

    if name == "MarianTokenizer":
        _require(config.folder, mapped.MARIAN_FILES)
        return mapped.marian(config)
    _require(config.folder, mapped.M2M100_FILES)
    return mapped.m2m100(config)


def _open_fast(name: str, config: TokenizerConfig, file: dict[str, Any] | None) -> Tokenizer:
    from textmill.engines.tokenizing.fast import FastTokenizer
    from textmill.engines.tokenizing.recipes import RECIPES, Source, as_written

    recipe, files = RECIPES.get(name, (as_written, ()))
    source = Source(config=config, file=file)
    if file is None:
        if not files:
            raise _no_tokenizer(config)
        _require(config.folder, files)
    elif not _fits(name, config, file):
        recipe = as_written
    return FastTokenizer(recipe(source), config)


def _fits(name: str, config: TokenizerConfig, file: dict[str, Any]) -> bool:
    """Whether tokenizer.json holds what its class expects. If not, it is taken as it is."""
    if config.model_type in _ALWAYS_AS_WRITTEN:
        return False
    is_bpe = isinstance(file["model"].get("vocab"), dict)
    return is_bpe == (name in {"NllbTokenizer", "RobertaTokenizer"})


def _require(folder: Path, names: tuple[str, ...]) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise CorruptModel(
            f"{folder}: no tokenizer: {', '.join(missing)} missing",
            hint=f"Looked for {FILE}, or else {' and '.join(names)}.",
        )


def _no_tokenizer(config: TokenizerConfig) -> UnsupportedModel:
    name = config.tokenizer_class or f"the one of model type {written(config.model_type)}"
    return UnsupportedModel(
        f"{config.folder}: unknown tokenizer {name}",
        hint=f"Looked for {FILE}, which would do for any tokenizer, and did not find it.",
    )
