"""What a run finds: nothing, an unfinished job, a finished one; and what it makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from textmill.errors import OutputError
from textmill.transform.job import JobFolder
from textmill.transform.manifest import finished_manifest
from textmill.transform.plan import JobSpec, changes
from textmill.transform.retry import ask_again, reopen
from textmill.transform.windows import Rows


def resume(
    folder: JobFolder,
    spec: JobSpec,
    *,
    fresh: bool,
    retry_failed: bool,
    chunks: Callable[[], Iterable[Rows]],
    command: Sequence[str] | None = None,
) -> dict[str, Any] | None:
    """Make the folder ready for the job. Returns the manifest if the job is complete already.

    The caller holds the job's lock. chunks: reads the input. command: the line that asks for the
    job, kept in its folder. Raises `ResumeRefused` for an unfinished job that is another,
    `OutputError` for an output that is not this job's.
    """
    finished = None if fresh else _finished(folder, spec)
    if finished is not None:
        if not (retry_failed and finished["counts"]["failed"]):
            return finished
        reopen(folder, spec, finished, chunks(), command=command)
        return None
    folder.begin(spec, fresh=fresh, command=command)
    if retry_failed:
        ask_again(folder)
    return None


def _finished(folder: JobFolder, spec: JobSpec) -> dict[str, Any] | None:
    """The manifest if this very job is complete; refuses to replace another job's output.

    While the job's folder is there the job is not complete, whatever stands at the output: a run
    that was killed between two renames merges again.
    """
    there = [name for name in folder.outputs if folder.store.stat(name) is not None]
    unfinished = folder.description()
    same = unfinished is not None and unfinished.identity == spec.identity()
    if same or folder.holds_rows or not there:
        return None
    manifest = finished_manifest(folder)
    if manifest is None:
        raise OutputError(
            f"{folder.store.label(there[0])} exists and is not the complete output of a job",
            hint="choose another -o, or replace it with --fresh",
        )
    different = changes(manifest["identity"], spec.identity())
    if different and not manifest["counts"]["ok"]:
        return None  # there is nothing to lose
    if different:
        listed = "\n  ".join(different)
        raise OutputError(
            f"{folder.label} is the output of another job:\n  {listed}",
            hint="choose another -o, or replace it with --fresh",
        )
    return manifest
