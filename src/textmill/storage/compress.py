"""gzip and zstd for outputs, by the name's ending, and the same bytes every time."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Literal, Protocol

_GZIP_LEVEL = 6
_GZIP_WINDOW_BITS = 16 + zlib.MAX_WBITS
_ZSTD_LEVEL = 3


class Compressor(Protocol):
    """Turns an output's bytes into those of the file."""

    def encode(self, data: bytes, /) -> bytes:
        """Bytes to append to the file now; may be empty while more is gathered."""

    def finish(self) -> bytes:
        """Bytes that end the file. Called once, last."""


def compressor(name: str) -> Compressor:
    """The compressor for an output of that name: `.gz`, `.zst`, or none.

    The same data gives the same bytes, however it is cut: nothing of the time, the name or the
    machine is written. Only another version of zlib or zstd may compress it differently.
    """
    kinds: dict[str, Callable[[], Compressor]] = {"gzip": _Gzip, "zstd": _Zstd, "none": _Plain}
    return kinds[compression(name)]()


def compression(name: str) -> Literal["gzip", "zstd", "none"]:
    """How an output of that name is compressed."""
    if name.lower().endswith(".gz"):
        return "gzip"
    return "zstd" if name.lower().endswith(".zst") else "none"


class _Plain:
    def encode(self, data: bytes, /) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


class _Gzip:
    """One member. Its header as zlib writes it: no name, no time."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WINDOW_BITS)

    def encode(self, data: bytes, /) -> bytes:
        return self._stream.compress(data)

    def finish(self) -> bytes:
        return self._stream.flush()


class _Zstd:
    """One frame with a checksum."""

    def __init__(self) -> None:
        import zstandard

        context = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
        self._stream: Any = context.compressobj()

    def encode(self, data: bytes, /) -> bytes:
        return bytes(self._stream.compress(data))

    def finish(self) -> bytes:
        return bytes(self._stream.flush())
