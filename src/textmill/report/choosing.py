"""Which records a page shows with their texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from textmill.evaluation.base import LOWER_IS_BETTER, Floats
from textmill.evaluation.join import State
from textmill.evaluation.measuring import Mask
from textmill.evaluation.results import Scores
from textmill.report.texts import number
from textmill.report.values import Group
from textmill.words import counted

MANY, SOME = 20, 10
"""How many of the worst and the best are shown, and of each other group."""
REPEATS, COPIES = 0.2, 0.8
"""From which share of its 4-grams on a prediction is said to repeat itself, to copy its source."""


def score_groups(scores: Scores) -> tuple[Group, ...]:
    """Worst and best by the first metric, what moved most, and what is odd; none empty."""
    return tuple(
        group for group in (*_extremes(scores), *_moved(scores), *_odd(scores)) if group.places
    )


def _extremes(scores: Scores) -> Iterable[Group]:
    name, records = scores.scores[0].name, scores.records
    scored = np.frombuffer(records.states, np.uint8) == State.SCORED.value
    values, sign = records.values[name], -1.0 if name in LOWER_IS_BETTER else 1.0
    rising, falling = ("falling", "rising") if sign < 0 else ("rising", "falling")
    for key, title, order, by in (
        ("worst", "Worst", rising, values * sign),
        ("best", "Best", falling, values * -sign),
    ):
        places = _first(by, scored, MANY)
        note = f"The {title.lower()} by {name}, of those with a prediction."
        if places:
            last = values[places[-1]]
            alike = int(np.sum(scored & (values == last)))
            if alike > MANY:
                note += f" {counted(alike, 'record')} have {number(name, float(last))}; shown are"
                note += " the first in file order."
        yield Group(key=key, title=title, note=note, order=order, places=places)


def _moved(scores: Scores) -> Iterable[Group]:
    if scores.baseline is None:
        return
    first = scores.baseline.comparisons[0]
    for key, title, moved, order in (
        ("up", "Most up", first.up, "up"),
        ("down", "Most down", first.down, "down"),
    ):
        yield Group(
            key=key,
            title=title,
            note=f"Where {first.name} differs most from the baseline's, {key}wards.",
            order=order,
            places=tuple(one.place for one in moved),
        )


def _odd(scores: Scores) -> Iterable[Group]:
    records = scores.records
    scored = np.frombuffer(records.states, np.uint8) == State.SCORED.value
    for key, metric, least, title, what in (
        ("empty", "empty", 1.0, "Empty", "Nothing but white space"),
        ("repeats", "repetition", REPEATS, "Repeats itself", f"{REPEATS:.0%} or more of its 4-grams"
         " stood before in the same text"),
        ("copies", "copy_rate", COPIES, "Copied", f"{COPIES:.0%} or more of its 4-grams stand in"
         " the source"),
    ):  # fmt: skip
        if metric in records.values:
            values = records.values[metric]
            flagged = scored & (values >= least)
            yield odd_group(key, title, what, flagged, values)


def odd_group(key: str, title: str, what: str, flagged: Mask, values: Floats) -> Group:
    """The flagged records with the largest values."""
    places = _first(-values, flagged, SOME)
    note = f"{what}: {counted(int(flagged.sum()), 'record')}."
    if flagged.sum() > len(places):
        note += f" The first {len(places)} are shown."
    return Group(key=key, title=title, note=note, order="file", places=places)


def _first(by: Floats, among: Mask, count: int) -> tuple[int, ...]:
    """The places with the smallest values, in file order where they are equal."""
    places = np.flatnonzero(among)
    return tuple(places[np.argsort(by[places], kind="stable")[:count]].tolist())


def badges_of(value: Callable[[str], float]) -> tuple[str, ...]:
    """What is odd about a record, in words. value: of a metric, 0 where it was not measured."""
    found = []
    if value("empty") >= 1:
        found.append("empty")
    if value("repetition") >= REPEATS:
        found.append(f"repeats itself {value('repetition'):.0%}")
    if value("copy_rate") >= COPIES:
        found.append(f"copied {value('copy_rate'):.0%}")
    return tuple(found)
