"""A job's folder: `OUT.job/`, which exists only while the job is unfinished.

OUT.job/job.json       what the job is, written once; a resume must be the same job
OUT.job/lock           held by the running process; one writer at a time
OUT.job/parts/         finished rows, one append-only log per window
OUT.job/journal.jsonl  what was tried: runs, batches before they were computed, splits
OUT.job/commit/        what is about to appear at the job's names: SHA-256 and name
OUT.job/stdin.jsonl    the input, when it came from standard input or from Python

On an object store parts, journal and commit/ are in OUT.job/logs-ID/; each job has an ID of its
own, told by its job.json. So what a run that has lost its lease still had on its way comes, however
late, under a name that nobody reads.
"""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from textmill.errors import InputError, OutputError, ResumeRefused
from textmill.storage.base import Lock, Log, Store
from textmill.storage.inputs import same_file
from textmill.storage.opening import is_url
from textmill.transform.journal import Carried, Events
from textmill.transform.parts import Part, read_part
from textmill.transform.plan import JobSpec, changes

_LOGS = "logs-"
_OURS = ("commit/", "job.json", "journal.jsonl", "lock", _LOGS, "parts", "stdin.jsonl")


class Description(Struct, frozen=True, kw_only=True):
    """What job.json holds.

    identity: what must be equal for a resume. logs: the folder of its logs within the
    job's, empty if it is that itself. command: the line that began the job, None from Python.
    cwd: the folder it was given in. output: where the output is to be, as an absolute path or URL.
    replaces: the files that stood at the job's names when it began, with their versions; nothing
    else may be replaced. crc32: of all else, as compact JSON.
    """

    identity: dict[str, str]
    logs: str
    command: list[str] | None = None
    cwd: str | None = None
    output: str | None = None
    replaces: dict[str, str] = {}
    crc32: int = 0

    def sealed(self) -> Description:
        """With its checksum, which is what it should be if nothing has changed since."""
        unsealed = replace(self, crc32=0)
        return replace(unsealed, crc32=zlib.crc32(msgspec.json.encode(unsealed)))

    @property
    def inputs(self) -> list[str]:
        """What the inputs hold, each as its part of the identity says it."""
        return [text for name, text in self.identity.items() if name.startswith("input ")]


