"""What the results of a job look like, where nobody has said what they should be."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from textmill.evaluation.measures import repeated
from textmill.evaluation.tokens import tokenizer
from textmill.report.cards import groups_of, places_of
from textmill.report.choosing import REPEATS, SOME, badges_of, odd_group
from textmill.report.packing import chosen_places, packed, scale
from textmill.report.texts import fitting_limit, id_text, plain
from textmill.report.values import Card, Examples, Group, Numbers

EVERY = 20
Results = Callable[[], Iterable[Mapping[str, Any]]]
"""Gives the rows of the output, from the first one on, each time it is called."""


class Result(NamedTuple):
    """A row of the output: its id, its first text, and how many texts it has."""

    id: Any
    text: str
    texts: int


class Unseen(Exception):
    """The rows of the output do not hold their texts where results have them."""


def looked_at(results: Results) -> tuple[Examples, Numbers] | None:
    """Some records with their texts, and numbers of many; None of nothing.

    The results are gone through twice, and little is held of each. Raises `Unseen`.
    """
    measured = _Measured()
    for one in _rows(results):
        measured.add(one.text)
    total = len(measured.words)
    if not total:
        return None
    groups = tuple(group for group in _groups(measured) if group.places)
    wanted = places_of(groups)
    places = chosen_places(total, wanted)
    found = dict(_at(results, set(places.tolist())))
    words, repetition = measured.columns()
    content = {
        "metrics": [
            {"name": "words", "scale": 1, "values": words[places].astype(int).tolist()},
            {
                "name": "repetition",
                "scale": scale("repetition"),
                "values": np.rint(repetition[places] * scale("repetition")).astype(int).tolist(),
            },
        ],
        "columns": [],
    }
    numbers = packed(content, [found[place].id for place in places.tolist()], places, total)
    return _examples(groups, {place: found[place] for place in wanted}, measured), numbers


class _Measured:
    """Words of each text, and the share of its 4-grams that stood before in it."""

    def __init__(self) -> None:
        self.words, self.repetition, self.empty = array("d"), array("d"), array("b")
        self._split = tokenizer("cjk")

    def add(self, text: str) -> None:
        words = [word for word in self._split(text) if word != "\n"]
        part, whole = repeated(words)
        self.words.append(len(words))
        self.repetition.append(part / whole if whole else 0.0)
        self.empty.append(not text.strip())

    def columns(self) -> tuple[Any, Any]:
        return np.frombuffer(self.words), np.frombuffer(self.repetition)

    def value(self, place: int) -> Callable[[str], float]:
        return {
            "empty": float(self.empty[place]),
            "repetition": self.repetition[place],
            "copy_rate": 0.0,
        }.__getitem__


def _groups(measured: _Measured) -> Iterator[Group]:
    words, repetition = measured.columns()
    empty = np.frombuffer(measured.empty, np.int8).astype(bool)
    total = len(words)
    even = tuple(dict.fromkeys(np.linspace(0, total - 1, min(EVERY, total)).astype(int).tolist()))
    note = "At even distances in the file, not chosen by what they hold."
    yield Group(key="even", title="A sample", note=note, order="file", places=even)
    yield odd_group("empty", "Empty", "Nothing but white space", empty, words)
    what = f"{REPEATS:.0%} or more of its 4-grams stood before in the same text"
    yield odd_group("repeats", "Repeats itself", what, repetition >= REPEATS, repetition)
    for key, title, order in (
        ("shortest", "Shortest", np.lexsort((np.arange(total), words))),
        ("longest", "Longest", np.lexsort((np.arange(total), -words))),
    ):
        places = tuple(order[~empty[order]][:SOME].tolist())
        note = f"The {title.lower()} in words."
        yield Group(key=key, title=title, note=note, order="file", places=places)


def _examples(
    groups: tuple[Group, ...], found: Mapping[int, Result], measured: _Measured
) -> Examples:
    limit = fitting_limit([one.text for one in found.values()])
    cards = [
        Card(
            place=place,
            id=id_text(one.id),
            groups=groups_of(groups, place),
            badges=badges_of(measured.value(place)),
            values=(("words", f"{measured.words[place]:,.0f}"),),
            numbers={"file": float(place)},
            texts=((_label(one), plain(one.text, limit)),),
        )
        for place, one in found.items()
    ]
    return Examples(groups=groups, cards=tuple(cards), limit=limit)


def _label(one: Result) -> str:
    return "result" if one.texts == 1 else f"result 1 of {one.texts:,}"


def _at(results: Results, places: set[int]) -> Iterator[tuple[int, Result]]:
    return ((place, one) for place, one in enumerate(_rows(results)) if place in places)


def _rows(results: Results) -> Iterator[Result]:
    for row in results():
        held = row.get("SageMakerOutput", row) if isinstance(row, dict) else None
        texts = held.get("generated_texts") if isinstance(held, dict) else None
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise Unseen
        yield Result(row.get("id"), texts[0] if texts else "", len(texts))
