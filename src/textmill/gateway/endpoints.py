"""Endpoints: created by a request, brought into service and kept there by `reconcile`.

An endpoint keeps what it serves: its config and its model may be deleted while it answers. Every
step may be repeated, so a gateway that was killed goes on wherever it was. Endpoints of the same
model share a process.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from textmill.errors import TextmillError
from textmill.gateway.hosting import Hosting, Reply, Served
from textmill.gateway.identity import identify
from textmill.gateway.registry import Kind, Registry, Resource
from textmill.gateway.resting import Resting
from textmill.gateway.transform.orders import HYPER_PARAMS, checked_hyper_params
from textmill.gateway.transform.work import Means
from textmill.gateway.wire.faults import AwsError

CREATING, UPDATING, RECOVERING = "Creating", "Updating", "SystemUpdating"
IN_SERVICE, DELETING, FAILED = "InService", "Deleting", "Failed"

STARTUP_SECONDS = 600.0
"""How long a process may take until it answers, where the config does not say."""

_MAX_FALLS = 5
_END_SECONDS = 10.0
_WAKE_SECONDS, _WAKE_STEP_SECONDS = 60.0, 0.05
_LIVE = frozenset({CREATING, UPDATING, RECOVERING, IN_SERVICE})
_log = logging.getLogger("textmill.gateway")


class Endpoints:
    """The endpoints of a registry, and their processes."""

    def __init__(
        self, registry: Registry, hosting: Hosting, means: Means, *, idle: float | None = None
    ) -> None:
        """idle: seconds without a call after which a process rests; None for never."""
        self._resting = Resting(idle)
        self._registry, self._hosting, self._means = registry, hosting, means
        self._folders = registry.folder / "endpoints"
        self._folders.mkdir(exist_ok=True)
        self._began: dict[str, float] = {}
        self._falls: dict[str, int] = {}

    def run_for(self, model: Mapping[str, Any]) -> str:
        """The run of a live endpoint that serves just this, or a new one.

        What a model's data in a bucket is may have changed: that is not shared.
        """
        wanted = self._shared(model)
        for endpoint in self._registry.all(Kind.ENDPOINT):
            is_same = wanted is not None and self._shared(endpoint.model or {}) == wanted
            if is_same and endpoint.status in _LIVE and endpoint.run is not None:
                return endpoint.run
        return uuid.uuid4().hex

    def _shared(self, model: Mapping[str, Any]) -> Served | None:
        """What processes are shared by; None if this one is not to be."""
        try:
            served = self._served(model, "")
        except AwsError:  # what an older version took
            return None
        return served if served.model.data is None else None

    def ask(self, endpoint: Resource, body: bytes, headers: Mapping[str, str]) -> Reply:
        """An answer of the endpoint's process, once it is there again if it has ended or rests.

        Raises `OSError` if there is none.
        """
        run = str(endpoint.run)
        rests = self._resting.begin_call(run)
        try:
            if rests:
                _wait(lambda: self._has_woken(run))
            elif endpoint.status == RECOVERING or not self._is_running(run):
                _wait(lambda: self._has_recovered(endpoint))
            return self._hosting.ask(self._folder(run), body, headers)
        finally:
            self._resting.end_call(run)

    def _has_woken(self, run: str) -> bool:
        """Whether a process that rested answers. Raises `ConnectionError` if it never will."""
        folder = self._folder(run)
        if not self._hosting.is_ending(folder) and self._hosting.is_ready(folder):
            self._resting.woken(run)
            return True
        if not self._resting.is_wanted(run) and not self._is_running(run):
            raise ConnectionError("the endpoint's process does not come back")
        return False

    def _has_recovered(self, endpoint: Resource) -> bool:
        """Whether `reconcile` has brought a process back. Raises `ConnectionError` if it does not
        try to any more."""
        now = self._registry.get(*endpoint.key)
        if now is None or now.run != endpoint.run or now.status not in _LIVE:
            raise ConnectionError("the endpoint's process does not come back")
        return self._hosting.is_ready(self._folder(str(endpoint.run)))

    def reconcile(self) -> None:
        """Bring every endpoint one step on."""
        for endpoint in self._registry.all(Kind.ENDPOINT):
            try:
                self._bring_on(endpoint)
                self._log(endpoint)
            except AwsError as error:  # what an older version took
                self._change(endpoint, status=FAILED, reason=error.message[:1024], coming=None)
            except (TextmillError, OSError) as error:
                _log.warning("endpoint %s: %s", endpoint.name, error)

    def _log(self, endpoint: Resource) -> None:
        for folder in self.folders(endpoint):
            if folder.exists():
                self._hosting.log(folder, ended=not self._hosting.is_running(folder))

    def folders(self, endpoint: Resource) -> list[Path]:
        """Where the processes of an endpoint work: one, and while it is updated two."""
        return [self._folder(run) for run in sorted(_runs_of(endpoint))]

    def _bring_on(self, endpoint: Resource) -> None:
        if endpoint.status == DELETING:
            self._delete(endpoint)
        elif endpoint.status in {CREATING, RECOVERING}:
            self._begin(endpoint)
        elif endpoint.status == UPDATING:
            self._keep(endpoint)
            self._update(endpoint)
        elif endpoint.status == IN_SERVICE and not self._keep(endpoint):
            self._change(endpoint, status=RECOVERING)

    def _keep(self, endpoint: Resource) -> bool:
        """See that the process runs if it is called, and rests if not; False if it has ended."""
        run = str(endpoint.run)
        if self._is_running(run):
            if self._resting.is_to_rest(run):
                self._began.pop(run, None)  # its end is no fall
                self._hosting.stop(self._folder(run))
            return True
        if self._resting.is_wanted(run):
            self._hosting.start(
                self._folder(run), self._served(endpoint.model or {}, endpoint.name)
            )
            self._resting.started(run)
        return self._resting.rests(run)

    def _begin(self, endpoint: Resource) -> None:
        """Towards service, for the first time or after its process has ended."""
        state, why = self._progress(str(endpoint.run), endpoint.model or {}, endpoint.name)
        if state == IN_SERVICE:
            self._change(endpoint, status=IN_SERVICE, reason=None)
        elif state == FAILED:
            self._change(endpoint, status=FAILED, reason=why)

    def _update(self, endpoint: Resource) -> None:
        """The old process answers until the new one does, and goes on if that never will."""
        coming = endpoint.coming
        assert coming is not None  # noqa: S101  the status says so
        state, why = self._progress(coming["run"], coming["model"], endpoint.name)
        if state == IN_SERVICE:
            said = {**endpoint.said, "EndpointConfigName": coming["config"]}
            self._change(
                endpoint,
                status=IN_SERVICE,
                reason=None,
                said=said,
                model=coming["model"],
                run=coming["run"],
                coming=None,
            )
        elif state == FAILED:
            self._change(endpoint, status=IN_SERVICE, reason=why, coming=None)

    def _progress(self, run: str, model: Mapping[str, Any], name: str) -> tuple[str, str | None]:
        """Start a process, or see how far it is: in service, failed and why, or on its way."""
        folder, now = self._folder(run), time.monotonic()
        if not self._is_running(run):
            if run in self._began:
                self._falls[run] = self._falls.get(run, 0) + 1
                words = self._hosting.last_words(folder)
                if not self._has_served(run) or self._falls[run] >= _MAX_FALLS:
                    return FAILED, f"The endpoint's process ended: {words}"[:1024]
            self._hosting.start(folder, self._served(model, name))
            self._began[run] = now
        elif self._hosting.is_ready(folder):
            (folder / "served").touch()
            self._resting.woken(run)
            return IN_SERVICE, None
        elif now - self._began.setdefault(run, now) > model.get("startup", STARTUP_SECONDS):
            self._hosting.stop(folder)
            return FAILED, "The endpoint's process did not answer /ping in time."
        return CREATING, None

    def _served(self, model: Mapping[str, Any], name: str) -> Served:
        container = model.get("container", {})
        environment = container.get("Environment", {})
        return Served(
            name=name,
            model=identify(container, model.get("tags", {})),
            hyper_params=checked_hyper_params(environment.get(HYPER_PARAMS)),
            means=self._means,
        )

    def _delete(self, endpoint: Resource) -> None:
        runs = _runs_of(endpoint) - self._used()
        if not [run for run in runs if not self._end(run)]:
            self._registry.remove(endpoint)

    def _used(self) -> set[str]:
        """The runs that endpoints go on with."""
        found: set[str] = set()
        for endpoint in self._registry.all(Kind.ENDPOINT):
            found |= _runs_of(endpoint) if endpoint.status != DELETING else set()
        return found

    def _end(self, run: str) -> bool:
        """End a process; whether it has ended."""
        folder = self._folder(run)
        if self._is_running(run):
            self._hosting.stop(folder)
            return False
        self._hosting.remove(folder)
        self._began.pop(run, None)
        self._resting.woken(run)
        return True

    def end_strays(self) -> None:
        """End processes that no endpoint has any more: those that updates have replaced."""
        used = self._used()
        for folder in self._folders.iterdir():
            if folder.name not in used:
                self._end(folder.name)

    def close(self) -> None:
        """End all processes, a former gateway's too; endpoints come back with the next gateway."""
        left, deadline = list(self._folders.iterdir()), time.monotonic() + _END_SECONDS
        while left and time.monotonic() < deadline:
            for folder in left:
                self._hosting.stop(folder)
            time.sleep(0.05)
            left = [folder for folder in left if self._hosting.is_running(folder)]
        self._hosting.close()

    def _is_running(self, run: str) -> bool:
        return self._hosting.is_running(self._folder(run))

    def _has_served(self, run: str) -> bool:
        return (self._folder(run) / "served").exists()

    def _folder(self, run: str) -> Path:
        return self._folders / run

    def _change(self, endpoint: Resource, **changes: Any) -> None:
        self._registry.change(endpoint, modified=time.time(), **changes)


def _wait(is_there: Callable[[], bool]) -> None:
    """Return once a process is there. Raises `ConnectionError` if that takes too long."""
    deadline = time.monotonic() + _WAKE_SECONDS
    while not is_there():
        if time.monotonic() > deadline:
            raise ConnectionError("the endpoint's process does not come back")
        time.sleep(_WAKE_STEP_SECONDS)


def _runs_of(endpoint: Resource) -> set[str]:
    coming = {endpoint.coming["run"]} if endpoint.coming else set()
    return {str(endpoint.run), *coming}
