"""Folders, tokenizers and oracles of every family, made once per test run."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from support.oracles import HuggingFace
from support.tiny_tokenizers import FAMILIES, MULTILINGUAL, NASTY, build, documents
from textmill.engines.base import Tokenizer
from textmill.engines.tokenizing import open_tokenizer

_ROOT = TemporaryDirectory(prefix="tiny-tokenizers-")

ORACLE_FOLDER = {"nllb-spm": "nllb", "pegasus-spm": "pegasus"}
"""Where transformers numbers tokens wrongly without a tokenizer.json: the full folder."""

LOSES_RULES = {"mbart", "mbart-spm"}
"""Where transformers 5 drops the file's normalization rules."""

_RANGES = [(0x20, 0x7F)] * 4 + [
    (0x00, 0x250), (0x2B0, 0x400), (0x400, 0x460), (0x590, 0x700), (0x900, 0x980), (0xE00, 0xE60),
    (0x1100, 0x1200), (0x1E00, 0x1F00), (0x2000, 0x2200), (0x2460, 0x2500), (0x3000, 0x3100),
    (0x4E00, 0x4F00), (0xAC00, 0xAD00), (0xFB00, 0xFB50), (0xFE00, 0x10000), (0x1F300, 0x1F650),
]  # fmt: skip


@cache
def folder(family: str) -> Path:
    return build(family, Path(_ROOT.name) / family)


@cache
def ours(family: str) -> Tokenizer:
    return open_tokenizer(folder(family))


@cache
def oracle(family: str) -> HuggingFace:
    return HuggingFace(folder(ORACLE_FOLDER.get(family, family)))


@cache
def odd_texts() -> tuple[str, ...]:
    """300 texts of characters from many scripts, with spaces between some."""
    chance = random.Random(20240)
    texts = []
    for _ in range(300):
        length = chance.randrange(40)
        low_high = [chance.choice(_RANGES) for _ in range(length)]
        chars = [chr(chance.randrange(*pair)) for pair in low_high]
        texts.append("".join(c + " " * (chance.random() < 0.1) for c in chars))
    return tuple(texts)


@cache
def texts() -> tuple[str, ...]:
    """More than 500 texts: prose, many scripts, everything nasty."""
    return (*documents()[:250], *MULTILINGUAL, *NASTY, *odd_texts())


__all__ = ["FAMILIES", "LOSES_RULES", "folder", "odd_texts", "oracle", "ours", "texts"]