class JobFolder:
    """The folder beside the output: lock it, compare it, remove it."""

    def __init__(self, store: Store, name: str) -> None:
        """`name`: of the output, in `store`."""
        self.store, self.name = store, name
        self.errors_name = f"{stem(name)}.errors.jsonl"
        """Where error lines go: `predict.jsonl` → `predict.errors.jsonl`."""
        self.manifest_name = f"{stem(name)}.manifest.json"
        """The commit point of the job: `predict.manifest.json`."""
        self._folder = f"{name}.job/"
        self.spool = f"{self._folder}stdin.jsonl"
        self._record = f"{self._folder}job.json"
        self._logs: str | None = None
        self._lock: Lock | None = None
        self._is_empty = False

    @property
    def label(self) -> str:
        """The output as the user knows it."""
        return self.store.label(self.name)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The three files that are one output."""
        return self.name, self.errors_name, self.manifest_name

    @property
    def part_names(self) -> list[str]:
        """The parts there are, in order."""
        return self.store.names(self._parts)

    @property
    def part_numbers(self) -> list[int]:
        """The windows that have a part, in order."""
        start = len(self._parts)
        return sorted({int(name[start:].partition(".")[0]) for name in self.part_names})

    @property
    def _parts(self) -> str:
        return f"{self._log_folder}parts/"

    @property
    def _log_folder(self) -> str:
        if self._logs is None:
            description = self.description() if self.store.writes_late else None
            self._logs = description.logs if description else self._new_logs()
        return self._folder + self._logs

    def _new_logs(self) -> str:
        return f"{_LOGS}{secrets.token_hex(8)}/" if self.store.writes_late else ""

    @property
    def holds_rows(self) -> bool:
        """Whether an earlier run left finished rows. Rows without a job.json are nobody's."""
        return self.is_described and bool(self.part_names)

    @property
    def _is_needed(self) -> bool:
        """Whether the job would lose something with its folder: rows, or what it has announced."""
        return self.is_described and bool(self.part_names or self.store.names(self._announcements))

    @property
    def is_described(self) -> bool:
        """Whether there is a job.json: the job is unfinished."""
        return self.store.stat(self._record) is not None

    def part(self, window: int) -> Log:
        """The log of a window's finished rows."""
        return self.store.log(self._part_name(window))

    def read_part(self, window: int) -> tuple[Part, int]:
        """What a window's log holds, and the byte where its whole frames end."""
        name = self._part_name(window)
        try:
            return read_part(self.store.log(name), self.store.label(name))
        except InputError as error:
            if error.__cause__ is None:  # else the store could not read it, and says what to do
                error.hint = self.mending(window)
            raise

    def mending(self, window: int) -> str:
        """What to do about a part that is damaged: the mildest that gives the same output."""
        log, label = self.journal()
        if any(isinstance(event, Carried) for event in Events(log, label)):
            # The counts of its rows cannot be told from those of the rows taken over.
            return "it was changed after it was written; start over with --fresh"
        part = self.store.label(self._part_name(window))
        what = f"all objects below {part}/" if self.store.writes_late else part
        return (
            f"it was changed after it was written: remove {what} and run the same line again; only"
            " the rows of this part are computed again"
        )

    def _part_name(self, window: int) -> str:
        return f"{self._parts}{window:05d}.jsonl"

    def journal(self) -> tuple[Log, str]:
        """The log of what was tried, and what the user knows it by."""
        name = f"{self._log_folder}journal.jsonl"
        return self.store.log(name), self.store.label(name)

    @property
    def replaces(self) -> dict[str, str]:
        """What stood at the job's names when it began: each file with its version."""
        description = self.description()
        return {} if description is None else description.replaces

    def announced(self) -> set[str]:
        """The SHA-256 of what runs of this job were about to put at its names."""
        files = [self.store.read(name) or b"" for name in self.store.names(self._announcements)]
        return {
            line[:64].decode("ascii", "replace") for data in files for line in data.split(b"\n")
        }

    def announce(self, digests: Mapping[str, str]) -> None:
        """Add to `announced`: SHA-256 by name. Durable.

        A file of its own, which never changes: so none is undone by a run that is late.
        """
        lines = [f"{sha256}  {name}\n" for name, sha256 in digests.items()]
        data = "".join(lines).encode(errors="replace")
        numbers = count()
        while not self.store.create(f"{self._announcements}{next(numbers)}", data):
            pass

    @property
    def _announcements(self) -> str:
        return f"{self._log_folder}commit/"

    def check_lock(self) -> None:
        """Raise `OutputError` if another run has taken the job over."""
        if self._lock is not None:
            self._lock.check()

    def lock(self) -> None:
        """Hold the job's lock. Raises `OutputError`, also if another run has it."""
        try:
            there = self.store.names(self._folder)
        except InputError:
            self.store.lock(f"{self._folder}lock").release()  # may say more: that of an output
            raise
        for name in there:
            if not name.removeprefix(self._folder).startswith(_OURS):
                raise OutputError(
                    f"{self.store.label(name)} is in the way, and is no job of textmill's",
                    hint="move it, or choose another -o",
                )
        self._lock = self.store.lock(f"{self._folder}lock")
        self._logs, self._is_empty = None, False

    def leave(self) -> None:
        """Let the lock go. The folder stays if it holds finished rows, or if files have been put at
        the output's names already; else it is removed.

        A folder that cannot be removed is left: why the run ends is what the user has to know.
        """
        if self._lock is None:
            return
        try:
            with suppress(OutputError, InputError):
                self._lock.check()
                if not (self._is_empty or self._is_needed):
                    self.remove()
        finally:
            self._lock.release()
            self._lock = None

    @contextmanager
    def hurried_by_interrupts(self) -> Iterator[None]:
        """Once the user has pressed Ctrl-C in the block, the store is waited for no longer."""
        try:
            yield
        except KeyboardInterrupt:
            self.store.hurry()
            raise

    def begin(self, spec: JobSpec, *, fresh: bool, command: Sequence[str] | None = None) -> bool:
        """Write what the job is, or check that it is the same as before.

        Returns whether it goes on with a job that is there. Raises `ResumeRefused`, listing what
        changed.
        """
        if not fresh and (before := self.description()) is not None:
            different = changes(before.identity, spec.identity())
            if not different:
                return True
            if self.holds_rows:
                self._refuse(different)
        self.forget_rows()
        self.describe(spec, command)
        return False

    def check_input_copy(self, sha256: str) -> None:
        """Raise `ResumeRefused` if a copy of an input with that digest must not be put at `spool`:
        the finished rows here are of another, of which the copy there may be the last."""
        before = self.description()
        if before is None or not self.holds_rows:
            return
        if not any(sha256 in text for text in before.inputs):
            self._refuse([f'input: was {", ".join(before.inputs)}, is "sha256 {sha256}"'])

    def describe(self, spec: JobSpec, command: Sequence[str] | None = None) -> None:
        """Write what the job is: from now on the rows in the folder are its own.

        The description of a job before it is gone (`forget_rows`).
        """
        description = Description(
            identity=spec.identity(),
            logs=self._log_folder.removeprefix(self._folder),
            command=[encodable(word) for word in command] if command else None,
            cwd=_cwd(),
            output=_absolute(self.label),
            replaces={
                entry.name: entry.version
                for name in self.outputs
                if (entry := self.store.stat(name)) is not None
            },
        )
        data = msgspec.json.encode(description.sealed())
        if not self.store.create(self._record, msgspec.json.format(data, indent=1)):
            raise OutputError(
                f"{self.store.label(self._record)} has appeared: another run has begun a job here",
                hint="let it finish, or choose another -o",
            )

    def moved_from(self, description: Description) -> str | None:
        """Where the job began, if it has been moved or copied from there."""
        began, here = description.output, _absolute(self.label)
        if began is None or began == here or same_file(f"{began}.job", f"{here}.job"):
            return None
        return began

    def description(self) -> Description | None:
        """What the job is; None if there is none. Raises `ResumeRefused` if it is damaged."""
        record = self.store.read(self._record)
        if record is None:
            return None
        try:
            found = msgspec.json.decode(record, type=Description)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._damaged(str(error)) from error
        if found != found.sealed():
            raise self._damaged("it is not as it was written")
        return found

    def _damaged(self, why: str) -> ResumeRefused:
        return ResumeRefused(
            f"{self.store.label(self._record)} is damaged: {why}", hint="start over with --fresh"
        )

    def _refuse(self, different: list[str]) -> None:
        listed = "\n  ".join(different)
        raise ResumeRefused(
            f"{self.label}.job holds an unfinished job that differs from this one:\n  {listed}",
            hint="run the line it was started with, start over with --fresh, or choose another -o",
        )

    def forget_rows(self) -> None:
        """Remove all rows. Without a job.json they are nobody's, so it goes first."""
        self.store.remove(self._record)
        if self.store.writes_late:
            self.store.clear(f"{self._folder}{_LOGS}")
        else:
            self.store.clear(f"{self._folder}parts/")
            self.store.clear(f"{self._folder}journal.jsonl")
            self.store.clear(f"{self._folder}commit/")
        self._logs = self._new_logs()

    def remove(self) -> None:
        """The job is committed, or holds nothing: remove all but the lock, which `leave` does."""
        self.store.remove(self._record)  # first: from now on the rows are nobody's
        self.store.clear(self._folder)
        self._is_empty = True


def encodable(text: str) -> str:
    """Bytes of a file name that are no UTF-8 are written as \\udcNN."""
    return text.encode(errors="backslashreplace").decode()


def _cwd() -> str | None:
    try:
        return encodable(str(Path.cwd()))
    except OSError:  # it was removed
        return None


def _absolute(label: str) -> str | None:
    cwd = _cwd()
    if is_url(label):
        return label
    return None if cwd is None else str(Path(cwd, encodable(label)))


def stem(output: str) -> str:
    """`predict.jsonl` → `predict`; a name without the ending stays whole."""
    return output.removesuffix(".jsonl")
