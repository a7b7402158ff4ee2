"""Texts to score, made from the demo data, and files to score them from."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import textmill

DEMO = Path(textmill.__file__).parent / "assets/demo/data/packages.jsonl"


@cache
def demo() -> tuple[Mapping[str, Any], ...]:
    """The rows of the demo data: document and summary of 2,000 packages."""
    return tuple(json.loads(line) for line in DEMO.read_text("utf-8").splitlines())


def broken_into_lines(text: str, rng: random.Random) -> str:
    """The words of a text, on lines of 1 to 20 words."""
    words, lines = text.split(), []
    while words:
        size = rng.randint(1, 20)
        lines.append(" ".join(words[:size]))
        words = words[size:]
    return "\n".join(lines)


def mutated(text: str, rng: random.Random) -> str:
    """A text with words dropped, doubled, swapped for others of it, and case changed."""
    words = text.split(" ")
    out = []
    for word in words:
        choice = rng.random()
        if choice < 0.15:
            continue
        out.append(rng.choice(words) if choice < 0.3 else word.upper() if choice < 0.35 else word)
        if choice > 0.95:
            out.append(word)
    return " ".join(out)


def pairs(seed: int = 0) -> Iterator[tuple[str, str]]:
    """5,600 different (prediction, reference) pairs: real, shuffled, cut, mutated, in lines."""
    rng = random.Random(seed)
    rows = list(demo())
    for row, other in zip(rows, rng.sample(rows, len(rows)), strict=True):
        yield row["document"], row["summary"]
        yield mutated(row["summary"], rng), row["summary"]
        if row["id"] % 5 == 0:
            yield other["summary"], row["summary"]
            yield row["summary"], row["summary"]
            reference = broken_into_lines(row["document"], rng)
            lines = [mutated(line, rng) for line in reference.split("\n")]
            rng.shuffle(lines)
            yield "\n".join(lines), reference
            lines += broken_into_lines(other["document"], rng).split("\n")
            yield "\n".join(rng.sample(lines, len(lines) // 2)), reference


def cnn_dailymail_like(count: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Predictions and references of 45 to 65 words in 3 to 5 lines that share about half."""
    rng = random.Random(seed)
    words = [word for row in demo() for word in row["document"].split()]
    predictions, references = [], []
    for _ in range(count):
        start = rng.randrange(len(words) - 200)
        chunk = words[start : start + rng.randint(45, 65)]
        other = words[start + 100 : start + 100 + len(chunk)]
        mixed = [a if rng.random() < 0.5 else b for a, b in zip(chunk, other, strict=True)]
        references.append(_in_sentences(chunk, rng))
        predictions.append(_in_sentences(mixed, rng))
    return predictions, references


def _in_sentences(words: list[str], rng: random.Random) -> str:
    cuts = sorted(rng.sample(range(5, len(words) - 5), rng.randint(2, 4)))
    edges = [0, *cuts, len(words)]
    return "\n".join(" ".join(words[a:b]) for a, b in pairwise(edges))


def write_rows(path: Path, rows: Iterable[Any]) -> Path:
    """Writes JSON Lines; a row that is bytes goes out as it is."""
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path
