"""Texts to token ids and back, from a model folder's own files."""

from __future__ import annotations

from textmill.engines.tokenizing.opening import open_tokenizer

__all__ = ["open_tokenizer"]
