"""One transform job from its order to its verdict: stage, run, publish. Resumable at any point.

FOLDER/order.json    what to do, written once by the gateway
FOLDER/staged.json   which objects were copied, and how their records make requests
FOLDER/inputs/       the copies
FOLDER/native.jsonl  what `textmill.run` makes of them, with its manifest and errors
FOLDER/published     which outputs have appeared, so that a stop can take them back
FOLDER/log.jsonl     what CloudWatch Logs shows
FOLDER/stop          there once somebody asked the job to stop
FOLDER/verdict.json  how it ended, written last
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from textmill.api.jobs import Job, run
from textmill.errors import EngineError, TextmillError, UsageError, engine_error
from textmill.gateway.transform.log import JobLog
from textmill.gateway.transform.modeldata import fetch_model
from textmill.gateway.transform.orders import Order
from textmill.gateway.transform.publishing import NATIVE, Losses, Publisher
from textmill.gateway.transform.staging import (
    INPUTS,
    STAGED,
    Room,
    Staged,
    find_objects,
    may_pass,
    stage,
    staged,
)
from textmill.records.shape import ORDINAL_ID
from textmill.storage.connecting import StoreOptions
from textmill.storage.local import LocalStore
from textmill.transform.ledger import Progress

ORDER, STOP, VERDICT = "order.json", "stop", "verdict.json"

ECHO = "echo"
_ID_IS_USED = "columns not used: id"
"""The native job numbers its records; their own ids are put back here."""

_ANY_NUMBER = "100%"
"""Of rows may be bad, whatever they are: they cost their own objects, and no other."""

_ONE_MACHINE = (
    "every instance is this machine, and one process computes all requests together:"
    " InstanceCount and MaxConcurrentTransforms change neither results nor speed"
)
_MAX_REASON = 1024
_PROGRESS_SECONDS = 10.0
_STORE_PATIENCE_SECONDS = 60.0


class Means(Struct, frozen=True, kw_only=True):
    """What a worker works with: the gateway's flags. home: the cache of models."""

    home: str
    endpoint_url: str | None
    region: str
    engine: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    download: bool = False


class Verdict(Struct, frozen=True, kw_only=True):
    """How a job ended: `Completed`, `Failed` or `Stopped`; when, in seconds since 1970."""

    status: str
    at: float
    reason: str | None = None


class Stopped(Exception):
    """Somebody asked the job to stop."""


