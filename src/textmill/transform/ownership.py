"""Which files a job may replace: those that stood at its names when it began, and its own.

Whatever else appears there while the job is unfinished is somebody's, and the job refuses to go on
before it would be lost. What the job is about to put there it announces first, in its own folder:
so a run that was killed between two renames is told from somebody else's file.
"""

from __future__ import annotations

from typing import NoReturn

from textmill.errors import OutputError
from textmill.storage.base import Entry, digest_of
from textmill.transform.job import JobFolder


def check_outputs(folder: JobFolder) -> set[str]:
    """Those of the job's names at which files stand, all of which it may replace.

    Raises `OutputError` if one is there that it may not.
    """
    entries = [entry for name in folder.outputs if (entry := folder.store.stat(name)) is not None]
    for entry in entries:
        if not _may_go(folder, entry):
            refuse(folder, entry.name)
    return {entry.name for entry in entries}


def refuse(folder: JobFolder, name: str) -> NoReturn:
    """Raise `OutputError` about a file at one of the job's names that is not this run's.

    It is another run's if that has taken the job over, which then is what there is to say.
    """
    folder.check_lock()
    raise OutputError(
        f"{folder.store.label(name)} has appeared or was changed since this job began, and would be"
        " lost",
        hint="move it away and run the same line again: no finished row is computed twice",
    )


def _may_go(folder: JobFolder, entry: Entry) -> bool:
    if folder.replaces.get(entry.name) == entry.version:
        return True
    announced = folder.announced()
    return bool(announced) and digest_of(folder.store, entry.name) in announced
