"""A job's input: what it is, its digest, and its rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
from msgspec import Struct

from textmill.core import Record
from textmill.errors import InputError, UsageError
from textmill.records.builder import RecordBuilder
from textmill.records.jsonl import JsonlReader
from textmill.records.shape import Shape
from textmill.storage.base import STANDARD_INPUT, Store, Stream
from textmill.storage.decompress import Reader as ByteReader
from textmill.storage.decompress import Stored, decompressed
from textmill.storage.inputs import expand_inputs, open_input
from textmill.storage.local import LocalStore
from textmill.transform.plan import InputDigest
from textmill.transform.windows import Rows

_CHUNK_BYTES = 1 << 20

Inputs = str | Path | Sequence[str | Path] | Iterable[Mapping[str, Any]]


class InputFile(Struct, frozen=True):
    """One file of a job's input: where it is, and what the user calls it."""

    store: Store
    name: str
    label: str

    def open(self) -> Stream:
        """Its bytes as they are stored. Raises `InputError`."""
        return self.store.open(self.name)

    @property
    def version(self) -> str:
        """Changes with the content. Raises `InputError` if the file has gone."""
        entry = self.store.stat(self.name)
        if entry is None:
            raise InputError(f"{self.label} is not there any more")
        return entry.version


def patterns_of(inputs: Inputs) -> list[str] | None:
    """File patterns, or None when the inputs are records themselves."""
    if isinstance(inputs, str | Path):
        return [str(inputs)]
    if isinstance(inputs, Sequence) and all(isinstance(one, str | Path) for one in inputs):
        return [str(one) for one in inputs]
    return None


def find_inputs(inputs: Inputs, store: Store, spool: str) -> list[InputFile]:
    """The files to read. What can be read only once is copied to `spool`, so a resume can."""
    patterns = patterns_of(inputs)
    if patterns is None:
        _spool_records(inputs, store, spool)
        return [InputFile(store, spool, "records")]
    files = expand_inputs(patterns)
    once = [file for file in files if file.size_bytes is None]
    if len(once) > 1:
        raise UsageError("only one input can be standard input or a pipe")
    for file in once:
        _spool_stream(file.path, store, spool)
    return [
        _local_file(file.path)
        if file.size_bytes is not None
        else InputFile(store, spool, _label(file.path))
        for file in files
    ]


def _label(path: str) -> str:
    return "standard input" if path == STANDARD_INPUT else path


def _local_file(path: str) -> InputFile:
    return InputFile(LocalStore(Path(path).parent), Path(path).name, path)


def _spool_stream(path: str, store: Store, spool: str) -> None:
    with open_input(path) as stream:
        _spool(iter(lambda: stream.read(_CHUNK_BYTES), b""), store, spool)


def _spool(chunks: Iterable[bytes], store: Store, spool: str) -> None:
    copy = store.target(spool)
    try:
        for data in chunks:
            copy.write(data)
        copy.commit()
    finally:
        copy.discard()


def _spool_records(inputs: Any, store: Store, spool: str) -> None:
    _spool(_encoded(inputs), store, spool)


def _encoded(inputs: Any) -> Iterator[bytes]:
    encode = msgspec.json.Encoder().encode
    for number, record in enumerate(inputs):
        if not isinstance(record, Mapping):
            raise InputError(
                f"input {number} is a {type(record).__name__}, not a dict",
                hint="give a path, several paths, or an iterable of dicts",
            )
        try:
            yield encode(dict(record)) + b"\n"
        except (TypeError, UnicodeEncodeError, msgspec.MsgspecError) as error:
            raise InputError(f"input {number} cannot be written as JSON: {error}") from error


class _Hashed:
    """A stream that hashes what is read of it, from its start."""

    def __init__(self, stream: Stream) -> None:
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


def digest_input(file: InputFile) -> InputDigest:
    """Size, digest and lines of one input. Raises `InputError`, for damaged gzip and zstd too."""
    version = file.version
    with closing(file.open()) as stream:
        hashed, lines, last = _Hashed(stream), 0, b"\n"
        text = decompressed(Stored(cast(BinaryIO, hashed)), file.label)
        while data := text.read(_CHUNK_BYTES):
            lines += data.count(b"\n")
            last = data[-1:]
        sha256 = hashed.hexdigest()
    return InputDigest(
        name=file.label,
        bytes=hashed.size_bytes,
        sha256=sha256,
        rows=lines + (last != b"\n"),
        version=version,
    )


def total_rows(inputs: Iterable[InputDigest], sample: int | None) -> int | None:
    """How many rows a job will read, if that can be known."""
    counts = [one.rows for one in inputs]
    known = [rows for rows in counts if rows is not None]
    if len(known) < len(counts):
        return None
    return sum(known) if sample is None else min(sum(known), sample)


class RowReader:
    """All rows of a job in order, at most `sample` of them. Keeps what was noticed on the way."""

    def __init__(
        self,
        files: Sequence[InputFile],
        shape: Shape,
        *,
        sample: int | None,
        digests: Sequence[InputDigest] = (),
    ) -> None:
        """`digests`: the files as they must still be when they have been read."""
        self._files, self._sample, self._digests = files, sample, digests
        self.builder = RecordBuilder(shape)
        """What was noticed about the rows."""
        self._reader = JsonlReader(self.builder)
        self.with_params = 0
        """Records read so far that carry parameters."""

    def chunks(self) -> Iterator[Rows]:
        """Lists of rows, file after file, ordinals without a gap."""
        for rows in self._all_rows():
            self.with_params += sum(1 for row in rows if isinstance(row, Record) and row.params)
            yield rows
        for file, digested in zip(self._files, self._digests, strict=False):
            if file.version != digested.version:
                raise InputError(
                    f"{digested.name} has changed while it was read",
                    hint="run again when nothing writes to it any more",
                )

    def _all_rows(self) -> Iterator[Rows]:
        left = self._sample
        ordinal = 0
        for file in self._files:
            with closing(file.open()) as stream:
                for rows in self._reader.read(_text_of(stream, file.label), file.label, ordinal):
                    ordinal += len(rows)
                    if left is None:
                        yield rows
                        continue
                    yield list(islice(rows, left))
                    left -= len(rows)
                    if left <= 0:
                        return


def _text_of(stream: Stream, label: str) -> ByteReader:
    return decompressed(Stored(cast(BinaryIO, stream)), label)
