"""Logs of an object store, which cannot grow and so are kept as segments.

A segment is an object `NAME/segment-N-W`: N counts the log's segments from 0 and W its writers. A
writer that has lost its lease may still have a segment on its way, and no request can be called
back; but its number W is lower than that of the run that took over, and `segments_in_force` lets
the higher writer decide.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from textmill.errors import InputError, OutputError

SEGMENT_BYTES = 4 << 20
_NAME = re.compile(r"(.*)/segment-(\d{6,})-(\d{6,})", re.DOTALL)


class Segment(NamedTuple):
    """One object of a log."""

    number: int
    writer: int

    def name(self, log: str) -> str:
        """Of the object."""
        return f"{log}/segment-{self.number:06d}-{self.writer:06d}"


def log_of(name: str) -> str | None:
    """The log of which an object is a segment."""
    match = _NAME.fullmatch(name)
    return match[1] if match else None


def segments_in_force(segments: Iterable[Segment], label: str) -> list[Segment]:
    """The segments that are the log: one for each index from 0 on.

    Where a writer begins at an index, nothing that lower writers put there or later counts.
    Raises `InputError` that names `label` if one is missing.
    """
    chosen: list[Segment] = []
    for segment in sorted(segments, key=lambda s: (s.writer, s.number)):
        if segment.number > len(chosen):
            raise InputError(
                f"{label} is damaged: its segment {len(chosen)} is missing",
                hint="it was removed after it was written; start over with --fresh",
            )
        del chosen[segment.number :]
        chosen.append(segment)
    return chosen


class Segments:
    """Those of some logs: as they were listed, and as this writer went on.

    writer: a number above those of all writers that were seen.
    """

    def __init__(self, listing: Iterable[tuple[str, int]]) -> None:
        """`listing`: names and sizes of objects; those that are no segments are passed over."""
        self._sizes: dict[str, dict[Segment, int]] = defaultdict(dict)
        for name, size in listing:
            if match := _NAME.fullmatch(name):
                self._sizes[match[1]][Segment(int(match[2]), int(match[3]))] = size
        seen = (segment.writer for found in self._sizes.values() for segment in found)
        self.writer = 1 + max(seen, default=0)

    def of(self, log: str) -> dict[Segment, int]:
        """The segments of a log and their sizes."""
        return self._sizes.get(log, {})

    def add(self, log: str, segment: Segment, size: int) -> None:
        """This writer has put it."""
        self._sizes[log][segment] = size

    def forget(self, prefix: str) -> None:
        """All objects whose names begin with `prefix` were removed."""
        for log, found in self._sizes.items():
            for segment in [one for one in found if one.name(log).startswith(prefix)]:
                del found[segment]


class SegmentStore(Protocol):
    """What a log needs of its store."""

    def label(self, name: str) -> str:
        """The log as the user knows it."""

    def check_locks(self) -> None:
        """Raise `OutputError` if this process may no longer write."""

    def segments(self, log: str) -> Segments:
        """Those of the log, at least."""

    def read_all(self, names: list[str]) -> list[bytes]:
        """The contents of objects."""

    def put_segment(self, log: str, segment: Segment, data: bytes) -> bool:
        """Put an object if its key is free, and remember it."""


class ObjectLog:
    """A log kept as segments. What was appended is at risk until `sync`.

    Segments never change, so who reads it again asks for the new ones only, until it writes.
    """

    def __init__(self, store: SegmentStore, name: str) -> None:
        self._store, self._name = store, name
        self._next: Segment | None = None
        self._buffer = bytearray()
        self._known: dict[str, bytes] = {}

    def read(self) -> bytes:
        """All segments that count, joined, and what this writer has not yet synced."""
        found = self._store.segments(self._name).of(self._name)
        names = [segment.name(self._name) for segment in self._in_force(found)]
        new = [name for name in names if name not in self._known]
        self._known.update(zip(new, self._store.read_all(new), strict=True))
        return b"".join([*(self._known[name] for name in names), self._buffer])

    def append(self, data: bytes, /) -> None:
        """Add bytes; they become a segment at `sync`, or when there are enough of them."""
        self._known.clear()
        self._buffer += data
        if len(self._buffer) >= SEGMENT_BYTES:
            self.sync()

    def sync(self) -> None:
        """Put what was appended as one segment."""
        if not self._buffer:
            return
        self._store.check_locks()
        segment = self._next or self._first()
        if not self._store.put_segment(self._name, segment, bytes(self._buffer)):
            raise OutputError(
                f"{self._store.label(self._name)}: another run is writing to it",
                hint="let one of the two finish, and run the same line again",
            )
        self._next = Segment(segment.number + 1, segment.writer)
        self._buffer.clear()

    def cut(self, size: int) -> None:
        """Segments are whole, so there is no torn tail; anything else is damage."""
        found = self._store.segments(self._name).of(self._name)
        stored = sum(found[segment] for segment in self._in_force(found))
        if size < stored:
            raise InputError(
                f"{self._store.label(self._name)} is damaged: only {size:,} of its {stored:,}"
                " bytes can be read",
                hint="it was changed after it was written; start over with --fresh",
            )

    def close(self) -> None:
        """Forget what was not synced."""
        self._buffer.clear()

    def _first(self) -> Segment:
        """The first that this writer puts: after all that count, with a number of its own."""
        try:
            segments = self._store.segments(self._name)
            end = len(self._in_force(segments.of(self._name)))
        except InputError as error:
            raise OutputError(error.message, hint=error.hint) from error
        return Segment(end, segments.writer)

    def _in_force(self, segments: Iterable[Segment]) -> list[Segment]:
        return segments_in_force(segments, self._store.label(self._name))
