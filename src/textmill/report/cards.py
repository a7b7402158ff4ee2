"""The records whose texts a page shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from textmill.evaluation.highlight import Overlap
from textmill.evaluation.records import Example
from textmill.report.choosing import badges_of
from textmill.report.texts import compared, id_text, number, plain
from textmill.report.values import Card, Examples, Group, Text

MAX_REFERENCES = 3
MAX_VALUES = 4


def places_of(groups: Sequence[Group]) -> list[int]:
    """The places of all groups, each once, in their order."""
    return list(dict.fromkeys(place for group in groups for place in group.places))


def groups_of(groups: Sequence[Group], place: int) -> tuple[str, ...]:
    """The keys of the groups that hold a place."""
    return tuple(group.key for group in groups if place in group.places)


def score_examples(
    groups: Sequence[Group],
    found: Sequence[Example],
    names: Sequence[str],
    overlap: Overlap,
    limit: int,
) -> Examples:
    """The records of the groups. names: the metrics, the first of which they are sorted by.
    limit: the longest text in characters."""
    return Examples(
        groups=tuple(groups),
        cards=tuple(
            _card(one, groups_of(groups, one.place), names, limit, overlap) for one in found
        ),
        limit=limit,
    )


def _card(
    one: Example, groups: tuple[str, ...], names: Sequence[str], limit: int, overlap: Overlap
) -> Card:
    value, other = one.values[names[0]], one.baseline_values.get(names[0])
    numbers = {"value": value, "file": float(one.place)}
    if other is not None:
        numbers["moved"] = value - other
    return Card(
        place=one.place,
        id=id_text(one.id),
        groups=groups,
        badges=(*_state(one), *badges_of(lambda name: one.values.get(name, 0.0))),
        values=tuple(_said(one.values, one.baseline_values, names[:MAX_VALUES])),
        numbers=numbers,
        texts=tuple(_labelled(one, limit, overlap)),
    )


def _state(one: Example) -> tuple[str, ...]:
    if one.state == "scored":
        return ()
    return (f"{one.state}: {one.code}" if one.code else one.state,)


def _said(
    values: Mapping[str, float], others: Mapping[str, float], names: Sequence[str]
) -> Iterable[tuple[str, str]]:
    for at, name in enumerate(names):
        shown = number(name, values[name])
        if at == 0 and name in others:
            moved = number(name, values[name] - others[name], sign=True)
            shown += f" (baseline {number(name, others[name])}, {moved})"
        yield name, shown


def _labelled(one: Example, limit: int, overlap: Overlap) -> Iterable[tuple[str, Text]]:
    references = one.references[:MAX_REFERENCES]
    if one.prediction is not None:
        yield "prediction", compared(one.prediction, references, limit, overlap)
    if one.baseline is not None:
        yield "baseline", compared(one.baseline, references, limit, overlap)
    answers = [text for text in (one.prediction,) if text is not None]
    for at, reference in enumerate(references, 1):
        label = "reference" if len(one.references) == 1 else f"reference {at}"
        if at == MAX_REFERENCES < len(one.references):
            label += f" of {len(one.references)}"
        yield label, compared(reference, answers, limit, overlap)
    if one.source is not None:
        yield "source", plain(one.source, limit)
