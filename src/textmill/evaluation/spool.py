"""Texts that are put down once and read by place: in memory while few, then on disk."""

from __future__ import annotations

import tempfile
import weakref
from array import array
from collections.abc import Sequence

import msgspec

from textmill.errors import OutputError

MAX_MEMORY_BYTES = 64 << 20


class Spool:
    """A growing list of rows of texts; beyond `max_memory_bytes`, 8 bytes of memory for each.

    The file behind it has no name and goes with the object.
    """

    def __init__(self, max_memory_bytes: int = MAX_MEMORY_BYTES) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=max_memory_bytes)  # noqa: SIM115  closed with the object
        weakref.finalize(self, self._file.close)
        self._ends = array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, texts: Sequence[str | None]) -> None:
        """Puts a row down at the next place. Raises `OutputError` where there is no room."""
        # A text may hold half a surrogate pair, which UTF-8 proper cannot.
        row = [text and text.encode("utf-8", "surrogatepass") for text in texts]
        packed = msgspec.msgpack.encode(row)
        try:
            self._file.seek(self._ends[-1])
            self._file.write(packed)
            self._file.flush()
        except OSError as error:
            raise OutputError(
                f"{tempfile.gettempdir()}: references cannot be put down there: {error.strerror}",
                hint="make room, or name another folder in TMPDIR",
            ) from error
        self._ends.append(self._ends[-1] + len(packed))

    def __getitem__(self, place: int) -> list[str | None]:
        """The row at `place`, as it was."""
        start, end = self._ends[place], self._ends[place + 1]
        self._file.seek(start)
        row = msgspec.msgpack.decode(self._file.read(end - start))
        return [text.decode("utf-8", "surrogatepass") if text else text for text in row]
