"""The texts of a load test: from a file of records, or made up with a mix of lengths."""

from __future__ import annotations

import random
from pathlib import Path

from textmill.core import Record
from textmill.errors import InputError
from textmill.params import KNOWN_NAMES
from textmill.records.builder import RecordBuilder
from textmill.records.jsonl import JsonlReader
from textmill.records.prompt import parse_prompt
from textmill.records.shape import ORDINAL_ID, Shape

_WORDS = (
    *("the", "a", "of", "small", "large", "package", "that"),
    *("library", "reads", "writes", "files", "network", "for"),
)
_MADE_UP, _MEDIAN_WORDS = 500, 60
_MOST = 20_000


def read_texts(path: Path, prompt: str | None) -> list[str]:
    """The texts of a file of JSON Lines, the first 20,000. Raises `InputError`."""
    shape = Shape(
        id_field=ORDINAL_ID,
        prompt=None if prompt is None else parse_prompt(prompt),
        parameters=KNOWN_NAMES,
    )
    texts: list[str] = []
    why = "it is empty"
    try:
        with path.open("rb") as stream:
            for rows in JsonlReader(RecordBuilder(shape)).read(stream, str(path)):
                for row in rows:
                    if isinstance(row, Record):
                        texts += row.texts
                    else:
                        why = row.message
                if len(texts) >= _MOST:
                    break
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not texts:
        raise InputError(f"{path} holds no text to send: {why}")
    return texts[:_MOST]


def made_up(seed: int) -> list[str]:
    """Texts of common words, most of about 60, some much longer."""
    chance = random.Random(seed)  # noqa: S311 - a load, not a secret
    lengths = [int(_MEDIAN_WORDS * chance.lognormvariate(0.0, 0.6)) + 1 for _ in range(_MADE_UP)]
    return [" ".join(chance.choices(_WORDS, k=length)) for length in lengths]
