"""The page of scores: what it shows is read here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from textmill.storage.local import LocalStore
from textmill.transform.job import JobFolder
from textmill.transform.manifest import is_ours as is_manifest

if TYPE_CHECKING:
    from textmill.evaluation.files import RowFile
    from textmill.evaluation.options import How
    from textmill.evaluation.results import Scores
    from textmill.report.values import Failed, Failure, Job, Numbers


def score_report(
    scores: Scores, files: Sequence[RowFile], *, on: str, how: How, command: str
) -> str:
    """The page of scores, with what stands beside the predictions: errors, the job's manifest.

    files: all that were read, the predictions first. on: the id, as `Sides.on` has it.
    command: what makes it again.
    Raises `InputError` where files are gone.
    """
    from textmill.evaluation.fields import id_fields
    from textmill.evaluation.highlight import Overlap
    from textmill.report.cards import places_of, score_examples
    from textmill.report.choosing import score_groups
    from textmill.report.fitting import Room, fitted
    from textmill.report.packing import score_numbers, told_apart
    from textmill.report.page import score_page
    from textmill.report.values import ScoreView, Source

    overlap = Overlap(how.tokenizer, stemmer=how.stemmer)
    groups = score_groups(scores)
    places = places_of(groups)
    names = told_apart([score.name for score in scores.scores], scores.records.values)
    digests = tuple((_named(file), file.sha256()) for file in files)
    manifest, job = _manifest_beside(files[0].path)
    found = scores.records.examples(places)
    failures = _unanswered(scores, files[0], id_fields(on)[0])
    source = Source(
        command=command,
        files=digests,
        verified=_verified(job, files[0].path.name, digests[0][1]),
        manifest=manifest,
    )

    @cache
    def numbers(most_chars: int) -> Numbers:
        return score_numbers(scores, places, most_chars)

    def page(room: Room) -> str:
        return score_page(
            ScoreView(
                scores=scores,
                examples=score_examples(groups, found, names, overlap, room.text_chars),
                numbers=numbers(room.packed_chars),
                failures=failures,
                source=source,
                job=job,
            )
        )

    return fitted(page)


def _named(file: RowFile) -> str:
    return f"{file} (a pipe)" if file.is_pipe else str(file)


def _manifest_beside(predictions: Path) -> tuple[str | None, Job | None]:
    """The manifest of the job whose output it is, as text and as values; None where there is no
    manifest of ours that can be read."""
    from textmill.report.values import job_of

    folder = JobFolder(LocalStore(predictions.parent), predictions.name)
    data = folder.store.read(folder.manifest_name)
    try:
        found = msgspec.json.decode(data or b"null")
        if is_manifest(found):
            return msgspec.json.format(data or b"", indent=1).decode(), job_of(found)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    return None, None


def _verified(job: Job | None, name: str, sha256: str) -> str | None:
    """How the predictions compare with what the job wrote."""
    if job is None:
        return None
    if {one.name: one.sha256 for one in job.outputs}.get(name) == sha256:
        return f"Verified: {name} has the SHA-256 that its manifest says."
    return f"{name} is not as its manifest says: it has changed since the job ran."


def _unanswered(scores: Scores, predictions: RowFile, id_field: str) -> Sequence[Failure]:
    """References without a prediction by code, with the first of each and what is said of it."""
    from textmill.evaluation.fields import id_key
    from textmill.report.values import Failed, by_code

    wanted = dict(_first_unanswered(scores))
    keys = {
        id_key(scores.records.ids[place]): (code, place)
        for code, places in wanted.items()
        for place in places
    }
    said = _messages(predictions, keys.keys(), id_field)
    found: dict[str, list[Failed]] = {code: [] for code in wanted}
    for key, (code, place) in keys.items():
        line, message = said.get(key, (None, UNSAID.get(code, "")))
        found[code].append(Failed(line=line, id=scores.records.ids[place], message=message))
    counts = {**scores.failures, "missing": scores.counts.missing}
    counts["duplicate"] = scores.counts.duplicate
    return by_code({code: count for code, count in counts.items() if count}, found)


UNSAID = {
    "missing": "There is no row with this id among the predictions.",
    "duplicate": "It is answered more than once, and differently.",
}


def _first_unanswered(scores: Scores) -> Iterator[tuple[str, list[int]]]:
    """Of each code, the first few places; `missing` and `duplicate` are codes here."""
    from textmill.evaluation.join import State
    from textmill.report.values import MAX_FAILED

    found: dict[str, list[int]] = {}
    left = Counter(scores.failures)
    left.update(missing=scores.counts.missing, duplicate=scores.counts.duplicate)
    left = Counter({code: min(count, MAX_FAILED) for code, count in left.items()})
    for place, state in enumerate(scores.records.states):
        if state == State.SCORED or not left.total():
            continue
        code = scores.records.code(place) or State(state).name.lower()
        if left[code] > 0:
            left[code] -= 1
            found.setdefault(code, []).append(place)
    return iter(found.items())


def _messages(
    predictions: RowFile, keys: Iterable[Any], id_field: str
) -> dict[Any, tuple[int | None, str]]:
    """Line and message of rows that failed, by id: from the error file, where that is always `id`,
    and from the predictions themselves where they hold them."""
    from textmill.evaluation.fields import id_key
    from textmill.evaluation.files import RowFile
    from textmill.evaluation.join import errors_beside

    wanted: set[Any] = set(keys)
    found: dict[Any, tuple[int | None, str]] = {}
    beside = [RowFile(path) for path in errors_beside(predictions.path) if path.exists()]
    for file in (*beside, predictions):
        if not wanted - found.keys():
            break
        for row in file.rows():
            message = row.value.get("message", row.value.get("error"))
            key = id_key(row.value.get(id_field if file is predictions else "id"))
            if message is not None and key in wanted:
                line = row.value.get("line")
                found[key] = (line if isinstance(line, int) else None, str(message))
    return found
