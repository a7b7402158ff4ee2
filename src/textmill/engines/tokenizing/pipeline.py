"""The parts of a tokenizer.json, as the `tokenizers` library reads them."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from textmill.errors import CorruptModel

Json = dict[str, Any]
Scored = list[tuple[str, float]]
Merges = list[tuple[str, str]]

_WORDS = {"type": "WhitespaceSplit"}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
WORDS_THEN_METASPACE = {"type": "Sequence", "pretokenizers": [_WORDS, METASPACE]}
ONE_SPACE = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
NO_NEWLINE = {"type": "Replace", "pattern": {"Regex": "\n"}, "content": " "}


_EMPTY: Json = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": None,
    "post_processor": None,
    "decoder": None,
}


def unigram(vocab: Scored, unk_id: int) -> Json:
    """A pipeline that cuts by a unigram model; decodes ▁ to spaces, does nothing else yet."""
    model = {"type": "Unigram", "unk_id": unk_id, "vocab": vocab, "byte_fallback": False}
    return {**_EMPTY, "model": model, "decoder": METASPACE}


def bpe(
    vocab: Mapping[str, int],
    merges: Sequence[tuple[str, str]],
    *,
    unk_token: str | None,
    fuse_unk: bool,
) -> Json:
    """A pipeline that merges byte pairs; it does nothing else yet."""
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": unk_token,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": fuse_unk,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": vocab,
        "merges": merges,
    }
    return {**_EMPTY, "model": model}


def precompiled(charsmap: bytes) -> Json | None:
    """The normalizer for compiled rules; None without rules."""
    if not charsmap:
        return None
    return {"type": "Precompiled", "precompiled_charsmap": b64encode(charsmap).decode("ascii")}


def sequence(*normalizers: Json | None) -> Json:
    """Normalizers, one after the other."""
    return {"type": "Sequence", "normalizers": list(normalizers)}


def charsmaps_of(pipeline: Json) -> list[bytes]:
    """All compiled normalization rules of a pipeline, sequences flattened."""
    found, todo = [], [pipeline.get("normalizer")]
    while todo:
        step = todo.pop(0)
        if not isinstance(step, dict):
            continue
        if step.get("type") == "Precompiled":
            found.append(_base64(step.get("precompiled_charsmap")))
        inner = step.get("normalizers")
        todo[:0] = inner if isinstance(inner, list) else []
    return found


def _base64(text: object) -> bytes:
    try:
        return b64decode(text if isinstance(text, str) else "", validate=True)
    except ValueError as error:
        raise CorruptModel(f"the tokenizer's normalization rules are damaged: {error}") from error
