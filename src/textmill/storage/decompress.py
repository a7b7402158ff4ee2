"""gzip and zstd, recognised by their first bytes and never trusted to be whole.

Memory stays bounded whatever the data claims to expand to.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import closing
from typing import Any, BinaryIO, Protocol, cast

from textmill.errors import InputError
from textmill.storage.base import CHUNK_BYTES, Store

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE_ZSTD = {bytes([0x50 + n, 0x2A, 0x4D, 0x18]) for n in range(16)}
_MAGIC_BYTES = 4

_ZSTD_STEP_BYTES = 256
"""Compressed bytes decoded at once. The smallest zstd block is 4 bytes and expands to 128 KiB,
so a step never yields more than 8 MiB."""


class Reader(Protocol):
    """Anything with `read`."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; empty at the end only."""


class Stored:
    """The bytes as they are stored, counted, with the first few shown before they are read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._head = self.magic = stream.read(_MAGIC_BYTES)
        self.position = 0

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; empty at the end only."""
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
        else:
            data = self._stream.read(size)
        self.position += len(data)
        return data


def decompressed(stored: Stored, path: str) -> Reader:
    """A reader of the text behind `stored`. `path` is for messages."""
    if stored.magic.startswith(GZIP_MAGIC):
        return _Gzip(stored, path)
    if stored.magic == ZSTD_MAGIC or stored.magic in _SKIPPABLE_ZSTD:
        return _Zstd(stored, path)
    return stored


def text_lines(store: Store, name: str) -> Iterator[bytes]:
    """The lines of a file, decompressed, without their ends; one after the last end is left out."""
    with closing(store.open(name)) as stream:
        text = decompressed(Stored(cast(BinaryIO, stream)), store.label(name))
        rest = b""
        while data := text.read(CHUNK_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            yield from lines


def _truncated(path: str, kind: str, position: int) -> InputError:
    return InputError(
        f"{path} is cut off: its {kind} data ends in the middle, at byte {position:,}",
        hint="it was not copied or written to its end: fetch or make it again",
    )


def _damaged(path: str, kind: str, position: int, error: Exception) -> InputError:
    return InputError(
        f"{path} is damaged: bad {kind} data before byte {position:,} ({error})",
        hint="fetch or make it again",
    )


class _Gzip:
    """All members of a gzip file, one after the other."""

    def __init__(self, stored: Stored, path: str) -> None:
        import gzip

        self._stored, self._path = stored, path
        self._file = gzip.GzipFile(fileobj=cast(BinaryIO, stored), mode="rb")

    def read(self, size: int, /) -> bytes:
        try:
            data: bytes = self._file.read(size)
        except EOFError as error:
            raise _truncated(self._path, "gzip", self._stored.position) from error
        except zlib.error as error:
            raise _damaged(self._path, "gzip", self._stored.position, error) from error
        except OSError as error:
            if error.errno is not None:  # the disk's error, not the format's
                raise
            raise _damaged(self._path, "gzip", self._stored.position, error) from error
        return data


class _Zstd:
    """All frames of a zstd file, one after the other.

    zstandard's own stream reader takes a cut-off frame for the end, so frames are followed here.
    """

    def __init__(self, stored: Stored, path: str) -> None:
        import zstandard

        self._stored, self._path = stored, path
        self._error = zstandard.ZstdError
        self._context = zstandard.ZstdDecompressor()
        self._frame: Any = None
        self._input = b""
        self._output = bytearray()

    def read(self, size: int, /) -> bytes:
        while len(self._output) < size:
            data = self._input or self._stored.read(_ZSTD_STEP_BYTES)
            if not data:
                break
            self._decode(data)
        if not self._output and self._frame is not None:
            raise _truncated(self._path, "zstd", self._stored.position)
        text = bytes(self._output[:size])
        del self._output[:size]
        return text

    def _decode(self, data: bytes) -> None:
        """Add the text of `data` to the output; what follows the frame's end stays input."""
        frame = self._frame or self._context.decompressobj()
        try:
            self._output += frame.decompress(data)
        except self._error as error:
            raise _damaged(self._path, "zstd", self._stored.position, error) from error
        self._input = frame.unused_data if frame.eof else b""
        self._frame = None if frame.eof else frame
