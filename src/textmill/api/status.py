"""`textmill.status`: where jobs stand. Reads only; a run is never disturbed by it."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from textmill.api.stores import store_options
from textmill.storage.base import Store
from textmill.storage.opening import is_url, open_store
from textmill.transform.finding import find_jobs
from textmill.transform.job import JobFolder
from textmill.transform.runs import State
from textmill.transform.status import JobStatus, Memory, job_status
from textmill.transform.verify import verify as verification


def status(
    job: str | Path = ".", *, verify: bool = False, endpoint_url: str | None = None
) -> list[JobStatus]:
    """Where jobs stand: one, by its output, its `.job` folder or its manifest; or all of a folder.

    job: a path or URL; that of a folder (a URL ends in `/`) gives all jobs directly in it, which
    may be none. verify: read every file again, as `textmill status --verify` does. endpoint_url: an
    S3-compatible server to use instead of the cloud's own.

    Raises `UsageError` if there is no such job, `InputError` for a manifest of something else.
    A damaged job is no exception but a state.
    """
    return StatusReader(job, endpoint_url=endpoint_url).read(verify=verify)


class StatusReader:
    """Looks at the same jobs again and again; a look costs what is new."""

    def __init__(self, job: str | Path = ".", *, endpoint_url: str | None = None) -> None:
        self._job = str(job)
        self._options = store_options(endpoint_url)  # of a job here, the inputs may be in a store
        self._memories: dict[str, Memory] = {}
        self.look_seconds = 10.0 if is_url(self._job) else 1.0
        """How often there can be something new: runs sync their journals so often."""

    def read(self, *, verify: bool = False) -> list[JobStatus]:
        """As `status`."""
        folders = find_jobs(self._job, self._options)
        found = [self._look(folder, verify=verify) for folder in folders]
        return [one for one in found if one is not None]

    def _look(self, folder: JobFolder, *, verify: bool) -> JobStatus | None:
        """One job; None if it has gone since it was listed."""
        memory = self._memories.setdefault(folder.label, Memory())
        while True:
            found = job_status(folder, memory)
            if found is None or not verify:
                return found
            seen = verification(folder, found, self._place)
            if found.state in {State.COMPLETE, State.DAMAGED} or folder.is_described:
                return replace(found, verification=seen)

    def _place(self, name: str) -> tuple[Store, str]:
        return open_store(name, self._options)
