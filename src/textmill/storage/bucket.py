"""One bucket of S3, GCS or Azure through obstore: what may pass is tried again, and the rest said.

A network loses replies: a request that was applied looks like one that failed, and tried again a
conditional one is refused because of itself. So every object is written with a nonce in its
metadata, and a refusal counts only after the object was read back and has another's nonce.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from textmill.errors import InputError, OutputError, is_panic
from textmill.storage.cloud_errors import is_passing, reason_and_hint
from textmill.storage.connecting import Address, StoreOptions, connect
from textmill.storage.patience import Patience

if TYPE_CHECKING:
    from obstore import PutMode

Guard = Callable[[], None]
"""Raises if this process may no longer write."""


def free() -> None:
    """The guard of what needs none."""


NONCE = "textmill"
"""The metadata key of the nonce: letters only, as Azure wants it."""

_INNER_RETRY_SECONDS = 5.0
"""Retries within obstore; `retry_seconds` of them are ours."""


class Version(NamedTuple):
    """What names one state of an object; providers use one or both."""

    e_tag: str | None
    generation: str | None

    def condition(self) -> dict[str, str]:
        """As obstore wants it."""
        parts = {"e_tag": self.e_tag, "version": self.generation}
        return {name: value for name, value in parts.items() if value is not None}


class Found(NamedTuple):
    """An object's head. `version` is what changes with its content."""

    size_bytes: int
    version: Version
    nonce: str | None


