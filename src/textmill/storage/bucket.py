"""One bucket of S3, GCS or Azure through obstore: what may pass is tried again, and the rest said.

A network loses replies: a request that was applied looks like one that failed, and tried again a
conditional one is refused because of itself. So every object is written with a nonce in its
metadata, and a refusal counts only after the object was read back and has another's nonce.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from textmill.errors import InputError, OutputError
from textmill.storage.cloud_errors import is_passing, reason_and_hint
from textmill.storage.connecting import BACKOFF_SECONDS, Address, StoreOptions, connect

if TYPE_CHECKING:
    from obstore import PutMode

T = TypeVar("T")
Guard = Callable[[], None]
"""Raises if this process may no longer write."""


def _free() -> None:
    """The guard of what needs none."""


NONCE = "textmill"
"""The metadata key of the nonce: letters only, as Azure wants it."""

_INNER_RETRY_SECONDS = 5.0
"""Retries within obstore, which no signal interrupts; `retry_seconds` of them are ours."""
_FIRST_CONTACT_SECONDS = 10.0
"""A store that has never answered is rather misnamed than busy."""


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
        self._client = connect(address, options, inner, request_seconds)
        self._answered = False

    def url(self, key: str) -> str:
        """The object as users know it."""
        return f"{self.address}/{key}"

    def head(self, key: str) -> Found | None:
        """The object, or None."""
        with self._reading(key):
            return self.patiently(lambda: self._head(key))

    def get(self, key: str) -> bytes | None:
        """All of a small object, or None."""

        def attempt() -> bytes | None:
            try:
                return bytes(self._client.get(key).bytes())
            except FileNotFoundError as error:
                _raise_if_bucket_missing(error)
                return None

        with self._reading(key):
            return self.patiently(attempt)

    def get_range(self, key: str, start: int, end: int, version: Version) -> bytes:
        """The bytes `start` to `end`, of the object in that state only."""
        from obstore.exceptions import PreconditionError

        options: dict[str, Any] = {"range": (start, end)}
        if version.e_tag:
            options["if_match"] = version.e_tag

        def attempt() -> bytes:
            return bytes(self._client.get(key, options=options).bytes())

        try:
            with self._reading(key):
                data = self.patiently(attempt)
        except InputError as error:
            if isinstance(error.__cause__, PreconditionError):
                raise InputError(
                    f"{self.url(key)} has changed while it was read",
                    hint="run the same line again when nothing writes to it any more",
                ) from error
            raise
        return data

    def list(self, folder: str) -> list[tuple[str, int]]:
        """Keys and sizes of all objects below `folder` ("" is everything), sorted by key.

        Folder markers (empty objects whose key ends in `/`) are left out.
        """

        def attempt() -> list[tuple[str, int]]:
            metas = self._client.list(folder or None).collect()
            return sorted((meta["path"], meta["size"]) for meta in metas)

        with self._reading(f"{folder}/" if folder else ""):
            found = self.patiently(attempt)
        # obstore drops the slash at a marker's end, so only asking tells it from an empty object.
        return [(key, size) for key, size in found if size or self.head(key) is not None]

    def put(self, key: str, data: bytes, guard: Guard = _free) -> None:
        """Write an object over whatever has its key. `guard` is called before each try."""

        def attempt() -> None:
            guard()
            self._put(key, data, "overwrite", uuid.uuid4().hex)

        with self.writing(key):
            self.patiently(attempt)

    def create(self, key: str, data: bytes, guard: Guard = _free) -> Version | None:
        """Write an object if its key is free. None: it is not, and the object is another's."""
        return self._put_if(key, data, None, guard)

    def update(self, key: str, data: bytes, version: Version) -> Version | None:
        """Write an object over that state of it. None: another has written or removed it."""
        return self._put_if(key, data, version, _free)

    def delete(self, *keys: str, guard: Guard = _free) -> None:
        """Remove objects. Idempotent."""

        def attempt() -> None:
            guard()
            try:
                self._client.delete(list(keys))
            except FileNotFoundError as error:
                _raise_if_bucket_missing(error)

        if keys:
            with self.writing(keys[0]):
                self.patiently(attempt)

    def patient_client(self) -> Any:
        """A client that retries for all of `retry_seconds` by itself, as uploads need it."""
        return connect(self.address, self.options, self.options.retry_seconds)

    def _head(self, key: str) -> Found | None:
        try:
            reply = self._client.get(key, options={"head": True})
        except FileNotFoundError as error:
            _raise_if_bucket_missing(error)
            return None
        meta = reply.meta
        version = Version(meta["e_tag"], meta["version"])
        return Found(meta["size"], version, reply.attributes.get(NONCE))

    def _put(self, key: str, data: bytes, mode: PutMode, nonce: str) -> Version:
        result = self._client.put(
            key, data, mode=mode, attributes={NONCE: nonce}, use_multipart=False
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
            return self.patiently(attempt, also=conflicts)

    def patiently(self, attempt: Callable[[], T], also: tuple[type[Exception], ...] = ()) -> T:
        """Call `attempt` until it returns, or raise its error: it will not pass, or time is up."""
        patience = self.options.retry_seconds
        if not self._answered:
            patience = min(patience, _FIRST_CONTACT_SECONDS)
        deadline, (pause, longest) = time.monotonic() + patience, BACKOFF_SECONDS
        while True:
            try:
                result = _unpanicked(attempt)
            except Exception as error:
                passing = isinstance(error, also) or is_passing(error)
                if not passing or time.monotonic() + pause > deadline:
                    raise
            else:
                self._answered = True
                return result
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  spreads, hides nothing
            pause = min(2 * pause, longest)

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        try:
            yield
        except failures() as error:
            reason, hint = reason_and_hint(error)
            raise InputError(f"{self.url(key)} cannot be read: {reason}", hint=hint) from error

    @contextmanager
    def writing(self, key: str) -> Iterator[None]:
        """Have what goes wrong within name the object and what was to be done with it."""
        try:
            yield
        except failures() as error:
            reason, hint = reason_and_hint(error)
            raise OutputError(f"{self.url(key)} cannot be written: {reason}", hint=hint) from error


@lru_cache(maxsize=64)
def shared_bucket(address: Address, options: StoreOptions) -> Bucket:
    """The one of that address, with its connections."""
    return Bucket(address, options)


def _unpanicked(attempt: Callable[[], T]) -> T:
    """Call `attempt`; a panic of obstore, which is no `Exception`, comes out as an `OSError`."""
    try:
        return attempt()
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise OSError(
            f"obstore cannot go on ({error}); credentials from files or the environment may be"
            " malformed"
        ) from error


def failures() -> tuple[type[Exception], ...]:
    """What obstore raises: its own errors, OSErrors, and ValueErrors for names it cannot use."""
    from obstore.exceptions import BaseError

    return BaseError, OSError, ValueError


def _raise_if_bucket_missing(error: FileNotFoundError) -> None:
    """A key that is not there is an answer, a bucket that is not there an error."""
    if any(word in str(error) for word in ("NoSuchBucket", "ContainerNotFound")):
        raise error
