"""From what a user calls a job (its output, folder or manifest) to the job; or all in a folder."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from textmill.errors import InputError, UsageError
from textmill.storage.base import Store, input_errors
from textmill.storage.connecting import StoreOptions
from textmill.storage.local import LocalStore
from textmill.storage.opening import is_url, open_store
from textmill.transform.job import JobFolder
from textmill.transform.manifest import output_of, read_manifest

_FOLDER, _DESCRIPTION, _MANIFEST = ".job", ".job/job.json", ".manifest.json"


def find_jobs(name: str, options: StoreOptions) -> list[JobFolder]:
    """The job that `name` leads to, or all jobs that stand directly in the folder of that name.

    Raises `UsageError` if it is no folder and there is no such job, `InputError` for a manifest of
    something else.
    """
    store, names = _listing(name, options)
    if store is not None:
        return [JobFolder(store, output) for output in _outputs(store, names)]
    store, given = open_store(name.rstrip("/"), options)
    folder = _folder(store, given)
    if not is_there(folder):
        raise no_such_job(folder, name)
    return [folder]


def is_there(folder: JobFolder) -> bool:
    """Whether there is a job with this output, damaged or not."""
    if folder.is_described:
        return True
    if folder.store.stat(folder.manifest_name) is None:
        return False
    return output_of(folder.store, folder.manifest_name) == folder.name


def no_such_job(folder: JobFolder, name: str) -> UsageError:
    """Why there is no such job, as far as can be seen, and what may have been meant."""
    store = folder.store
    if store.names(f"{folder.name}.job/"):
        return UsageError(
            f"{folder.label}.job holds no job yet",
            hint="a run writes its description when its model is loaded and its input digested",
        )
    if store.stat(folder.name) is not None:
        return UsageError(
            f"{folder.label} is not the output of a job of textmill",
            hint=f"there is no {store.label(folder.manifest_name)} that names it",
        )
    return UsageError(f"there is no job {name}", hint=_similar(folder))


def _similar(folder: JobFolder) -> str:
    store = folder.store
    if not isinstance(store, LocalStore):
        return "check the spelling; a folder ends in /"
    if not store.root.is_dir():
        return f"there is no folder {store.root}"
    outputs = _outputs(store, _names_in(store))
    close = difflib.get_close_matches(folder.name, outputs, n=1)
    if close:
        return f"did you mean {store.label(close[0])}?"
    return f"looked in {store.root.absolute()}, where {len(outputs)} other jobs are"


def _folder(store: Store, given: str) -> JobFolder:
    """The job with an output, a folder or a manifest of that name."""
    if given.endswith(_FOLDER):
        return JobFolder(store, given.removesuffix(_FOLDER))
    if not given.endswith(_MANIFEST):
        return JobFolder(store, given)
    if store.stat(given) is not None:
        output = output_of(store, given)
        if output is None:
            read_manifest(store, given)  # says what is wrong with it
        return JobFolder(store, output or given)
    start = given.removesuffix(_MANIFEST)
    named = [JobFolder(store, name) for name in (f"{start}.jsonl", start)]
    return next((folder for folder in named if folder.is_described), named[0])


def _listing(name: str, options: StoreOptions) -> tuple[Store | None, list[str]]:
    """The store and the names of a folder that may hold jobs; no store if it is none."""
    if is_url(name):
        if not name.endswith("/") or name.endswith(f"{_FOLDER}/"):
            return None, []
        store, _ = open_store(f"{name}any", options)
        return store, store.names("")
    path = Path(name)
    with input_errors(name):
        if not path.is_dir() or _is_job(path):
            return None, []
    local = LocalStore(path)
    return local, _names_in(local)


def _is_job(path: Path) -> bool:
    ours = ("job.json", "lock", "parts")
    return path.name.endswith(_FOLDER) and any((path / name).exists() for name in ours)


def _names_in(store: LocalStore) -> list[str]:
    """What tells of jobs directly in a folder; its other folders may hold millions of files."""
    with input_errors(str(store.root)):
        entries = sorted(store.root.iterdir())
    names = [entry.name for entry in entries if entry.name.endswith(_MANIFEST)]
    folders = (entry.name for entry in entries if entry.name.endswith(_FOLDER))
    return names + [f"{name}/job.json" for name in folders if _may_hold_job(store, name)]


def _may_hold_job(store: LocalStore, folder: str) -> bool:
    """One that cannot be read may, and hides no other: `job_status` says what is wrong with it."""
    try:
        return store.stat(f"{folder}/job.json") is not None
    except InputError:
        return True


def _outputs(store: Store, names: Sequence[str]) -> list[str]:
    """Outputs of the jobs that stand directly in a store, sorted. Manifests of others are passed
    over."""
    here = [name for name in names if "/" not in name and name.endswith(_MANIFEST)]
    unfinished = {name.removesuffix(_DESCRIPTION) for name in names if name.endswith(_DESCRIPTION)}
    finished = {output for name in here if (output := output_of(store, name)) is not None}
    return sorted(finished | {name for name in unfinished if "/" not in name})
