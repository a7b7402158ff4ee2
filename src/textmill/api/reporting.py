"""Pages: what they show is read here from files, and they are written where the user wants them."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from textmill.errors import OutputError
from textmill.html.document import HEAD_BYTES, is_ours
from textmill.storage.atomic import AtomicFile, write_atomic
from textmill.storage.base import digest_of, input_errors
from textmill.storage.local import LocalStore
from textmill.storage.opening import is_url
from textmill.transform.job import JobFolder
from textmill.transform.manifest import is_ours as is_manifest

if TYPE_CHECKING:
    from textmill.api.jobs import Job as FinishedJob
    from textmill.evaluation.highlight import Overlap
    from textmill.evaluation.results import Scores
    from textmill.report.values import Failed, Failure, Job, Numbers

MAX_EXAMPLES = 3


def check_page(path: str | Path, others: Iterable[str | Path] = ()) -> None:
    """Raise `OutputError`, before any work, where a page could not be written or would replace
    anything but an earlier page.

    others: names that something else is about to take.
    """
    if is_url(str(path)):
        raise OutputError(f"{path}: a report is written to this machine", hint="name a local file")
    AtomicFile(str(path)).discard()
    taken = {os.path.realpath(one) for one in map(str, others) if not is_url(one)}
    if os.path.realpath(path) in taken or not _is_free(Path(path)):
        raise OutputError(
            f"the report would replace {path}, which is no page of textmill's",
            hint="choose another name for --report",
        )


def _is_free(place: Path) -> bool:
    """Whether nothing would be lost."""
    with input_errors(str(place)):
        if not place.exists() or not place.stat().st_size:
            return True
        with place.open("rb") as file:
            return is_ours(file.read(HEAD_BYTES))


def write_page(path: str | Path, page: str) -> None:
    """Write a page, whole or not at all. Raises `OutputError`."""
    write_atomic(str(path), page.encode())


def score_report(
    scores: Scores, files: Sequence[Path], *, overlap: Overlap, command: Sequence[str]
) -> str:
    """The page of scores, with what stands beside the predictions: errors, the job's manifest.

    files: all that were read, the predictions first. Raises `InputError` where they are gone.
    """
    from textmill.report.cards import places_of, score_examples
    from textmill.report.choosing import score_groups
    from textmill.report.fitting import Room, fitted
    from textmill.report.packing import score_numbers, told_apart
    from textmill.report.page import score_page
    from textmill.report.values import ScoreView, Source

    groups = score_groups(scores)
    places = places_of(groups)
    names = told_apart([score.name for score in scores.scores], scores.records.values)
    digests = tuple((str(path), _digest(path)) for path in files)
    manifest, job = _manifest_beside(files[0])
    found = scores.records.examples(places)
    failures = _unanswered(scores, files[0])
    source = Source(
        command=shlex.join(command),
        files=digests,
        verified=_verified(job, files[0].name, digests[0][1]),
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


def job_report(job: FinishedJob) -> str:
    """The page of a finished job."""
    from textmill.report.fitting import Room, fitted
    from textmill.report.outputs import Looked, Unseen
    from textmill.report.page import job_page
    from textmill.report.values import JobView, Source, job_of

    facts, unseen = job_of(job.manifest), "There are no results."
    seen: Looked | None = None
    try:
        if job.manifest.get("output_format", "jsonl") == "jsonl":
            seen = Looked(lambda: job.results, id_field=str(job.manifest["id"]))
        else:
            unseen = f"The results are {job.manifest['output_format']}, which is not looked into."
    except Unseen:
        unseen = "The results do not hold their texts as generated_texts (--output-filter)."
    failures = _failed_rows(job)
    source = Source(
        command=None,
        files=(
            *((one.name, one.sha256 or "") for one in facts.inputs),
            *((one.name, one.sha256) for one in facts.outputs),
        ),
        manifest=_formatted(msgspec.json.encode(job.manifest)),
    )

    def page(room: Room) -> str:
        there = seen is not None and seen.total > 0
        return job_page(
            JobView(
                output=str(job.output),
                job=facts,
                failures=failures,
                source=source,
                examples=seen.examples(room.text_chars) if seen and there else None,
                numbers=seen.numbers(room.packed_chars) if seen and there else None,
                unseen=unseen,
            )
        )

    return fitted(page)


def command_line(verb: Sequence[str], flags: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """A line of the command line: flags whose value is not the default, (value, default) each."""
    words = ["textmill", *verb]
    for name, (value, default) in flags.items():
        if value == default or value is None:
            continue
        flag = "--" + name.replace("_", "-")
        if value is True:
            words.append(flag)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            words += [word for one in value for word in (flag, str(one))]
        else:
            words += [flag, str(value)]
    return words


def _digest(path: Path) -> str:
    return digest_of(LocalStore(path.parent), path.name)


def _manifest_beside(predictions: Path) -> tuple[str | None, Job | None]:
    """The manifest of the job whose output it is, as text and as values; None where there is no
    manifest of ours that can be read."""
    from textmill.report.values import job_of

    folder = JobFolder(LocalStore(predictions.parent), predictions.name)
    data = folder.store.read(folder.manifest_name)
    try:
        found = msgspec.json.decode(data or b"null")
        if is_manifest(found):
            return _formatted(data or b""), job_of(found)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    return None, None


def _formatted(manifest: bytes) -> str:
    return msgspec.json.format(manifest, indent=1).decode()


def _verified(job: Job | None, name: str, sha256: str) -> str | None:
    """How the predictions compare with what the job wrote."""
    if job is None:
        return None
    if {one.name: one.sha256 for one in job.outputs}.get(name) == sha256:
        return f"Verified: {name} has the SHA-256 that its manifest says."
    return f"{name} is not as its manifest says: it has changed since the job ran."


def _failed_rows(job: FinishedJob) -> list[Failure]:
    """Rows without a result by code, with the first of each."""
    from textmill.report.values import Failed

    found: dict[str, list[Failed]] = {code: [] for code in job.counts.codes}
    for row in job.failures:
        examples = found.setdefault(row.code, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append(Failed(line=row.line, id=row.id, message=row.message))
        if all(len(some) == MAX_EXAMPLES for some in found.values()):
            break
    return _failures(job.counts.codes, found)


def _unanswered(scores: Scores, predictions: Path) -> list[Failure]:
    """References without a prediction by code, with the first of each and what is said of it."""
    from textmill.evaluation.fields import id_key
    from textmill.report.values import Failed

    wanted = dict(_first_unanswered(scores))
    keys = {
        id_key(scores.records.ids[place]): (code, place)
        for code, places in wanted.items()
        for place in places
    }
    said = _messages(predictions, keys.keys())
    found: dict[str, list[Failed]] = {code: [] for code in wanted}
    for key, (code, place) in keys.items():
        line, message = said.get(key, (None, UNSAID.get(code, "")))
        found[code].append(Failed(line=line, id=scores.records.ids[place], message=message))
    counts = {**scores.failures, "missing": scores.counts.missing}
    counts["duplicate"] = scores.counts.duplicate
    return _failures({code: count for code, count in counts.items() if count}, found)


UNSAID = {
    "missing": "There is no row with this id among the predictions.",
    "duplicate": "It is answered more than once, and differently.",
}


def _first_unanswered(scores: Scores) -> Iterator[tuple[str, list[int]]]:
    """Of each code, the first few places; `missing` and `duplicate` are codes here."""
    from textmill.evaluation.join import State

    found: dict[str, list[int]] = {}
    left = Counter(scores.failures)
    left.update(missing=scores.counts.missing, duplicate=scores.counts.duplicate)
    left = Counter({code: min(count, MAX_EXAMPLES) for code, count in left.items()})
    for place, state in enumerate(scores.records.states):
        if state == State.SCORED or not left.total():
            continue
        code = scores.records.code(place) or State(state).name.lower()
        if left[code] > 0:
            left[code] -= 1
            found.setdefault(code, []).append(place)
    return iter(found.items())


def _messages(predictions: Path, keys: Iterable[Any]) -> dict[Any, tuple[int | None, str]]:
    """Line and message of rows that failed, by id: from the error file, and from the predictions
    themselves where they hold them."""
    from textmill.evaluation.fields import id_key
    from textmill.evaluation.join import errors_beside
    from textmill.evaluation.rows import read_rows

    wanted: set[Any] = set(keys)
    found: dict[Any, tuple[int | None, str]] = {}
    for path in (*errors_beside(predictions), predictions):
        if not (wanted - found.keys()) or not path.exists():
            continue
        for row in read_rows(path):
            message = row.value.get("message", row.value.get("error"))
            key = id_key(row.value.get("id"))
            if message is not None and key in wanted:
                line = row.value.get("line")
                found[key] = (line if isinstance(line, int) else None, str(message))
    return found


def _failures(counts: Mapping[str, int], found: Mapping[str, Sequence[Failed]]) -> list[Failure]:
    from textmill.report.values import Failure

    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [
        Failure(code=code, count=count, examples=tuple(found.get(code, ())))
        for code, count in ordered
    ]
