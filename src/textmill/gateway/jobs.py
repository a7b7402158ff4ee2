"""Transform jobs: created by a request, brought on by `reconcile`, ended by a worker's verdict.

Every step may be repeated: a gateway killed between any two of them, and started again, goes on.
A job is in the registry before its folder is made, and its folder is whole before it is started.
"""

from __future__ import annotations

import heapq
import logging
import time
import uuid
from pathlib import Path

import msgspec

from textmill.errors import TextmillError
from textmill.gateway.identity import identify
from textmill.gateway.registry import Kind, Registry, Resource
from textmill.gateway.supervisor import Supervisor
from textmill.gateway.transform.orders import Order, order_of
from textmill.gateway.transform.work import ORDER, STOP, VERDICT, Verdict, tidy
from textmill.gateway.wire.faults import AwsError
from textmill.storage.local import LocalStore

IN_PROGRESS, STOPPING = "InProgress", "Stopping"
ACTIVE = frozenset({IN_PROGRESS, STOPPING})

_MAX_TRIES = 5
_log = logging.getLogger("textmill.gateway")


def new_run() -> str:
    """The name of a folder for a new job."""
    return uuid.uuid4().hex


class Jobs:
    """The transform jobs of a registry.

    at_once: how many work at the same time; others wait, `InProgress`, for their turn.
    """

    def __init__(self, registry: Registry, supervisor: Supervisor, *, at_once: int) -> None:
        self._registry, self._supervisor, self._at_once = registry, supervisor, at_once
        self._folders = registry.folder / "jobs"
        self._folders.mkdir(exist_ok=True)

    def folder(self, job: Resource) -> Path:
        """Where the job is worked on."""
        return self._folders / str(job.run)

    def stop(self, job: Resource) -> None:
        """Ask a job to stop; `reconcile` does the rest."""
        if self._registry.change(job, status=STOPPING, modified=time.time()) is not None:
            folder = self.folder(job)
            if folder.exists():
                self._supervisor.stop(folder)

    def end_workers(self) -> None:
        """End those of a former gateway; `reconcile` starts others."""
        for job in self._registry.all(Kind.TRANSFORM_JOB):
            if job.status in ACTIVE:
                self._supervisor.end(self.folder(job))

    def reconcile(self) -> None:
        """Bring every job that has not ended one step on.

        One that waits for its first turn has no worker and no verdict: its folder is not asked.
        """
        active = [job for job in self._registry.all(Kind.TRANSFORM_JOB) if job.status in ACTIVE]
        waiting = [job for job in active if not _may_have_worked(job)]
        working = 0
        for job in filter(_may_have_worked, active):
            try:
                if self._ended(job):
                    continue
                if self._supervisor.is_at_work(self.folder(job)):
                    working += 1
                else:
                    waiting.append(job)
            except (TextmillError, OSError) as error:
                _log.warning("transform job %s: %s", job.name, error)
        free = max(0, self._at_once - working)
        for job in heapq.nsmallest(free, waiting, key=lambda job: (job.created, job.name)):
            self._start(job)

    def _ended(self, job: Resource) -> bool:
        """Enter the verdict, if there is one."""
        folder = self.folder(job)
        verdict = read_verdict(folder)
        if verdict is None and job.status == STOPPING and not folder.exists():
            verdict = Verdict(status="Stopped", at=time.time())
        if verdict is None:
            return False
        self._end(job, verdict)
        return True

    def _end(self, job: Resource, verdict: Verdict) -> None:
        self._registry.change(
            job,
            status=verdict.status,
            reason=verdict.reason,
            ended=verdict.at,
            modified=verdict.at,
        )
        folder = self.folder(job)
        self._supervisor.forget(folder)
        if folder.exists():
            tidy(folder)

    def _start(self, job: Resource) -> None:
        folder = self.folder(job)
        if self._supervisor.tries(folder) >= _MAX_TRIES:
            reason = f"InternalServerError: {_MAX_TRIES} processes of the job ended too early"
            self._end(job, Verdict(status="Failed", at=time.time(), reason=reason))
            return
        try:
            self._prepare(job, folder)
            self._supervisor.start(folder)
        except AwsError as error:  # a request that an older version took
            reason = f"ClientError: {error.message}"[:1024]
            self._end(job, Verdict(status="Failed", at=time.time(), reason=reason))
        except (TextmillError, OSError) as error:
            _log.warning("transform job %s does not start: %s", job.name, error)

    def _prepare(self, job: Resource, folder: Path) -> None:
        """Write the order, and what else a worker needs."""
        if not (folder / ORDER).exists():
            folder.mkdir(exist_ok=True)
            LocalStore(folder).replace(ORDER, msgspec.json.encode(order_for(job)))
        if job.status == STOPPING:
            (folder / STOP).touch()
        if job.started is None:
            self._registry.change(job, started=time.time())


def _may_have_worked(job: Resource) -> bool:
    return job.started is not None or job.status == STOPPING


def order_for(job: Resource) -> Order:
    """A job's order. The model is as it was when the job was created. Raises `AwsError`."""
    model = job.model or {}
    container = model.get("container", {})
    identity = identify(container, model.get("tags", {}))
    return order_of(job.said, identity, container.get("Environment", {}))


def read_verdict(folder: Path) -> Verdict | None:
    """How the job ended; None while it has not."""
    try:
        return msgspec.json.decode((folder / VERDICT).read_bytes(), type=Verdict)
    except FileNotFoundError:
        return None
