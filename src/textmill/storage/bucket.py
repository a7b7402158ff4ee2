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
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from msgspec import Struct

from textmill.errors import InputError, OutputError, UsageError
from textmill.storage.cloud_errors import is_passing, reason_and_hint

if TYPE_CHECKING:
    from obstore import PutMode

T = TypeVar("T")
Guard = Callable[[], None]
"""Raises if this process may no longer write."""


def _free() -> None:
    """The guard of what needs none."""


NONCE = "textmill"
"""The metadata key of the nonce: letters only, as Azure wants it."""

_PROVIDERS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
}
SCHEMES = tuple(_PROVIDERS)

_PART_BYTES = 16 << 20
"""Of multipart uploads. S3 takes 10,000 parts, so 156 GiB is the largest file."""
_UPLOADS_AT_ONCE = 2
_INNER_RETRY_SECONDS = 5.0
"""Retries within obstore, which no signal interrupts; `retry_seconds` of them are ours."""
_FIRST_CONTACT_SECONDS = 10.0
"""A store that has never answered is rather misnamed than busy."""
_BACKOFF_SECONDS = (0.05, 10.0)


class StoreOptions(Struct, frozen=True, kw_only=True):
    """How to reach object stores.

    endpoint_url: an S3-compatible server instead of the provider's own; the only way to plain
        http, and to any other host. Endpoints named in the environment are not used.
    region: of S3 buckets.
    sync_seconds: how often what a job has finished is written: what a kill may cost.
    retry_seconds: how long a store that is busy or out of reach is asked again.
    lease_seconds: how long a run may be silent before another may take its output over.
    """

    endpoint_url: str | None = None
    region: str = "us-east-1"
    sync_seconds: float = 10.0
    retry_seconds: float = 180.0
    lease_seconds: float = 20.0


class Address(NamedTuple):
    """A bucket as it stands in a URL: `s3://name`, `az://container@account`."""

    scheme: str
    authority: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


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
        self._client = _connect(address, options, inner, request_seconds)
        self._answered = False

    def url(self, key: str) -> str:
        """The object as users know it."""
        return f"{self.address}/{key}"

    def head(self, key: str) -> Found | None:
        """The object, or None."""
        with self._reading(key):
            return self._patiently(lambda: self._head(key))

    def get(self, key: str) -> bytes | None:
        """All of a small object, or None."""

        def attempt() -> bytes | None:
            try:
                return bytes(self._client.get(key).bytes())
            except FileNotFoundError as error:
                _raise_if_bucket_missing(error)
                return None

        with self._reading(key):
            return self._patiently(attempt)

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
                data = self._patiently(attempt)
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
            found = self._patiently(attempt)
        # obstore drops the slash at a marker's end, so only asking tells it from an empty object.
        return [(key, size) for key, size in found if size or self.head(key) is not None]

    def put(self, key: str, data: bytes, guard: Guard = _free) -> None:
        """Write an object over whatever has its key. `guard` is called before each try."""

        def attempt() -> None:
            guard()
            self._put(key, data, "overwrite", uuid.uuid4().hex)

        with self._writing(key):
            self._patiently(attempt)

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
            with self._writing(keys[0]):
                self._patiently(attempt)

    def upload(self, key: str, guard: Guard = _free) -> Upload:
        """Begin an object of any size."""
        return Upload(self, key, guard)

    def patient_client(self) -> Any:
        """A client that retries for all of `retry_seconds` by itself, as uploads need it."""
        return _connect(self.address, self.options, self.options.retry_seconds)

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

        with self._writing(key):
            return self._patiently(attempt, also=conflicts)

    def _patiently(self, attempt: Callable[[], T], also: tuple[type[Exception], ...] = ()) -> T:
        """Call `attempt` until it returns, or raise its error: it will not pass, or time is up."""
        patience = self.options.retry_seconds
        if not self._answered:
            patience = min(patience, _FIRST_CONTACT_SECONDS)
        deadline, (pause, longest) = time.monotonic() + patience, _BACKOFF_SECONDS
        while True:
            try:
                result = attempt()
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
        except _failures() as error:
            reason, hint = reason_and_hint(error)
            raise InputError(f"{self.url(key)} cannot be read: {reason}", hint=hint) from error

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        try:
            yield
        except _failures() as error:
            reason, hint = reason_and_hint(error)
            raise OutputError(f"{self.url(key)} cannot be written: {reason}", hint=hint) from error


@lru_cache(maxsize=64)
def shared_bucket(address: Address, options: StoreOptions) -> Bucket:
    """The one of that address, with its connections."""
    return Bucket(address, options)


