"""Files of every format: read them as a job would, and give their bytes a few at a time."""

from __future__ import annotations

import io

from textmill.core import Record, Rejected
from textmill.params.schema import USER_NAMES
from textmill.records.base import Reader
from textmill.records.builder import RecordBuilder
from textmill.records.formats import Format, open_reader
from textmill.records.shape import Shape

SHAPE = Shape(parameters=USER_NAMES)


class ShortReads:
    """A source that gives as few bytes at a time as it is told, then as many as are asked for."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes = io.BytesIO(data), sizes

    def read(self, size: int = -1, /) -> bytes:
        return self._data.read(min(size, self._sizes.pop()) if self._sizes else size)


def reader_of(format_: Format, shape: Shape = SHAPE) -> Reader:
    return open_reader(format_, RecordBuilder(shape))


def rows_of(format_: Format, data: bytes, shape: Shape = SHAPE) -> list[Record | Rejected]:
    reader = reader_of(format_, shape)
    return [row for rows in reader.read(io.BytesIO(data), "in") for row in rows]


def only_record(format_: Format, data: bytes, shape: Shape = SHAPE) -> Record:
    (row,) = rows_of(format_, data, shape)
    assert isinstance(row, Record), row
    return row


def only_rejected(format_: Format, data: bytes, shape: Shape = SHAPE) -> Rejected:
    (row,) = rows_of(format_, data, shape)
    assert isinstance(row, Rejected), row
    return row
