"""A job's input: what it is, its digest, and its rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from textmill.errors import InputError, UsageError
from textmill.records.jsonl import JsonlReader
from textmill.records.shape import Shape
from textmill.storage.atomic import AtomicFile
from textmill.storage.base import STANDARD_INPUT
from textmill.storage.local import expand_inputs, open_input
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


def find_inputs(inputs: Inputs, spool: Path) -> InputPaths:
    """The files to read. What can be read only once is copied to `spool`, so a resume can."""
    patterns = patterns_of(inputs)
    if patterns is None:
        _spool_records(inputs, spool)
        return InputPaths((str(spool),), ("records",))
    files = expand_inputs(patterns)
    once = [file for file in files if file.size_bytes is None]
    if len(once) > 1:
        raise UsageError("only one input can be standard input or a pipe")
    for file in once:
        _spool_stream(file.path, spool)
    paths = tuple(str(spool) if file.size_bytes is None else file.path for file in files)
    names = tuple("standard input" if f.path == STANDARD_INPUT else f.path for f in files)
    return InputPaths(paths, names)


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
    with Path(path).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    lines = 0
    with open_input(path) as stream:
        while data := stream.read(_CHUNK_BYTES):
            lines += data.count(b"\n")
            last = data[-1:]
    if lines == 0 or last != b"\n":
        lines += 1
    return InputDigest(name=name, bytes=Path(path).stat().st_size, sha256=sha256, lines=lines)


class RowReader:
    """All rows of a job in order, at most `sample` of them. Keeps what was noticed on the way."""

    def __init__(self, inputs: InputPaths, shape: Shape, *, sample: int | None) -> None:
        self._inputs, self._sample = inputs, sample
        self.reader = JsonlReader(shape)

    def chunks(self) -> Iterator[Rows]:
        """Lists of rows, file after file, ordinals without a gap."""
        left = self._sample
        ordinal = 0
        for path, name in zip(self._inputs.paths, self._inputs.names, strict=True):
            with open_input(path) as stream:
                for rows in self.reader.read(stream, name, ordinal):
                    ordinal += len(rows)
                    if left is None:
                        yield rows
                        continue
                    yield list(islice(rows, left))
                    left -= len(rows)
                    if left <= 0:
                        return
