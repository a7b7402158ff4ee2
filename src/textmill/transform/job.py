"""A job's folder: `OUT.job/`, which exists only while the job is unfinished.

OUT.job/job.json     what the job is, written once; a resume must be the same job
OUT.job/lock         held by the running process; one writer at a time
OUT.job/parts/       finished rows, one append-only file per window
OUT.job/stdin.jsonl  the input, when it came from standard input or from Python
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import IO

import msgspec

from textmill.errors import OutputError, ResumeRefused
from textmill.storage.atomic import sync_folder, write_atomic
from textmill.storage.base import output_errors
from textmill.transform.plan import JobSpec, changes


class JobFolder:
    """The folder beside the output. Create it, lock it, compare it, remove it."""

    def __init__(self, output: Path) -> None:
        if not output.name:
            raise OutputError(f"{output} is a folder", hint="give the name of a file in it")
        self.output = output
        self.path = output.with_name(output.name + ".job")
        self.parts = self.path / "parts"
        self.spool = self.path / "stdin.jsonl"
        self.record = self.path / "job.json"
        self._lock: IO[bytes] | None = None

    @property
    def errors_output(self) -> Path:
        """Where error lines go: `predict.jsonl` → `predict.errors.jsonl`."""
        return self.output.with_name(f"{stem(self.output)}.errors.jsonl")

    @property
    def manifest(self) -> Path:
        """The commit point of the job: `predict.manifest.json`."""
        return self.output.with_name(f"{stem(self.output)}.manifest.json")

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The three files that are one output."""
        return self.output, self.errors_output, self.manifest

    @property
    def holds_rows(self) -> bool:
        """Whether an earlier run left finished rows. Rows without a job.json are nobody's."""
        return self.record.exists() and self.parts.exists() and any(self.parts.iterdir())

    def lock(self) -> None:
        """Create the folder and hold its lock. Raises `OutputError`, also if another run has it."""
        self._refuse_a_foreign_folder()
        while self._lock is None:
            with output_errors(str(self.output)):
                self.path.mkdir(exist_ok=True)
                self.parts.mkdir(exist_ok=True)
                file = (self.path / "lock").open("ab")
            self._flock(file)
            # The run before may have finished, and removed the folder, between open and flock.
            if _is_at(file, self.path / "lock"):
                self._lock = file
            else:
                file.close()

    def _refuse_a_foreign_folder(self) -> None:
        with output_errors(str(self.path)):
            foreign = self.path.exists() and not (self.path / "lock").exists()
            if foreign and any(self.path.iterdir()):
                raise OutputError(
                    f"{self.path} is in the way, and is no job of textmill's",
                    hint="move it, or choose another -o",
                )

    def _flock(self, file: IO[bytes]) -> None:
        try:
            with output_errors(str(self.path)):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OutputError as error:
            file.close()
            if not isinstance(error.__cause__, BlockingIOError):
                raise
            raise OutputError(
                f"{self.output}: another run is working on this output",
                hint="wait for it to end, or choose another output",
            ) from None

    def leave(self) -> None:
        """Let the lock go. The folder stays if it holds finished rows, else it is removed."""
        if self._lock is not None and not self.holds_rows:
            self.remove()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def begin(self, spec: JobSpec, *, fresh: bool) -> None:
        """Write what the job is, or check that it is the same as before.

        Raises `ResumeRefused`, listing what changed.
        """
        now = spec.identity()
        if not fresh and self.record.exists():
            if different := changes(self._identity_before(), now):
                self._refuse(different)
            return
        self._forget_parts()
        write_atomic(str(self.record), msgspec.json.format(msgspec.json.encode(now), indent=1))

    def _identity_before(self) -> dict[str, str]:
        try:
            return msgspec.json.decode(self.record.read_bytes(), type=dict[str, str])
        except msgspec.MsgspecError as error:
            raise ResumeRefused(
                f"{self.record} is damaged: {error}", hint="start over with --fresh"
            ) from error

    def _refuse(self, different: list[str]) -> None:
        listed = "\n  ".join(different)
        raise ResumeRefused(
            f"{self.path} holds an unfinished job that differs from this one:\n  {listed}",
            hint="run the line it was started with, start over with --fresh, or choose another -o",
        )

    def _forget_parts(self) -> None:
        with output_errors(str(self.path)):
            shutil.rmtree(self.parts, ignore_errors=True)
            self.parts.mkdir(parents=True)

    def remove(self) -> None:
        """The job is committed, or holds nothing: remove the folder, then let the lock go.

        It is renamed first: half a folder under its own name would look like an unfinished job,
        and another run could lock a new file in it.
        """
        removing = self.path.with_name(self.path.name + ".removing")
        with output_errors(str(self.path)):
            shutil.rmtree(removing, ignore_errors=True)
            self.path.rename(removing)
            shutil.rmtree(removing, ignore_errors=True)
            sync_folder(str(self.path.parent))
        self._unlock()


def _is_at(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def stem(output: Path) -> str:
    """`predict.jsonl` → `predict`; a name without the ending stays whole."""
    return output.name.removesuffix(".jsonl")
