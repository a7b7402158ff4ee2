"""The numbers of many records, small enough to travel in a page."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from textmill.evaluation.base import LOWER_IS_BETTER, SACRE_METRICS, Floats
from textmill.evaluation.results import Scores
from textmill.html.build import visible
from textmill.report.texts import id_text
from textmill.report.values import Numbers

MAX_RECORDS, MIN_RECORDS = 10_000, 500
MAX_METRICS = 4
MAX_COLUMNS = 3
MAX_EXACT = 2**53
"""Up to here JavaScript tells whole numbers apart."""


def score_numbers(scores: Scores, texts: Sequence[int], most_chars: int) -> Numbers:
    """States, values and slices of the records, those in `texts` always among them.

    Four metrics and 10,000 records, or less where that is packed in more than `most_chars`:
    metrics are left out first.
    """
    names = told_apart([score.name for score in scores.scores], scores.records.values)
    most = MAX_RECORDS
    found = _numbers(scores, names, chosen_places(len(scores.records), texts, most))
    while len(found.packed) > most_chars and (len(names) > 1 or most > MIN_RECORDS):
        if len(names) > 1:
            names = names[:-1]
        else:
            most //= 2
        found = _numbers(scores, names, chosen_places(len(scores.records), texts, most))
    return found


def _numbers(scores: Scores, names: Sequence[str], places: Any) -> Numbers:
    records, first = scores.records, names[0]
    states = np.frombuffer(records.states, np.uint8)[places]
    content: dict[str, Any] = {
        "states": "".join(map(str, states.tolist())),
        "metrics": [
            {
                "name": name,
                "scale": scale(name),
                "lower": name in LOWER_IS_BETTER,
                "values": _whole(records.values[name][places], name),
            }
            for name in names
        ],
        "columns": [
            {
                "name": visible(id_text(column.name)),
                "labels": [visible(id_text(label)) for label in column.labels],
                "codes": np.frombuffer(column.codes, np.int32)[places].tolist(),
            }
            for column in records.columns[:MAX_COLUMNS]
        ],
    }
    if records.baseline_values:
        other = np.frombuffer(records.baseline_states, np.uint8)[places]
        content["baseline"] = _whole(records.baseline_values[first][places], first)
        content["baseline_states"] = "".join(map(str, other.tolist()))
    if records.words is not None:
        content["words"] = records.words[0][places].astype(int).tolist()
    return packed(content, [records.ids[place] for place in places.tolist()], places, len(records))


def packed(content: Mapping[str, Any], ids: Sequence[Any], places: Floats, total: int) -> Numbers:
    """Columns of numbers with the ids of their records. places: rising."""
    everything = {
        **content,
        **_ids(ids),
        "steps": np.diff(places, prepend=0).tolist(),
        "total": total,
    }
    data = zlib.compress(msgspec.json.encode(everything), 9)
    return Numbers(total=total, shown=len(ids), packed=base64.b64encode(data).decode())


def _ids(ids: Sequence[Any]) -> dict[str, Any]:
    """Whole numbers by their distances, which take the least room; anything else as text."""
    if all(type(one) is int and abs(one) < MAX_EXACT for one in ids):
        return {"id_steps": np.diff(np.array(ids, np.int64), prepend=0).tolist()}
    return {"ids": [visible(id_text(one)) for one in ids]}


def chosen_places(total: int, texts: Sequence[int], most: int = MAX_RECORDS) -> Any:
    """All places, or of many records some at even distances and those in `texts`; rising."""
    if total <= most:
        return np.arange(total)
    even = np.linspace(0, total - 1, most - len(texts)).astype(np.int64)
    return np.union1d(even, np.array(texts, np.int64))


def told_apart(names: Sequence[str], values: Mapping[str, Floats]) -> list[str]:
    """Up to four metrics, without those that say of every record what an earlier one says, or
    the same of all."""
    kept: list[str] = []
    for name in names:
        column = values[name]
        alike = any(np.array_equal(column, values[other]) for other in kept)
        if not kept or not (alike or np.ptp(column) == 0):
            kept.append(name)
    return kept[:MAX_METRICS]


def scale(name: str) -> int:
    """What a value is multiplied by to be a whole number: four digits are shown, or two."""
    return 100 if name in SACRE_METRICS else 10_000


def _whole(values: Floats, name: str) -> list[int]:
    return np.rint(values * scale(name)).astype(int).tolist()  # type: ignore[no-any-return]