class Upload:
    """An object in the making: parts go up as they fill, and become the object at `commit`.

    Memory: one part is filled while others are sent. Less than one part is put at once. Parts of a
    process that was killed stay in the bucket unseen until its lifecycle rule removes them.
    """

    def __init__(self, bucket: Bucket, key: str, guard: Guard) -> None:
        self._bucket, self._key, self._guard = bucket, key, guard
        self._nonce = uuid.uuid4().hex
        self._first = bytearray()
        self._writer: Any = None

    def write(self, data: bytes, /) -> None:
        """Append. Raises `OutputError`, after which nothing is left behind."""
        try:
            with self._bucket._writing(self._key):
                if self._writer is not None:
                    self._writer.write(data)
                    return
                self._first += data
                if len(self._first) > _PART_BYTES:
                    self._writer = self._bucket._patiently(self._begun)
                    self._first.clear()
        except OutputError:
            self.discard()
            raise

    def commit(self) -> None:
        """Make it appear. Raises `OutputError`, after which nothing is left behind."""
        try:
            self._guard()
        except BaseException:
            self.discard()
            raise
        writer, self._writer = self._writer, None
        if writer is None:
            self._bucket.put(self._key, bytes(self._first), self._guard)
            return
        with self._bucket._writing(self._key):
            try:
                writer.close()
            except _failures():  # it has aborted the upload, unless that was complete already
                found = self._bucket.head(self._key)
                if found is None or found.nonce != self._nonce:
                    raise

    def discard(self) -> None:
        """Have the parts removed. Idempotent; does nothing after `commit`."""
        self._first.clear()
        writer, self._writer = self._writer, None
        if writer is not None:
            _abort(writer)

    def _begun(self) -> Any:
        """A writer that has the first part. obstore does not try again to begin an upload."""
        import obstore

        writer = obstore.open_writer(
            self._bucket.patient_client(),
            self._key,
            attributes={NONCE: self._nonce},
            buffer_size=_PART_BYTES,
            max_concurrency=_UPLOADS_AT_ONCE,
        )
        try:
            writer.write(bytes(self._first))
        except BaseException:
            _abort(writer)
            raise
        return writer


def _abort(writer: Any) -> None:
    with suppress(*_failures()):
        writer.__exit__(InterruptedError, InterruptedError(), None)


def _failures() -> tuple[type[Exception], ...]:
    """What obstore raises: its own errors, OSErrors, and ValueErrors for names it cannot use."""
    from obstore.exceptions import BaseError

    return BaseError, OSError, ValueError


def _raise_if_bucket_missing(error: FileNotFoundError) -> None:
    """A key that is not there is an answer, a bucket that is not there an error."""
    if any(word in str(error) for word in ("NoSuchBucket", "ContainerNotFound")):
        raise error


def _connect(
    address: Address, options: StoreOptions, retry_seconds: float, request_seconds: float = 120.0
) -> Any:
    try:
        from obstore import store
    except ImportError:
        raise UsageError(
            f"{address}: object stores need an extra that is not installed",
            hint="pip install 'textmill[s3]'",
        ) from None
    first, longest = _BACKOFF_SECONDS
    common: dict[str, Any] = {
        "client_options": {
            "allow_http": (options.endpoint_url or "").startswith("http://"),
            "allow_invalid_certificates": False,
            "timeout": timedelta(seconds=request_seconds),
            "connect_timeout": timedelta(seconds=5),
        },
        "retry_config": {
            "max_retries": 1000,
            "retry_timeout": timedelta(seconds=retry_seconds),
            "backoff": {
                "init_backoff": timedelta(seconds=first),
                "max_backoff": timedelta(seconds=longest),
            },
        },
    }
    provider = _PROVIDERS[address.scheme]
    if provider == "s3":
        return store.S3Store(address.authority, config=_s3_config(options), **common)
    if provider == "gcs":
        url = options.endpoint_url or "https://storage.googleapis.com"
        return store.GCSStore(address.authority, config={"base_url": url}, **common)
    container, account = _azure_names(address)
    url = options.endpoint_url or f"https://{account}.blob.core.windows.net"
    config: Any = {"account_name": account, "endpoint": url, "use_emulator": False}
    return store.AzureStore(container, config=config, **common)


def _s3_config(options: StoreOptions) -> Any:
    """Everything that the environment could otherwise turn to another host or protocol."""
    china = ".cn" if options.region.startswith("cn-") else ""
    url = options.endpoint_url or f"https://s3.{options.region}.amazonaws.com{china}"
    return {
        "region": options.region,
        "default_region": options.region,
        "endpoint": url,
        "aws_endpoint_url_s3": url,
        "virtual_hosted_style_request": False,
        "s3_express": False,
        "conditional_put": "etag",
    }


def _azure_names(address: Address) -> tuple[str, str]:
    """`container@account` or `container@account.dfs.core.windows.net`."""
    container, _, host = address.authority.partition("@")
    if not host:
        raise UsageError(
            f"{address}: the storage account is missing",
            hint=f"write {address}@ACCOUNT/…",
        )
    return container, host.partition(".")[0]
