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
from textmill.report.texts import id_text, plain
from textmill.report.values import Card, Examples, Group, Numbers

EVERY = 20
JOINED = "SageMakerOutput"
"""Where a row that was joined to its result holds it."""
Results = Callable[[], Iterable[Mapping[str, Any]]]
"""Gives the rows of the output, from the first one on, each time it is called."""


class Result(NamedTuple):
    """A row of the output: its id, its first text, and how many texts it has."""

    id: Any
    text: str
    texts: int


class Unseen(Exception):
    """The rows of the output do not hold their texts where results have them."""


class Looked:
    """The results of a job: some records with their texts, and numbers of many.

    The results are gone through twice, and little is held of each. Raises `Unseen`.
    """

    def __init__(self, results: Results, *, id_field: str = "id") -> None:
        """`id_field`: which column of the input holds the id, as rows that are joined have it."""
        self._measured = _Measured()
        for one in _rows(results, id_field):
            self._measured.add(one.text)
        self.total = len(self._measured.words)
        found = _groups(self._measured) if self.total else ()
        self._groups = tuple(group for group in found if group.places)
        self._wanted = places_of(self._groups)
        self._places = chosen_places(self.total, self._wanted)
        self._ids: dict[int, Any] = {}
        self._found: dict[int, Result] = {}
        chosen, wanted = set(self._places.tolist()), set(self._wanted)
        for place, one in enumerate(_rows(results, id_field)):
            if place in chosen:
                self._ids[place] = one.id
            if place in wanted:
                self._found[place] = one

    def numbers(self, most_chars: int) -> Numbers:
        """Words and repetition of many; every second is left out until it fits."""
        step, found = 1, self._packed(self._places, most_chars)
        while len(found.packed) > most_chars and step < len(self._places):
            step *= 2
            places = np.union1d(self._places[::step], np.array(self._wanted))
            found = self._packed(places, most_chars)
        return found

    def _packed(self, places: Any, most_chars: int) -> Numbers:
        words, repetition = self._measured.columns()
        shares = np.rint(repetition[places] * scale("repetition")).astype(int).tolist()
        metrics = [
            {"name": "words", "scale": 1, "values": words[places].astype(int).tolist()},
            {"name": "repetition", "scale": scale("repetition"), "values": shares},
        ]
        ids = [self._ids[place] for place in places.tolist()]
        return packed({"metrics": metrics, "columns": []}, ids, places, self.total, most_chars)

    def examples(self, limit: int) -> Examples:
        """The records of the groups. limit: the longest text in characters."""
        cards = tuple(self._card(place, limit) for place in self._wanted)
        return Examples(groups=self._groups, cards=cards, limit=limit)

    def _card(self, place: int, limit: int) -> Card:
        one = self._found[place]
        return Card(
            place=place,
            id=id_text(one.id),
            groups=groups_of(self._groups, place),
            badges=badges_of(self._measured.value(place)),
            values=(("words", f"{self._measured.words[place]:,.0f}"),),
            numbers={"file": float(place)},
            texts=((_label(one), plain(one.text, limit)),),
        )


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


def _label(one: Result) -> str:
    return "result" if one.texts == 1 else f"result 1 of {one.texts:,}"


def _rows(results: Results, id_field: str) -> Iterator[Result]:
    for row in results():
        held = row.get(JOINED, row) if isinstance(row, dict) else None
        texts = held.get("generated_texts") if isinstance(held, dict) else None
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise Unseen
        name = id_field if JOINED in row else "id"
        yield Result(row.get(name), texts[0] if texts else "", len(texts))