class Work:
    """A job being worked on in its folder."""

    def __init__(self, folder: Path, means: Means) -> None:
        self.folder, self._means = folder, means
        self._store, self._log = LocalStore(folder), JobLog(folder)
        self._order = msgspec.json.decode((folder / ORDER).read_bytes(), type=Order)
        self._options = StoreOptions(
            endpoint_url=means.endpoint_url,
            region=means.region,
            retry_seconds=_STORE_PATIENCE_SECONDS,
        )
        self._publisher = Publisher(self._order, folder, self._options, self._log, self._check_stop)

    def do(self) -> Verdict:
        """Work to the end, and write the verdict down.

        Raises what may pass, such as a store out of reach, and `KeyboardInterrupt`: then there is
        no verdict, and another `do` goes on.
        """
        try:
            verdict = self._done()
        except Stopped:
            self._publisher.take_back()
            verdict = Verdict(status="Stopped", at=time.time())
        except TextmillError as error:
            if may_pass(error):
                self._log.write(f"{error.message}; trying again")
                raise
            verdict = _failed(_reason_of(error))
        except MemoryError as error:
            verdict = _failed(_reason_of(engine_error(error)))
        self._log.write(verdict.reason or verdict.status)
        self._store.replace(VERDICT, msgspec.json.encode(verdict))
        return verdict

    def _done(self) -> Verdict:
        self._check_stop()
        objects = self._staged()
        self._run([one for one in objects if one.rows > len(one.refused)])
        losses = self._publisher.publish(objects)
        if losses.objects:
            return _failed(_reason_of_losses(losses))
        if losses.records:
            self._log.write(f"{losses.records} records have no result ({self._order.on_error})")
        return Verdict(status="Completed", at=time.time())

    def _staged(self) -> list[Staged]:
        found = staged(self._store)
        if found is None:
            found = self._stage()
        self._log.write(self._order.settings)
        if self._order.instances > 1 or self._order.at_once > 1:
            self._log.write(_ONE_MACHINE)
        requests = sum(len(one.requests) for one in found)
        rows = sum(one.rows for one in found)
        self._log.write(f"{len(found)} objects, {rows} records in {requests} requests")
        return found

    def _stage(self) -> list[Staged]:
        objects = find_objects(self._order, self._options)
        self._store.clear(INPUTS)  # an earlier worker's, which was killed
        room = Room(self._store, shutil.disk_usage(self.folder).free // 2)
        return stage(self._order, objects, room, self._options)

    def _run(self, objects: list[Staged]) -> None:
        """Compute all records; those that the engine failed on are tried again."""
        if not objects:
            return
        self._check_stop()
        by_name = self._means.engine == ECHO
        model = None if by_name else fetch_model(self._order.model, self.folder, self._options)
        inputs = [str(self.folder / one.name) for one in objects]
        job = self._native(inputs, model, retry_failed=False)
        for _ in range(self._order.max_retries):
            if not job.counts.failed:
                break
            self._check_stop()
            self._log.write(f"{job.counts.failed} records are tried again")
            job = self._native(inputs, model, retry_failed=True)
        for warning in job.manifest["warnings"]:
            if warning != _ID_IS_USED:
                self._log.write(warning)

    def _native(self, inputs: list[str], model: str | None, *, retry_failed: bool) -> Job:
        means, order = self._means, self._order
        return run(
            inputs,
            self.folder / NATIVE,
            model=model,
            id=ORDINAL_ID,
            input_format="jsonl",
            format="jsonl",
            input_filter=order.input_filter,
            hyper_params=order.hyper_params,
            engine=means.engine,
            precision=means.precision,
            threads=means.threads,
            timeout=float(order.timeout_seconds),
            max_errors=_ANY_NUMBER,
            retry_failed=retry_failed,
            offline=not means.download,
            home=Path(means.home),
            on_progress=self._progress(),
        )

    def _progress(self) -> Callable[[Progress], None]:
        shown = time.monotonic()

        def show(progress: Progress) -> None:
            nonlocal shown
            if time.monotonic() - shown >= _PROGRESS_SECONDS:
                shown = time.monotonic()
                self._log.write(f"{progress.rows} of {progress.total} records")

        return show

    def _check_stop(self) -> None:
        if (self.folder / STOP).exists():
            raise Stopped


def tidy(folder: Path) -> None:
    """Remove what a job that has ended does not need any more: copies, results, a model's data."""
    store = LocalStore(folder)
    for below in (INPUTS, "model/", f"{NATIVE}.job/"):
        store.clear(below)
    for name in (*store.names("native"), *store.names("model")):
        store.remove(name)
    store.remove(STAGED)


def _failed(reason: str) -> Verdict:
    return Verdict(status="Failed", at=time.time(), reason=reason[:_MAX_REASON])


def _reason_of(error: TextmillError) -> str:
    """An error as SageMaker names its kinds: the client's, the model's, the service's."""
    hint = f" ({error.hint})" if error.hint else ""
    if isinstance(error, UsageError):
        return f"ClientError: {error.message}{hint}"
    kind = "AlgorithmError" if isinstance(error, EngineError) else "InternalServerError"
    return f"{kind}: {error.message}{hint}"


def _reason_of_losses(losses: Losses) -> str:
    kind = "AlgorithmError" if losses.is_engines_fault else "ClientError"
    end = f" {losses.records} without a result in {losses.objects} objects. See job logs."
    return f"{kind}: {losses.first[: _MAX_REASON - len(end) - 20]}.{end}"
