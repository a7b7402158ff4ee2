"""A job's input: what it is, its digest, and its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from textmill.catalog.datasets import DataSet, expand_folder, is_dataset
from textmill.core import Record
from textmill.errors import InputError, UsageError
from textmill.records.builder import RecordBuilder
from textmill.records.jsonl import JsonlReader
from textmill.records.parquet import MAGIC, ParquetReader
from textmill.records.shape import Shape
from textmill.storage.atomic import AtomicFile
from textmill.storage.base import STANDARD_INPUT, input_errors
from textmill.storage.local import digest, expand_inputs, open_input
from textmill.transform.plan import InputDigest
from textmill.transform.windows import Rows

_CHUNK_BYTES = 1 << 20

Inputs = str | Path | Sequence[str | Path] | Iterable[Mapping[str, Any]]


class InputPaths(Struct, frozen=True):
    """Where the rows are read from, and the names the user knows them by."""

    paths: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def several(self) -> bool:
        """Whether a line number alone does not say which line is meant."""
        return len(self.paths) > 1


def patterns_of(inputs: Inputs) -> list[str] | None:
    """File patterns, or None when the inputs are records themselves."""
    if isinstance(inputs, str | Path):
        return [str(inputs)]
    if isinstance(inputs, Sequence) and all(isinstance(one, str | Path) for one in inputs):
        return [str(one) for one in inputs]
    return None


Fetch = Callable[[str], DataSet]
"""Brings what an `hf://datasets/` address means to this machine."""


def find_inputs(inputs: Inputs, spool: Path, fetch: Fetch) -> InputPaths:
    """The files to read. What can be read only once is copied to `spool`, so a resume can."""
    patterns = patterns_of(inputs)
    if patterns is None:
        _spool_records(inputs, spool)
        return InputPaths((str(spool),), ("records",))
    places: dict[str, str] = {}
    for pattern in patterns:
        places.update(_places(pattern, fetch))
    files = expand_inputs(list(places))
    once = [file for file in files if file.size_bytes is None]
    if len(once) > 1:
        raise UsageError("only one input can be standard input or a pipe")
    for file in once:
        _spool_stream(file.path, spool)
    paths = tuple(str(spool) if file.size_bytes is None else file.path for file in files)
    names = tuple(
        "standard input" if f.path == STANDARD_INPUT else places.get(f.path, f.path) for f in files
    )
    return InputPaths(paths, names)


def _places(pattern: str, fetch: Fetch) -> dict[str, str]:
    """What a pattern leads to on this machine, and what the user knows it by."""
    if is_dataset(pattern):
        found = fetch(pattern)
        return dict(zip(map(str, found.files), found.names, strict=True))
    if Path(pattern).is_dir():
        return {str(path): str(path) for path in expand_folder(Path(pattern))}
    return {pattern: pattern}


def is_parquet(path: str) -> bool:
    """Whether the file begins as Parquet does."""
    with input_errors(path), Path(path).open("rb") as stream:
        return stream.read(4) in MAGIC


def _spool_stream(path: str, spool: Path) -> None:
    with open_input(path) as stream, AtomicFile(str(spool)) as copy:
        while data := stream.read(_CHUNK_BYTES):
            copy.write(data)


def _spool_records(inputs: Any, spool: Path) -> None:
    encode = msgspec.json.Encoder().encode
    with AtomicFile(str(spool)) as copy:
        for number, record in enumerate(inputs):
            if not isinstance(record, Mapping):
                raise InputError(
                    f"input {number} is a {type(record).__name__}, not a dict",
                    hint="give a path, several paths, or an iterable of dicts",
                )
            try:
                copy.write(encode(dict(record)) + b"\n")
            except (TypeError, UnicodeEncodeError, msgspec.MsgspecError) as error:
                raise InputError(f"input {number} cannot be written as JSON: {error}") from error


def digest_input(path: str, name: str) -> InputDigest:
    """Size, digest and lines of one input. Raises `InputError`, for damaged gzip and zstd too."""
    sha256 = digest(path)
    lines = _count_parquet(path, name) if is_parquet(path) else _count_lines(path)
    with input_errors(path):
        status = Path(path).stat()
    return InputDigest(
        name=name,
        bytes=status.st_size,
        sha256=sha256,
        lines=lines,
        state=(status.st_ino, status.st_size, status.st_mtime_ns),
    )


def _count_parquet(path: str, name: str) -> int:
    with input_errors(path), Path(path).open("rb") as stream:
        return ParquetReader(RecordBuilder(Shape())).count(stream, name)


def _count_lines(path: str) -> int:
    lines, last = 0, b"\n"
    with open_input(path) as stream:
        while data := stream.read(_CHUNK_BYTES):
            lines += data.count(b"\n")
            last = data[-1:]
    return lines + (last != b"\n")


class RowReader:
    """All rows of a job in order, at most `sample` of them. Keeps what was noticed on the way."""

    def __init__(
        self,
        inputs: InputPaths,
        shape: Shape,
        *,
        sample: int | None,
        digests: Sequence[InputDigest] = (),
    ) -> None:
        """`digests`: the files as they must still be when they have been read."""
        self._inputs, self._sample, self._digests = inputs, sample, digests
        self.builder = RecordBuilder(shape)
        """What was noticed about the rows."""
        self._jsonl = JsonlReader(self.builder)
        self._parquet = ParquetReader(self.builder)
        self.with_params = 0
        """Records read so far that carry parameters."""

    def chunks(self) -> Iterator[Rows]:
        """Lists of rows, file after file, ordinals without a gap."""
        for rows in self._all_rows():
            self.with_params += sum(1 for row in rows if isinstance(row, Record) and row.params)
            yield rows
        for path, digested in zip(self._inputs.paths, self._digests, strict=False):
            with input_errors(path):
                status = Path(path).stat()
            if (status.st_ino, status.st_size, status.st_mtime_ns) != digested.state:
                raise InputError(
                    f"{digested.name} has changed while it was read",
                    hint="run again when nothing writes to it any more",
                )

    def _all_rows(self) -> Iterator[Rows]:
        left = self._sample
        ordinal = 0
        for path, name in zip(self._inputs.paths, self._inputs.names, strict=True):
            for rows in self._file_rows(path, name, ordinal):
                ordinal += len(rows)
                if left is None:
                    yield rows
                    continue
                yield list(islice(rows, left))
                left -= len(rows)
                if left <= 0:
                    return

    def _file_rows(self, path: str, name: str, ordinal: int) -> Iterator[Rows]:
        if is_parquet(path):
            with input_errors(path), Path(path).open("rb") as stored:
                yield from self._parquet.read(stored, name, ordinal)
            return
        with open_input(path) as stream:
            yield from self._jsonl.read(stream, name, ordinal)
