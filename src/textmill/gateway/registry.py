"""What clients have created: rows of STATE/state.sqlite, all in memory, written before answered.

A gateway killed at any moment finds every resource as it was after some answered request. One
gateway to a folder.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from textmill.errors import OutputError, UsageError
from textmill.gateway.database import connect, damaged, told
from textmill.gateway.processes import taken

DATABASE = "state.sqlite"


class Kind(StrEnum):
    """What there can be, as its ARN names it."""

    MODEL = "model"
    ENDPOINT_CONFIG = "endpoint-config"
    ENDPOINT = "endpoint"
    TRANSFORM_JOB = "transform-job"


class Resource(Struct, frozen=True, kw_only=True):
    """One thing that a client has created.

    said: the request that created it, without its tags. invocation: that request's id, which is
    the same when a client that got no answer sends it again. created, modified, started, ended:
    seconds since 1970. run: the name of the folder its process works in. model: what an endpoint
    serves, kept because its config and model may be deleted meanwhile. coming: what an update
    brings, until it serves: config, model, run.
    """

    kind: Kind
    region: str
    name: str
    arn: str
    created: float
    modified: float
    said: dict[str, Any]
    tags: dict[str, str] = {}
    invocation: str | None = None
    status: str = ""
    reason: str | None = None
    started: float | None = None
    ended: float | None = None
    run: str | None = None
    model: dict[str, Any] | None = None
    coming: dict[str, Any] | None = None

    @property
    def key(self) -> tuple[Kind, str, str]:
        """By which the registry knows it."""
        return self.kind, self.region, self.name


_PUT = "INSERT OR REPLACE INTO resource (kind, region, name, described) VALUES (?, ?, ?, ?)"
_REMOVE = "DELETE FROM resource WHERE kind = ? AND region = ? AND name = ?"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Resource).decode


class Registry:
    """All resources. Thread-safe; each change is on disk before the method returns."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder, which is made if need be.

        Raises `UsageError` if another gateway has it, or its database is damaged or of a newer
        version; `OutputError` if it cannot be used.
        """
        self.folder = folder
        self._path = folder / DATABASE
        self.mutex = threading.RLock()
        """Held by whoever reads something and then changes it."""
        with ExitStack() as stack:
            stack.callback(os.close, _lock(folder))
            self._database = stack.enter_context(closing(connect(self._path)))
            self._all: dict[Kind, dict[tuple[str, str], Resource]] = {kind: {} for kind in Kind}
            for resource in self._stored():
                self._all[resource.kind][resource.region, resource.name] = resource
            self._open = stack.pop_all()

    def close(self) -> None:
        """Let the folder go."""
        with self.mutex:
            self._open.close()

    def get(self, kind: Kind, region: str, name: str) -> Resource | None:
        """The resource of that name, or None."""
        return self._all[kind].get((region, name))

    def all(self, kind: Kind, region: str | None = None) -> list[Resource]:
        """Those of one kind, of one region or of all."""
        with self.mutex:
            found = list(self._all[kind].values())
        return [one for one in found if region in (None, one.region)]

    def find(self, arn: str) -> Resource | None:
        """The resource with that ARN, or None."""
        kind = arn.rsplit(":", maxsplit=1)[-1].partition("/")[0]
        if kind not in set(Kind):
            return None
        return next((one for one in self.all(Kind(kind)) if one.arn == arn), None)

    def put(self, resource: Resource) -> Resource:
        """Keep a resource, over the one that has its name. Returns it. Raises `OutputError`."""
        with self.mutex:
            self._execute(_PUT, *_key(resource), _encode(resource))
            self._all[resource.kind][resource.region, resource.name] = resource
        return resource

    def change(self, resource: Resource, **changes: Any) -> Resource | None:
        """Change what the registry now has of a resource; None if it has been removed."""
        with self.mutex:
            current = self.get(*resource.key)
            if current is None or current.arn != resource.arn or current.run != resource.run:
                return None
            return self.put(replace(current, **changes))

    def remove(self, resource: Resource) -> None:
        """Forget a resource. Idempotent."""
        with self.mutex:
            self._execute(_REMOVE, *_key(resource))
            self._all[resource.kind].pop((resource.region, resource.name), None)

    def _execute(self, statement: str, *values: str | bytes) -> None:
        """A transaction of one statement."""
        with told(self._path):
            self._database.execute(statement, values)

    def _stored(self) -> Iterator[Resource]:
        with told(self._path):
            rows = self._database.execute("SELECT name, described FROM resource").fetchall()
        for name, described in rows:
            try:
                yield _decode(described)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise damaged(self._path, f"{name}: {error}") from error


def _key(resource: Resource) -> tuple[str, str, str]:
    return resource.kind.value, resource.region, resource.name


def _lock(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = taken(folder / "lock")
    except OSError as error:
        raise OutputError(f"{folder} cannot be used: {error.strerror}") from error
    if descriptor is None:
        raise UsageError(
            f"another gateway works in {folder}", hint="stop it, or give another --state"
        )
    return descriptor
