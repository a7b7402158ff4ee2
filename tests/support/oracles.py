"""Tokenizers that we did not write, to compare ours with."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class HuggingFace:
    """transformers' AutoTokenizer on a folder, called as its users call it."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Marian recommends a package that it does not use
            self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
        self.tokenizer.model_max_length = 10**9  # else it warns of long texts; ids are the same

    def encode(self, texts: Sequence[str], src_lang: str | None = None) -> list[list[int]]:
        if src_lang is not None:
            self.tokenizer.src_lang = src_lang
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ByT5 warns of a text that ends with </s>
            ids: list[list[int]] = self.tokenizer(list(texts))["input_ids"]
        return ids

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        texts: list[str] = self.tokenizer.batch_decode(sequences, skip_special_tokens=True)
        return texts


def sentencepiece(path: Path) -> Any:
    """SentencePiece's own processor."""
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_file=str(path))
