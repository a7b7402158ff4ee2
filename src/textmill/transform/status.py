"""Where a job stands, from its files alone. Reads, never writes, and never asks for the lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from textmill.errors import InputError, TextmillError
from textmill.storage.decompress import text_lines
from textmill.storage.opening import is_url
from textmill.transform.commit import Totals
from textmill.transform.following import FollowedJournal
from textmill.transform.job import JobFolder
from textmill.transform.journal import Progressed
from textmill.transform.liveness import is_alive
from textmill.transform.manifest import Manifest, read_manifest
from textmill.transform.parts import Row
from textmill.transform.runs import Runs, Speed, State, judge, speed_of


class Example(Struct, frozen=True, kw_only=True):
    """One row without a result. `file` only where the job has several inputs."""

    line: int
    message: str
    id: Any = None
    file: str | None = None


class Memory:
    """What earlier looks at a job have found, so that a look costs what is new and not the job.

    examples: a row for each error code. journal: as far as it was read.
    """

    def __init__(self) -> None:
        self.examples: dict[str, Example] = {}
        self.journal = FollowedJournal()
        self._counted: tuple[object, Totals] | None = None

    def totals(self, state: State, folder: JobFolder) -> Totals:
        """What the parts hold. They are read again only if they can have changed: who writes to
        them writes to the journal as well."""
        found = (state, self.journal.changes, folder.part_names)
        if self._counted is None or self._counted[0] != found:
            self._counted = found, self._count(folder)
        return self._counted[1]

    def _count(self, folder: JobFolder) -> Totals:
        totals = Totals(copied=self.journal.past.carried.copied)
        for row in _rows_of(folder):
            totals.count(row)
            if row.code and row.code not in self.examples:
                self.examples[row.code] = _decode_example(row.error)
        return totals


class Cause(Struct, frozen=True, kw_only=True):
    """Rows that have no result for one reason. `example` is None where none could be found yet."""

    code: str
    count: int
    example: Example | None = None


class Counts(Struct, frozen=True, kw_only=True):
    """Rows done: rows = ok + failed + invalid.

    copied: rows with the result of an equal, earlier one; None while the job runs.
    """

    rows: int = 0
    ok: int = 0
    failed: int = 0
    invalid: int = 0
    codes: dict[str, int] = {}
    copied: int | None = None


class Verification(Struct, frozen=True, kw_only=True):
    """What `--verify` found. problems: damage. notes: what could not be checked, and warnings."""

    checked: list[str]
    problems: list[str]
    notes: list[str]


class JobStatus(Struct, frozen=True, kw_only=True):
    """Where one job stands. The fields are the keys of `textmill status --json`.

    output: the job's output, as a path or URL. state: see `State`; detail: how that is known.
    counts: rows done. total: rows of the input; None if unknown.
    resumed: rows that an earlier run than the last one had done.
    rows_per_second, run_rows_per_second: of the last minute of the last run, and of all of it.
    eta_seconds: of a running job. began, updated: of the last run, its begin and last sign of life.
    runs, deaths: how many runs there were, and how many were killed; None once complete.
    split_batches: batches computed in halves. shrunk: how often memory ran out; max_tokens: input
    tokens of a batch since then. failures: rows without a result by cause, most frequent first.
    command, cwd: the line that began the job, and where. moved_from: the output that it named, if
    the job has been moved or copied since. input_copy: where the copy is of an input
    that can be read only once, while the job is unfinished. warnings: what its manifest warns of.
    output_format: of the output, once complete. verification: what `verify` found, if asked for.
    """

    output: str
    state: State
    detail: str
    counts: Counts = Counts()
    total: int | None = None
    resumed: int = 0
    rows_per_second: float | None = None
    run_rows_per_second: float | None = None
    eta_seconds: float | None = None
    began: str | None = None
    updated: str | None = None
    runs: int | None = None
    deaths: int | None = None
    split_batches: int = 0
    shrunk: int = 0
    max_tokens: int | None = None
    failures: list[Cause] = []
    command: list[str] | None = None
    cwd: str | None = None
    moved_from: str | None = None
    input_copy: str | None = None
    warnings: list[str] = []
    output_format: str | None = None
    verification: Verification | None = None

    @property
    def copy_is_here(self) -> bool:
        """Whether there is a copy of the input, as a file of this machine."""
        return self.input_copy is not None and not is_url(self.input_copy)

    @property
    def moved_to(self) -> str | None:
        """The output to name instead of the one that `command` names; None if that is right."""
        if self.moved_from is None or is_url(self.output):
            return self.moved_from and self.output
        return str(Path(self.output).absolute())

    @property
    def is_sound(self) -> bool:
        """Whether nothing of the job is damaged, as far as was looked."""
        problems = self.verification.problems if self.verification else ()
        return self.state is not State.DAMAGED and not problems


def job_status(folder: JobFolder, memory: Memory | None = None) -> JobStatus | None:
    """Where a job stands; None if there is no such job. Damage is a state, not an exception, and so
    are files that cannot be read.

    memory: of earlier looks at the job with this output; what this one finds is added.
    """
    try:
        return _job_status(folder, memory or Memory())
    except TextmillError as error:
        return _damaged(folder, error)


def _job_status(folder: JobFolder, memory: Memory) -> JobStatus | None:
    while True:
        if folder.is_described:
            found = _guarded(folder, memory, _unfinished)
            if not folder.is_described:
                continue  # it has become complete meanwhile
            left_over = found.state is not State.RUNNING and not folder.holds_rows
            if not (left_over and folder.store.stat(folder.manifest_name)):
                return found
        elif not folder.store.stat(folder.manifest_name):
            return None
        return _guarded(folder, memory, _finished)


def _guarded(
    folder: JobFolder, memory: Memory, look: Callable[[JobFolder, Memory], JobStatus]
) -> JobStatus:
    try:
        return look(folder, memory)
    except TextmillError as error:
        return _damaged(folder, error)


def _damaged(folder: JobFolder, error: TextmillError) -> JobStatus:
    return JobStatus(output=folder.label, state=State.DAMAGED, detail=error.message)


def _unfinished(folder: JobFolder, memory: Memory) -> JobStatus:
    description = folder.description()
    memory.journal.read(*folder.journal())
    runs, past = memory.journal.runs, memory.journal.past
    alive = is_alive(runs.last) if runs.last is not None else None
    state, detail = judge(runs, alive, datetime.now(UTC))
    speed, last = speed_of(runs), runs.progress[-1] if runs.progress else None
    counts = _unfinished_counts(folder, state, last, memory)
    total = last.total if last else None
    return JobStatus(
        output=folder.label,
        state=state,
        detail=detail,
        counts=counts,
        total=total,
        resumed=last.resumed if last else 0,
        rows_per_second=speed.recent,
        run_rows_per_second=speed.run,
        eta_seconds=_eta(state, counts, total, speed),
        began=runs.last.at if runs.last else None,
        updated=runs.last_sign,
        runs=runs.count,
        deaths=_deaths(runs, state),
        split_batches=len(past.splits),
        shrunk=len(past.shrunk),
        max_tokens=min(past.shrunk, default=None),
        failures=_causes(counts, memory),
        command=description.command if description else None,
        cwd=description.cwd if description else None,
        moved_from=folder.moved_from(description) if description else None,
        input_copy=folder.store.label(folder.spool) if folder.store.stat(folder.spool) else None,
    )


def _eta(state: State, counts: Counts, total: int | None, speed: Speed) -> float | None:
    if state is not State.RUNNING or total is None or not speed.recent:
        return None
    return max(0, total - counts.rows) / speed.recent


def _deaths(runs: Runs, state: State) -> int:
    """Runs that were killed; one that is at work, or perhaps is, was not."""
    return runs.unended - (state in {State.RUNNING, State.SILENT})


def _unfinished_counts(
    folder: JobFolder, state: State, last: Progressed | None, memory: Memory
) -> Counts:
    """Those of a running job from its last progress event, all others exactly from the parts."""
    if state is State.RUNNING and last is not None:
        _seek(memory, last.codes, _errors_of(folder))
        invalid = sum(last.codes.values()) - last.failed
        return Counts(
            rows=last.rows, ok=last.ok, failed=last.failed, invalid=invalid, codes=last.codes
        )
    return _counts(memory.totals(state, folder))


def _rows_of(folder: JobFolder) -> Iterator[Row]:
    for number in folder.part_numbers:
        yield from folder.read_part(number)[0].rows


def _errors_of(folder: JobFolder) -> Iterator[tuple[str, bytes]]:
    return ((row.code, bytes(row.error)) for row in _rows_of(folder) if row.code)


def _counts(totals: Totals) -> Counts:
    return Counts(**{name: getattr(totals, name) for name in Counts.__struct_fields__})


def _seek(memory: Memory, codes: dict[str, int], errors: Iterator[tuple[str, bytes]]) -> None:
    """Look for a row of each code that has no example, and no further than needed."""
    examples = memory.examples
    missing = codes.keys() - examples.keys()
    if not missing:
        return
    for code, line in errors:
        if code in missing:
            examples[code] = _decode_example(line)
            missing.discard(code)
            if not missing:
                return


_decode_example = msgspec.json.Decoder(Example).decode


def _causes(counts: Counts, memory: Memory) -> list[Cause]:
    by_count = sorted(counts.codes.items(), key=lambda item: (-item[1], item[0]))
    return [Cause(code=code, count=n, example=memory.examples.get(code)) for code, n in by_count]


def _finished(folder: JobFolder, memory: Memory) -> JobStatus:
    manifest = read_manifest(folder.store, folder.manifest_name)
    counts, run = _counts(manifest.counts), manifest.run
    missing = _changed_sizes(folder, manifest)
    if not missing and counts.codes:
        _seek(memory, counts.codes, _error_lines(folder))
    return JobStatus(
        output=folder.label,
        state=State.DAMAGED if missing else State.COMPLETE,
        detail="; ".join(missing) or f"finished at {manifest.finished}",
        counts=counts,
        total=counts.rows,
        resumed=run.get("resumed_rows", 0),
        run_rows_per_second=run.get("rows_per_second"),
        updated=manifest.finished,
        split_batches=run.get("split_batches", 0),
        failures=_causes(counts, memory),
        command=manifest.command,
        warnings=manifest.warnings,
        output_format=manifest.output_format,
    )


def _changed_sizes(folder: JobFolder, manifest: Manifest) -> list[str]:
    """Which outputs are not there, or not of their size: damage that costs nothing to see."""
    found = []
    for output in manifest.outputs:
        entry, label = folder.store.stat(output.name), folder.store.label(output.name)
        if entry is None:
            found.append(f"{label} is not there any more")
        elif entry.size_bytes != output.bytes:
            found.append(f"{label} has {entry.size_bytes:,} bytes, not {output.bytes:,}")
    return found


class _ErrorLine(Example, frozen=True, kw_only=True):
    code: str


_decode_error = msgspec.json.Decoder(_ErrorLine).decode


def _error_lines(folder: JobFolder) -> Iterator[tuple[str, bytes]]:
    """Lines of the error file by code, until one is damaged."""
    label = folder.store.label(folder.errors_name)
    for number, line in enumerate(text_lines(folder.store, folder.errors_name), 1):
        try:
            yield _decode_error(line).code, line
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InputError(f"{label} is damaged: line {number}: {error}") from error
