"""Read bytes as a job would, without a file."""

from __future__ import annotations

import io

from textmill.core import Record, Rejected
from textmill.records.builder import RecordBuilder
from textmill.records.jsonl import JsonlReader
from textmill.records.shape import Shape

PARAMETERS = frozenset(
    {"max_length", "max_new_tokens", "num_beams", "temperature", "top_k", "top_p", "seed", "stop"}
)
SHAPE = Shape(parameters=PARAMETERS)


def read_rows(
    data: bytes, shape: Shape = SHAPE, *, reader: JsonlReader | None = None
) -> list[Record | Rejected]:
    reader = reader or JsonlReader(RecordBuilder(shape))
    return [row for rows in reader.read(io.BytesIO(data), "in.jsonl") for row in rows]


def read_one(data: bytes, shape: Shape = SHAPE) -> Record | Rejected:
    (row,) = read_rows(data, shape)
    return row


def record(data: bytes, shape: Shape = SHAPE) -> Record:
    row = read_one(data, shape)
    assert isinstance(row, Record), row
    return row


def rejected(data: bytes, shape: Shape = SHAPE) -> Rejected:
    row = read_one(data, shape)
    assert isinstance(row, Rejected), row
    return row
