"""What a run finds: nothing, an unfinished job, a finished one; and what it makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from textmill.errors import OutputError
from textmill.transform.job import JobFolder, stem
from textmill.transform.manifest import check_error_file, finished_manifest, output_of
from textmill.transform.ownership import check_outputs
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
    _check_neighbours(folder)
    finished = None if fresh else _finished(folder, spec)
    if finished is not None:
        if not (retry_failed and finished["counts"]["failed"]):
            return finished
        reopen(folder, spec, finished, chunks(), command=command)
        return None
    if folder.begin(spec, fresh=fresh, command=command):
        check_outputs(folder)
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
    check_error_file(folder, manifest)
    return manifest


def _check_neighbours(folder: JobFolder) -> None:
    """Raise `OutputError` if another job has the same manifest and error file: `o`, `o.jsonl`."""
    store, base = folder.store, stem(folder.name)
    for name in {base, f"{base}.jsonl"} - {folder.name}:
        finished = output_of(store, folder.manifest_name) == name and store.stat(name) is not None
        if finished or JobFolder(store, name).is_described:
            raise OutputError(
                f"{store.label(name)} is the output of another job, whose manifest and error file"
                f" have the names that those of {folder.label} would have",
                hint="choose another -o",
            )
