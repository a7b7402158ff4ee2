"""The two ends of every format: bytes to rows, result lines to bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from textmill.core import JsonText, Record, Rejected


class ByteStream(Protocol):
    """A file's bytes, decompressed."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; empty at the end only."""


class SeekableStream(Protocol):
    """A file's bytes as they are stored, for what is not read in order (Parquet, shards)."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, all that is left if negative; empty at the end only."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move, as `io.IOBase.seek` does."""

    def tell(self) -> int:
        """The position in bytes."""


class Reader(Protocol):
    """Reads files of one format into rows, through a `RecordBuilder` given at construction."""

    def read(
        self, source: ByteStream, file: str, first_ordinal: int = 0
    ) -> Iterator[list[Record | Rejected]]:
        """All rows of one file, in order, in chunks of bounded memory; ordinals without a gap.

        file: for messages. Raises `InputError` only for a file that is damaged as a whole (a
        Parquet file without its footer); a bad row is a `Rejected`.
        """

    def count(self, source: ByteStream, file: str = "the input") -> int:
        """How many rows `read` would yield, without building them.

        Raises what `read` raises for the beginning of a file, such as a header that is none.
        """


class Writer(Protocol):
    """Turns result lines into an output format. A pure stream: what it returns is the file."""

    def encode(self, lines: Sequence[JsonText]) -> bytes:
        """Bytes to append for these result lines (JSON objects as `records.results` makes them,
        without newline, in input order); may be empty when the format gathers rows in groups."""

    def finish(self) -> bytes:
        """Bytes that end the file. Called once, last."""
