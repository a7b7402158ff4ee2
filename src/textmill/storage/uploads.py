"""Objects of any size, written in parts that appear all at once."""

from __future__ import annotations

import uuid
from contextlib import suppress
from functools import partial
from typing import Any

from textmill.errors import OutputError
from textmill.storage.bucket import NONCE, Bucket, Guard, failures
from textmill.storage.connecting import connect

_PART_BYTES = 16 << 20
"""Of multipart uploads. S3 takes 10,000 parts, so 156 GiB is the largest file."""
_UPLOADS_AT_ONCE = 2


class Upload:
    """An object in the making: parts go up as they fill, and become the object at `commit`.

    Memory: one part is filled while others are sent. Less than one part is put at once. Parts of a
    process that was killed stay in the bucket unseen until its lifecycle rule removes them.
    """

    def __init__(self, bucket: Bucket, key: str, guard: Guard) -> None:
        self._bucket, self._key, self._guard = bucket, key, guard
        self._patience = bucket.patience
        self._nonce = uuid.uuid4().hex
        self._first = bytearray()
        self._writer: Any = None

    def write(self, data: bytes, /) -> None:
        """Append. Raises `OutputError`, after which nothing is left behind."""
        try:
            with self._bucket.writing(self._key):
                if self._writer is not None:
                    self._patience.send(partial(self._writer.write, data))
                    return
                self._first += data
                if len(self._first) > _PART_BYTES:
                    self._writer = self._patience.ask(self._begun)
                    self._first.clear()
        except OutputError:
            self.discard()
            raise

    def commit(self, *, replace: bool = True) -> bool:
        """Make it appear. Raises `OutputError`, after which nothing is left behind.

        Only what is put at once is created on a condition: obstore completes no upload of parts
        on one, so for that the key is looked at just before.
        """
        try:
            self._guard()
        except BaseException:
            self.discard()
            raise
        if self._writer is None:
            return self._put(replace=replace)
        if not replace and self._is_taken():
            self.discard()
            return False
        self._complete()
        return True

    def _put(self, *, replace: bool) -> bool:
        data = bytes(self._first)
        if not replace:
            return self._bucket.create(self._key, data, self._guard) is not None
        self._bucket.put(self._key, data, self._guard)
        return True

    def _is_taken(self) -> bool:
        try:
            with self._bucket.writing(self._key):
                return self._bucket.head(self._key) is not None
        except BaseException:
            self.discard()
            raise

    def _complete(self) -> None:
        writer, self._writer = self._writer, None
        with self._bucket.writing(self._key):
            try:
                self._patience.send(writer.close)
            except failures():  # it has aborted the upload, unless that was complete already
                found = self._bucket.head(self._key)
                if found is None or found.nonce != self._nonce:
                    raise

    def discard(self) -> None:
        """Have the parts removed. Idempotent; does nothing after `commit`."""
        self._first.clear()
        writer, self._writer = self._writer, None
        if writer is not None:
            self._abort(writer)

    def _begun(self) -> Any:
        """A writer that has the first part. obstore does not try again to begin an upload."""
        import obstore

        options = self._bucket.options
        writer = obstore.open_writer(
            connect(self._bucket.address, options, options.retry_seconds).client,
            self._key,
            attributes={NONCE: self._nonce},
            buffer_size=_PART_BYTES,
            max_concurrency=_UPLOADS_AT_ONCE,
        )
        try:
            self._patience.send(lambda: writer.write(bytes(self._first)))
        except BaseException:
            self._abort(writer)
            raise
        return writer

    def _abort(self, writer: Any) -> None:
        error = InterruptedError()
        # RuntimeError: a write that was given up at Ctrl-C still has the writer.
        with suppress(*failures(), RuntimeError):
            self._patience.send(lambda: writer.__exit__(InterruptedError, error, None))
