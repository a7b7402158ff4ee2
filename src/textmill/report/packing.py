"""The numbers of many records, small enough to travel in a page."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from textmill.evaluation.base import SACRE_METRICS, Floats
from textmill.evaluation.results import Scores
from textmill.html.build import visible
from textmill.report.texts import id_text
from textmill.report.values import Numbers

MAX_RECORDS = 10_000
MAX_METRICS = 4
ID_CHARS = (12, 8)
"""To how many characters ids are cut where they take too much room."""
MAX_EXACT = 2**52
"""Ids up to here, and the steps between them, are at most 2^53: JavaScript has them exactly."""


class Share(NamedTuple):
    """How much of what there is to pack: so many metrics, columns and records; and words."""

    metrics: int
    columns: int
    words: bool
    records: int


SHARES = (
    *(Share(metrics, 3, True, MAX_RECORDS) for metrics in (4, 3, 2, 1)),
    *(Share(1, columns, False, MAX_RECORDS) for columns in (3, 1)),
    *(Share(1, 1, False, records) for records in (5000, 2500, 1000)),
)
"""From most to least: records are what is given up last."""


def score_numbers(scores: Scores, texts: Sequence[int], most_chars: int) -> Numbers:
    """States, values and slices of the records, those in `texts` always among them: the first of
    `SHARES` that is packed in `most_chars`, or the last."""
    names = told_apart([score.name for score in scores.scores], scores.records.values)
    for share in SHARES:
        if share.metrics > max(len(names), 1):
            continue
        places = chosen_places(len(scores.records), texts, share.records)
        ids = [scores.records.ids[place] for place in places.tolist()]
        content = _content(scores, names[: share.metrics], places, share)
        found = packed(content, ids, places, len(scores.records), most_chars)
        if len(found.packed) <= most_chars:
            break
    return found


def _content(scores: Scores, names: Sequence[str], places: Any, share: Share) -> dict[str, Any]:
    records, first = scores.records, names[0]
    content: dict[str, Any] = {
        "states": _states(records.states, places),
        "metrics": [
            {
                "name": name,
                "scale": scale(name),
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
            for column in records.columns[: share.columns]
        ],
    }
    if records.baseline_values:
        content["baseline"] = _whole(records.baseline_values[first][places], first)
        content["baseline_states"] = _states(records.baseline_states, places)
    if records.words is not None and share.words:
        content["words"] = records.words[0][places].astype(int).tolist()
    return content


def _states(states: bytes, places: Any) -> str:
    return "".join(map(str, np.frombuffer(states, np.uint8)[places].tolist()))


def packed(
    content: Mapping[str, Any],
    ids: Sequence[Any],
    places: Floats,
    total: int,
    most_chars: int,
) -> Numbers:
    """Columns of numbers with the ids of their records. places: rising. Ids that would take more
    than half of `most_chars` are cut."""
    column, id_chars = _ids(ids, most_chars // 2)
    everything = {
        **content,
        **column,
        "id_chars": id_chars,
        "steps": np.diff(places, prepend=0).tolist(),
        "total": total,
    }
    return Numbers(total=total, shown=len(ids), packed=_squeezed(everything), id_chars=id_chars)


def _ids(ids: Sequence[Any], most_chars: int) -> tuple[dict[str, Any], int | None]:
    """Whole numbers by their distances, which take the least room; anything else as text, cut to
    so many characters where that is too much."""
    if all(type(one) is int and abs(one) <= MAX_EXACT for one in ids):
        return {"id_steps": np.diff(np.array(ids, np.int64), prepend=0).tolist()}, None
    texts = [visible(id_text(one)) for one in ids]
    for id_chars in (None, *ID_CHARS):
        column = {"ids": [one[:id_chars] for one in texts]}
        if len(_squeezed(column)) <= most_chars:
            break
    return column, id_chars


def _squeezed(value: Any) -> str:
    return base64.b64encode(zlib.compress(msgspec.json.encode(value), 9)).decode()


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
    """What a value is multiplied by to be a whole number: to choose and sort records, three digits
    are enough, or one where the scale goes to 100."""
    return 10 if name in SACRE_METRICS else 1000


def _whole(values: Floats, name: str) -> list[int]:
    return np.rint(values * scale(name)).astype(int).tolist()  # type: ignore[no-any-return]