class Bucket:
    """Objects by key. Safe to use from several threads.

    Every failure is an `InputError` (reading) or `OutputError` (writing) that names the URL.
    """

    def __init__(
        self, address: Address, options: StoreOptions, *, request_seconds: float = 120.0
    ) -> None:
        """Raises `UsageError` if the extra is not installed or the address cannot be used."""
        self.address, self.options = address, options
        inner = min(_INNER_RETRY_SECONDS, options.retry_seconds)
        connection = connect(address, options, inner, request_seconds)
        self._client = connection.client
        self.patience = Patience(connection, options.retry_seconds)

    def url(self, key: str) -> str:
        """The object as users know it."""
        return f"{self.address}/{key}"

    def head(self, key: str) -> Found | None:
        """The object, or None."""
        with self.reading(key):
            return self.patience.ask(lambda: self._head(key))

    def get(self, key: str) -> bytes | None:
        """All of a small object, or None."""

        def attempt() -> bytes | None:
            try:
                return self.patience.send(lambda: bytes(self._client.get(key).bytes()))
            except FileNotFoundError as error:
                _raise_if_bucket_missing(error)
                return None

        with self.reading(key):
            return self.patience.ask(attempt)

    def get_range(self, key: str, start: int, end: int, version: Version) -> bytes:
        """The bytes `start` to `end`, of the object in that state only."""
        from obstore.exceptions import PreconditionError

        options: dict[str, Any] = {"range": (start, end)}
        if version.e_tag:
            options["if_match"] = version.e_tag

        def attempt() -> bytes:
            return self.patience.send(lambda: bytes(self._client.get(key, options=options).bytes()))

        try:
            with self.reading(key):
                data = self.patience.ask(attempt)
        except InputError as error:
            if isinstance(error.__cause__, PreconditionError):
                raise InputError(
                    f"{self.url(key)} has changed while it was read",
                    hint="when nothing writes to it any more, run again; a job that has begun on it"
                    " has to start over, for it is another input now (--fresh)",
                ) from error
            raise
        return data

    def list(self, folder: str) -> list[tuple[str, int]]:
        """Keys and sizes of all objects below `folder` ("" is everything), sorted by key.

        Folder markers (empty objects whose key ends in `/`) are left out.
        """

        def attempt() -> list[tuple[str, int]]:
            metas = self.patience.send(lambda: self._client.list(folder or None).collect())
            return sorted((meta["path"], meta["size"]) for meta in metas)

        with self.reading(f"{folder}/" if folder else ""):
            found = self.patience.ask(attempt)
        # obstore drops the slash at a marker's end, so only asking tells it from an empty object.
        return [(key, size) for key, size in found if size or self.head(key) is not None]

    def put(self, key: str, data: bytes, guard: Guard = free) -> None:
        """Write an object over whatever has its key. `guard` is called before each try."""

        def attempt() -> None:
            guard()
            self._put(key, data, "overwrite", uuid.uuid4().hex)

        with self.writing(key):
            self.patience.ask(attempt)

    def create(self, key: str, data: bytes, guard: Guard = free) -> Version | None:
        """Write an object if its key is free. None: it is not, and the object is another's."""
        return self._put_if(key, data, None, guard)

    def update(self, key: str, data: bytes, version: Version) -> Version | None:
        """Write an object over that state of it. None: another has written or removed it."""
        return self._put_if(key, data, version, free)

    def delete(self, *keys: str, guard: Guard = free) -> None:
        """Remove objects. Idempotent."""

        def attempt() -> None:
            guard()
            try:
                self.patience.send(lambda: self._client.delete(list(keys)))
            except FileNotFoundError as error:
                _raise_if_bucket_missing(error)

        if keys:
            with self.writing(keys[0]):
                self.patience.ask(attempt)

    def _head(self, key: str) -> Found | None:
        try:
            reply = self.patience.send(lambda: self._client.get(key, options={"head": True}))
        except FileNotFoundError as error:
            _raise_if_bucket_missing(error)
            return None
        meta = reply.meta
        version = Version(meta["e_tag"], meta["version"])
        return Found(meta["size"], version, reply.attributes.get(NONCE))

    def _put(self, key: str, data: bytes, mode: PutMode, nonce: str) -> Version:
        result = self.patience.send(
            lambda: self._client.put(
                key, data, mode=mode, attributes={NONCE: nonce}, use_multipart=False
            )
        )
        return Version(result["e_tag"], result["version"])

    def _put_if(
        self, key: str, data: bytes, version: Version | None, guard: Guard
    ) -> Version | None:
        """A conditional put, by its nonce applied once however often it is sent."""
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        nonce, conflicts = uuid.uuid4().hex, (AlreadyExistsError, PreconditionError)
        mode: Any = version.condition() if version else "create"

        def attempt() -> Version | None:
            guard()
            try:
                return self._put(key, data, mode, nonce)
            except BaseError as error:
                if version and isinstance(error, FileNotFoundError):
                    _raise_if_bucket_missing(error)
                    return None
                if not isinstance(error, conflicts) and not is_passing(error):
                    raise
                refusal = error
            found = self._head(key)
            if found and found.nonce == nonce:
                return found.version
            if (found and found.version) == version:
                raise refusal  # nobody's yet: the reply or the request was lost, or two collided
            return None

        with self.writing(key):
            return self.patience.ask(attempt, also=conflicts)

    def reading(self, key: str) -> AbstractContextManager[None]:
        """Have what goes wrong within be an `InputError` that names the object."""
        return _told(f"{self.url(key)} cannot be read", InputError, self.address.provider)

    def writing(self, key: str) -> AbstractContextManager[None]:
        """Have what goes wrong within be an `OutputError` that names the object."""
        return _told(f"{self.url(key)} cannot be written", OutputError, self.address.provider)


@contextmanager
def _told(what: str, kind: type[InputError | OutputError], provider: str) -> Iterator[None]:
    """Have what goes wrong within be an error of that kind, which begins with `what`."""
    try:
        yield
    except BaseException as error:
        if not is_panic(error) and not isinstance(error, failures()):
            raise
        reason, hint = reason_and_hint(error, provider)
        raise kind(f"{what}: {reason}", hint=hint) from error


def failures() -> tuple[type[Exception], ...]:
    """What obstore raises: its own errors, OSErrors, and ValueErrors for names it cannot use."""
    from obstore.exceptions import BaseError

    return BaseError, OSError, ValueError


def _raise_if_bucket_missing(error: FileNotFoundError) -> None:
    """A key that is not there is an answer, a bucket that is not there an error."""
    if any(word in str(error) for word in ("NoSuchBucket", "ContainerNotFound")):
        raise error
