"""`textmill status --verify`: is every byte of a job as it was written, and does it add up?

A finished job is held against its manifest, an unfinished one against its own checksums and against
what the plan says about its windows. The input of an unfinished job is not read again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec
from msgspec import Struct

from textmill.errors import TextmillError
from textmill.storage.base import Store, digest_of
from textmill.storage.decompress import text_lines
from textmill.transform.commit import OutputDigest, Totals
from textmill.transform.job import JobFolder
from textmill.transform.journal import Events
from textmill.transform.manifest import Manifest, read_manifest
from textmill.transform.parts import Part
from textmill.transform.plan import InputDigest, window_sizes
from textmill.transform.runs import State
from textmill.transform.status import JobStatus, Verification
from textmill.words import counted

Place = Callable[[str], tuple[Store, str]]
"""From a path or URL to a store and the name in it."""

_T = TypeVar("_T")
_JSON_LINES = frozenset({"jsonl", "openai"})
_MODEL_NOTE = "the model's files were not read again (textmill models verify does that)"


def verify(folder: JobFolder, found: JobStatus, place: Place) -> Verification:
    """Read all files of the job whose status was `found`. Damage is a problem, not an exception."""
    seen = Verification(checked=[], problems=[], notes=[])
    try:
        if folder.is_described and found.state is not State.COMPLETE:
            _verify_unfinished(folder, seen, is_running=found.state is State.RUNNING)
        else:
            manifest = read_manifest(folder.store, folder.manifest_name)
            _verify_finished(folder, manifest, seen, place)
    except TextmillError as error:
        seen.problems.append(error.message)
    return seen


def _verify_finished(
    folder: JobFolder, manifest: Manifest, seen: Verification, place: Place
) -> None:
    seen.problems.extend(counting_problems(manifest.counts))
    rows = {folder.name: manifest.counts.ok}
    rows[folder.errors_name] = manifest.counts.failed + manifest.counts.invalid
    for output in manifest.outputs:
        problems = list(_output_problems(folder, output, rows.get(output.name), manifest))
        seen.problems.extend(problems)
        if not problems:
            seen.checked.append(_said(folder, output))
        if not _is_json_lines(folder, output.name, manifest):
            seen.notes.append(f"{output.name}: its rows were not counted, only its digest compared")
    if rows[folder.errors_name] and folder.errors_name not in {o.name for o in manifest.outputs}:
        seen.problems.append("the manifest counts rows without a result, but names no error file")
    for source in manifest.inputs:
        _check_input(source, seen, place)
    seen.notes.append(_MODEL_NOTE)


def _said(folder: JobFolder, output: OutputDigest) -> str:
    label, rows = folder.store.label(output.name), counted(output.rows, "row")
    return f"{label}: {rows}, {output.bytes:,} bytes, SHA-256"


def counting_problems(counts: Totals) -> list[str]:
    """Where counts contradict each other."""
    problems = []
    if counts.rows != counts.ok + counts.failed + counts.invalid:
        problems.append(
            f"the manifest's counts do not add up: {counts.rows:,} rows are not {counts.ok:,} ok +"
            f" {counts.failed:,} failed + {counts.invalid:,} invalid"
        )
    if sum(counts.codes.values()) != counts.failed + counts.invalid:
        problems.append(
            f"the manifest's codes do not add up to {counts.failed:,} failed and"
            f" {counts.invalid:,} invalid rows"
        )
    return problems


def _is_json_lines(folder: JobFolder, name: str, manifest: Manifest) -> bool:
    return name == folder.errors_name or manifest.output_format in _JSON_LINES


class _Tally(Struct):
    """What was seen in a file of JSON lines. failed: lines of rows that the engine has tried."""

    lines: int = 0
    failed: int = 0
    codes: Counter[str] = msgspec.field(default_factory=Counter)
    problem: str = ""


def _output_problems(
    folder: JobFolder, output: OutputDigest, rows: int | None, manifest: Manifest
) -> Iterator[str]:
    store, name = folder.store, output.name
    label = store.label(name)
    entry = store.stat(name)
    if entry is None:
        yield f"{label} is not there any more"
        return
    if entry.size_bytes != output.bytes:
        yield f"{label} has {entry.size_bytes:,} bytes, the manifest says {output.bytes:,}"
    elif (sha256 := digest_of(store, name)) != output.sha256:
        yield f"{label} has changed: its SHA-256 is {sha256}, the manifest says {output.sha256}"
    if rows is not None and output.rows != rows:
        yield f"the manifest counts {rows:,} rows for {label}, but lists it with {output.rows:,}"
    if not _is_json_lines(folder, name, manifest):
        return
    tally = _tally(store, name)
    if tally.problem:
        yield f"{label}: {tally.problem}"
    elif tally.lines != output.rows:
        yield f"{label} has {counted(tally.lines, 'line')}, the manifest says {output.rows:,}"
    elif name == folder.errors_name and not _agree(tally, manifest.counts):
        yield f"{label}: its codes are not those that the manifest counts"


def _agree(tally: _Tally, counts: Totals) -> bool:
    return (tally.failed, tally.codes) == (counts.failed, Counter(counts.codes))


def _tally(store: Store, name: str) -> _Tally:
    found = _Tally()
    decode = msgspec.json.Decoder().decode
    try:
        for line in text_lines(store, name):
            found.lines += 1
            value = decode(line)
            row = value if isinstance(value, dict) else {}
            found.codes[str(row.get("code", ""))] += 1
            found.failed += bool(row.get("attempts"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        found.problem = f"line {found.lines} is no JSON: {error}"
    except TextmillError as error:  # damaged gzip or zstd
        found.problem = error.message
    return found


def _check_input(source: InputDigest, seen: Verification, place: Place) -> None:
    """An input that has changed since is worth a warning; the output is as good as it was."""
    name = source.name
    if source.is_copy:
        seen.notes.append(
            f"the input was {name}, to be read only once: there is nothing to compare it with"
        )
        return
    if source.span is not None or source.commit is not None:
        why = "a part of a file" if source.commit is None else f"of the commit {source.commit}"
        seen.notes.append(f"input {name} was not compared: it is {why}")
        return
    try:
        same = _is_same(source, *place(name))
    except TextmillError as error:
        seen.notes.append(f"input {name} was not compared: {error.message}")
        return
    if same is None:
        seen.notes.append(f"input {name} is not there (as seen from here): not compared")
    elif same:
        seen.checked.append(f"input {name}: as it was")
    else:
        seen.notes.append(f"warning: input {name} has changed since the job ran")


def _is_same(source: InputDigest, store: Store, name: str) -> bool | None:
    """Whether the file is what the job read; None if it is not there."""
    entry = store.stat(name)
    if entry is None:
        return None
    if source.sha256 is None:
        return entry.version == source.version
    return entry.size_bytes == source.bytes and digest_of(store, name) == source.sha256


def _verify_unfinished(folder: JobFolder, seen: Verification, *, is_running: bool) -> None:
    description = _collect(seen, folder.description)
    if description is None and seen.problems:
        return
    if description is not None and folder.store.stat(folder.spool) is not None:
        _collect(seen, lambda: _verify_copy(folder, description.inputs, seen))
    log, label = folder.journal()
    _collect(seen, lambda: deque(Events(log, label), maxlen=0))
    windows, rows, numbers = PartWindows(), 0, folder.part_numbers
    for number in numbers:
        found = _collect(seen, lambda number=number: folder.read_part(number))  # type: ignore[misc]
        part, end = found or (Part([]), None)
        rows += len(part.rows)
        name = f"{folder.label}.job, part {number}"
        seen.problems.extend(f"{name}: {problem}" for problem in windows.problems(number, part))
        if end is not None and not is_running:
            _note_torn_tail(seen, name, len(folder.part(number).read()) - end)
    if not seen.problems:
        seen.checked.append(
            f"{counted(rows, 'row')} in {counted(len(numbers), 'part')}: the checksum of every"
            " frame, every row in its window, none twice; the journal"
        )
    seen.notes.append("the input was not read again: a resume compares its digest")


def _verify_copy(folder: JobFolder, inputs: Sequence[str], seen: Verification) -> None:
    """The copy of an input that can be read only once may be the last there is."""
    label = folder.store.label(folder.spool)
    sha256 = digest_of(folder.store, folder.spool)
    if any(sha256 in one for one in inputs):
        seen.checked.append(f"{label}: the copy of the input, SHA-256")
    else:
        seen.problems.append(
            f"{label} is not the input that the job began with: its SHA-256 is {sha256}, that of"
            f" the job is {', '.join(inputs)}; the same input given again goes on"
        )


def _collect(seen: Verification, read: Callable[[], _T]) -> _T | None:
    """What was read, or None and a problem more."""
    try:
        return read()
    except TextmillError as error:
        seen.problems.append(error.message)
        return None


def _note_torn_tail(seen: Verification, name: str, size: int) -> None:
    if size > 0:
        seen.notes.append(
            f"{name}: ends in {size:,} bytes of a frame that was not written whole; a resume cuts"
            " them away and computes those rows again"
        )


class PartWindows:
    """Which rows each window can hold, as far as the windows before it tell.

    A window begins where the one before it ends, and holds at most as many rows as the plan says.
    To be asked in order of their numbers.
    """

    def __init__(self) -> None:
        self._sizes = window_sizes()
        self._number = 0
        self._low = self._high = 0

    def problems(self, number: int, part: Part) -> list[str]:
        """What is wrong with a part's rows."""
        while self._number < number:  # windows that have no part yet
            self._pass(self._low + 1, self._high + next(self._sizes))
        low, high, limit = self._low, self._high, next(self._sizes)
        if not part.rows:
            self._pass(low + 1, high + limit)
            return []
        ordinals = [row.n for row in part.rows]
        first, last, count = min(ordinals), max(ordinals), len(ordinals)
        self._pass(last + 1, last + 1 if part.complete else high + limit)
        if first < low or last >= high + limit or last - first >= limit:
            return [
                f"it holds rows {first:,} to {last:,}, but its window has at most {limit:,} rows"
                f" from {low:,} to {high + limit - 1:,}"
            ]
        if part.complete and not (first <= high and last - first + 1 == count == part.window_rows):
            return [
                f"it says that it is complete with {part.window_rows:,} rows, but holds {count:,}"
                f" from {first:,} to {last:,}"
            ]
        return []

    def _pass(self, low: int, high: int) -> None:
        """On to the next window, which begins between `low` and `high`."""
        self._number += 1
        self._low, self._high = low, max(low, high)
