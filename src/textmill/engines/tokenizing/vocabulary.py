"""Vocabularies, as the files of a model folder hold them."""

from __future__ import annotations

from pathlib import Path

from textmill.engines.tokenizing.config import read_object
from textmill.engines.tokenizing.pipeline import Json, Merges, Scored, charsmaps_of
from textmill.errors import CorruptModel

MAX_ID = 2**24


def scored_pieces(file: Json, path: Path) -> Scored:
    """The pieces and scores in a tokenizer.json's content; `path` is for messages."""
    try:
        return [(str(text), float(score)) for text, score in file["model"]["vocab"]]
    except (TypeError, ValueError, KeyError) as error:
        raise CorruptModel(f"{path}: its vocabulary is damaged: {error}") from error


def numbered_pieces(file: Json, path: Path) -> tuple[dict[str, int], Merges]:
    """The ids and merges in a tokenizer.json's content; `path` is for messages."""
    try:
        vocab = dict(file["model"]["vocab"])
        merges = file["model"].get("merges", [])
        pairs = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in merges]
        return vocab, [(left, right) for left, right in pairs]
    except (TypeError, ValueError, KeyError) as error:
        raise CorruptModel(f"{path}: its vocabulary is damaged: {error}") from error


def charsmap_of(file: Json) -> bytes:
    """The first compiled normalization rules of a tokenizer.json; empty if there are none."""
    return next(iter(charsmaps_of(file)), b"")


def read_vocab(path: Path) -> dict[str, int]:
    """A vocab.json: token → id. Raises `CorruptModel`."""
    vocab = read_object(path)
    numbers = set(vocab.values()) if all(type(i) is int for i in vocab.values()) else set()
    if not numbers or len(numbers) < len(vocab) or min(numbers) < 0 or max(numbers) >= MAX_ID:
        raise CorruptModel(f"{path} should give every token a number of its own")
    return vocab


def read_merges(path: Path) -> Merges:
    """A merges.txt: two tokens a line, best first. Raises `CorruptModel`."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptModel(f"{path}: {error}") from error
    merges: Merges = []
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#version"):
            continue
        pair = line.split(" ")
        if len(pair) != 2:
            raise CorruptModel(f"{path}, line {number}: two tokens expected, found {len(pair)}")
        merges.append((pair[0], pair[1]))
    return merges
