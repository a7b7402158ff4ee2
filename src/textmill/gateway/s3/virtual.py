"""Buckets that are not there: objects made in memory, to be listed and read by anybody."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial

from msgspec import Struct

from textmill.gateway.s3 import listing
from textmill.gateway.s3.disk import Note

WRITTEN = datetime(2024, 1, 1, tzinfo=UTC)
"""When every object was."""


class Virtual(Struct, frozen=True, kw_only=True):
    """All such buckets, of which each has the same objects.

    has_bucket: whether a bucket is one of them. read: an object by its key; None if there is none.
    keys: of all objects.
    """

    has_bucket: Callable[[str], bool]
    read: Callable[[str], bytes | None]
    keys: Callable[[], Iterable[str]]

    def page(self, bucket: str, fields: Mapping[str, str]) -> bytes:
        """A page of a list. Raises `AwsError`."""
        return listing.page(bucket, self._listed, fields)

    def _listed(self, prefix: str, after: str) -> Iterator[tuple[str, Callable[[], Note | None]]]:
        keys = sorted(key for key in self.keys() if key.startswith(prefix) and key > after)
        return ((key, partial(self._note, key)) for key in keys)

    def _note(self, key: str) -> Note | None:
        data = self.read(key)
        if data is None:
            return None
        etag = listing.etag_of(data).strip('"')
        written = int(WRITTEN.timestamp() * 1e9)
        return Note(key=key, size=len(data), modified_ns=written, etag=etag)
