"""The rows of a job's input, and what tells it from any other input."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import Any

from msgspec.structs import replace

from textmill.core import Record
from textmill.errors import InputError
from textmill.records.base import ByteStream, Reader
from textmill.records.builder import RecordBuilder
from textmill.records.formats import Format, open_reader
from textmill.records.shape import Shape
from textmill.storage.base import digest_of
from textmill.storage.local import LocalStore
from textmill.transform.inputs import JobInput
from textmill.transform.plan import InputDigest
from textmill.transform.windows import Rows

_CHUNK_BYTES = 1 << 20


class _Hashed:
    """A stream that hashes what is read of it, from its start."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._sha256 = hashlib.sha256()
        self.size_bytes = 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._sha256.update(data)
        self.size_bytes += len(data)
        return data

    def hexdigest(self) -> str:
        """Of the whole file: what was not read yet is read now."""
        while self.read(_CHUNK_BYTES):
            pass
        return self._sha256.hexdigest()


class RowReader:
    """All rows of a job in order, at most `sample` of them. Keeps what was noticed on the way."""

    def __init__(self, files: Sequence[JobInput], shape: Shape, *, sample: int | None) -> None:
        self._files, self._sample = files, sample
        self.builder = RecordBuilder(shape)
        """What was noticed about the rows."""
        self._readers: dict[Format, Reader] = {}
        self.with_params = 0
        """Records read so far that carry parameters."""

    def digests(self) -> tuple[InputDigest, ...]:
        """What each input is. Most are read for it: damage is found before any work."""
        return tuple(
            replace(
                self._digest(file), commit=file.commit, format=file.format, is_copy=file.is_copy
            )
            for file in self._files
        )

    def chunks(self, digests: Iterable[InputDigest] = ()) -> Iterator[Rows]:
        """Lists of rows, file after file, ordinals without a gap.

        digests: the files as they must still be. One of this machine is looked at after each list
        and before it is handed on, so that no row of a changed file is taken for one of the job's.
        """
        expected = {file.label: d for file, d in zip(self._files, digests, strict=False)}
        for file, rows in self._all_rows():
            if isinstance(file.store, LocalStore):
                _check_unchanged(file, expected)
            self.with_params += sum(1 for row in rows if isinstance(row, Record) and row.params)
            yield rows
        for file in self._files:
            _check_unchanged(file, expected)

    def reader(self, format_: Format) -> Reader:
        """The reader of a format, the same for all files."""
        if format_ not in self._readers:
            self._readers[format_] = open_reader(format_, self.builder)
        return self._readers[format_]

    def _all_rows(self) -> Iterator[tuple[JobInput, Rows]]:
        left = self._sample
        ordinal = 0
        for file in self._files:
            with closing(file.open()) as stream:
                text = file.text_of(stream)
                for rows in self.reader(file.format).read(text, file.label, ordinal):
                    ordinal += len(rows)
                    if left is None:
                        yield file, rows
                        continue
                    yield file, list(islice(rows, left))
                    left -= len(rows)
                    if left <= 0:
                        return

    def _digest(self, file: JobInput) -> InputDigest:
        version = file.version
        if file.format == "parquet":
            return self._digest_parquet(file, version)
        if not file.is_read_twice:
            entry = file.store.stat(file.name)
            size_bytes = entry.size_bytes if entry else 0
            return InputDigest(name=file.label, bytes=size_bytes, version=version, span=file.span)
        with closing(file.open()) as stream:
            if file.span is None:
                hashed: Any = _Hashed(stream)
                rows = self.reader(file.format).count(file.text_of(hashed), file.label)
            else:
                hashed = _Hashed(file.text_of(stream))
                rows = self.reader(file.format).count(hashed, file.label)
            sha256 = hashed.hexdigest()
        return InputDigest(
            name=file.label,
            bytes=hashed.size_bytes,
            version=version,
            sha256=sha256,
            rows=rows,
            span=file.span,
        )

    def _digest_parquet(self, file: JobInput, version: str) -> InputDigest:
        with closing(file.open()) as stream:
            rows = self.reader("parquet").count(stream, file.label)
        entry = file.store.stat(file.name)
        return InputDigest(
            name=file.label,
            bytes=entry.size_bytes if entry else 0,
            version=version,
            sha256=digest_of(file.store, file.name) if file.is_read_twice else None,
            rows=rows,
        )


def _check_unchanged(file: JobInput, expected: Mapping[str, InputDigest]) -> None:
    digested = expected.get(file.label)
    if digested is not None and file.version != digested.version:
        raise InputError(
            f"{file.label} has changed while it was read",
            hint="when nothing writes to it any more, start over with --fresh: it is another input"
            " now, so no row of the old one is used. With the old content back the same line goes"
            " on",
        )


def total_rows(inputs: Iterable[InputDigest], sample: int | None) -> int | None:
    """How many rows a job will read, if that can be known."""
    counts = [one.rows for one in inputs]
    known = [rows for rows in counts if rows is not None]
    if len(known) < len(counts):
        return None
    return sum(known) if sample is None else min(sum(known), sample)
