"""Rows of a JSON Lines file, for scoring."""

from __future__ import annotations

import ast
import gzip
import io
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from textmill.errors import InputError

MAX_LINE_BYTES = 64 << 20
MAX_LITERAL_BYTES = 1 << 20
"""A Python literal takes a hundred times its size to parse."""

BOM = b"\xef\xbb\xbf"
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class Row(NamedTuple):
    """One object and its 1-based line."""

    line: int
    value: dict[str, Any]


def read_rows(path: Path) -> Iterator[Row]:
    """The objects of a JSON Lines file, one a line; plain, gzip or zstd, told by its first bytes.

    Blank lines are skipped. A file whose first key is in single quotes holds Python dicts, not
    JSON (SageMaker writes its results so), and is read as Python literals throughout. Raises
    `InputError`, naming the line, for anything else, for lines over 64 MiB and for what cannot be
    read or unpacked.
    """
    parse: Callable[[bytes], Any] | None = None
    for number, line in _lines(path):
        if not line.strip():
            continue
        if parse is None:
            parse = _literal if line.lstrip().startswith(b"{'") else _json
        yield Row(number, _object(line, parse, f"{path}, line {number}"))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    import zstandard

    try:
        with path.open("rb") as raw, _unpacked(raw) as stream:
            number = 0
            while line := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise InputError(
                        f"{path}, line {number}: longer than {MAX_LINE_BYTES >> 20} MiB",
                        hint="JSON Lines has one object a line; is this another format?",
                    )
                yield number, line.removeprefix(BOM) if number == 1 else line
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    except (EOFError, zlib.error, zstandard.ZstdError) as error:
        raise InputError(
            f"{path}: the compressed data is damaged or cut off ({error})",
            hint="copy or download the file again",
        ) from error


def _unpacked(raw: BinaryIO) -> BinaryIO:
    magic = raw.read(len(ZSTD))
    raw.seek(0)
    if magic.startswith(GZIP):
        return io.BufferedReader(gzip.GzipFile(fileobj=raw))
    if magic == ZSTD:
        return io.BufferedReader(_ZstdStream(raw))
    return raw


class _ZstdStream(io.RawIOBase):
    """Unpacks zstd frames, and raises `EOFError` when the last one is cut off: the library's own
    stream reader ends there as if all were well."""

    CHUNK_BYTES = 4096

    def __init__(self, raw: BinaryIO) -> None:
        from zstandard import ZstdDecompressor

        self._raw = raw
        self._new_frame = ZstdDecompressor().decompressobj
        self._frame = self._new_frame()
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            data = self._frame.unused_data if self._frame.eof else b""
            data = data or self._raw.read(self.CHUNK_BYTES)
            if not data and not self._frame.eof:
                raise EOFError("the last frame has no end")
            if not data:
                return 0
            if self._frame.eof:
                self._frame = self._new_frame()
            self._ready = memoryview(self._frame.decompress(data))
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size


def _json(line: bytes) -> Any:
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from error


def _literal(line: bytes) -> Any:
    if len(line) > MAX_LITERAL_BYTES:
        raise ValueError(f"a Python literal longer than {MAX_LITERAL_BYTES >> 20} MiB")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a stray backslash in a text is not our concern
            return ast.literal_eval(line.decode().strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"not a Python literal ({error})") from error


def _object(line: bytes, parse: Callable[[bytes], Any], where: str) -> dict[str, Any]:
    try:
        value = parse(line)
    except ValueError as error:
        raise InputError(
            f"{where}: {error}", hint="every line must be one JSON object, in UTF-8"
        ) from error
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InputError(
            f"{where}: {_kind(value)}, not an object",
            hint='every line must be one JSON object such as {"id": 1, "text": "…"}',
        )
    return value


def _kind(value: object) -> str:
    names = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else "a value")
