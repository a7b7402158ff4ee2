"""Damaged Parquet files, read in a process of their own: `python -m support.parquet_damage`.

Prints what became of each: `rows`, `refused` (`InputError`) or a line that begins with `WRONG`.
"""

from __future__ import annotations

import io
import random
import resource
import sys
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa

from support.parquet_files import read_rows, stored
from textmill.core import Record
from textmill.errors import InputError
from textmill.records.builder import RecordBuilder
from textmill.records.parquet import ParquetReader
from textmill.records.shape import Shape

MEMORY_BYTES = 4 << 30
SHAPE = Shape(keep=("when", "list", "map", "price", "kind"))


def sample(*, count: int = 60, **options: object) -> bytes:
    """A file with most kinds of columns, in three row groups."""
    rows = range(count)
    table = pa.table(
        {
            "id": pa.array([f"{n:040x}" for n in rows]),
            "text_inputs": pa.array([f"text {n} " * (n % 7 + 1) for n in rows]),
            "when": pa.array([datetime(2020, 1, 1 + n % 9) for n in rows], pa.timestamp("us")),
            "list": pa.array([[{"a": n, "b": None}] * (n % 3) for n in rows]),
            "map": pa.array(
                [[("k", [date(2020, 1, 1)])] for n in rows],
                pa.map_(pa.string(), pa.list_(pa.date32())),
            ),
            "price": pa.array([Decimal(n) / 4 for n in rows], pa.decimal128(12, 2)),
            "kind": pa.array(["a", "b", None][n % 3] for n in rows).dictionary_encode(),
        }
    )
    return stored(table, row_group_size=25, **options)


def damaged(data: bytes, seed: int) -> bytes:
    """The file with a few bits flipped, bytes overwritten, cut out or doubled; near its end as
    often as anywhere, for there stands the footer."""
    random_ = random.Random(seed)
    changed = bytearray(data)
    for _ in range(random_.choice((1, 1, 2, 5))):
        low = random_.choice((0, max(0, len(changed) - 2000)))
        at = random_.randrange(low, len(changed))
        match random_.randrange(5):
            case 0 | 1:
                changed[at] ^= 1 << random_.randrange(8)
            case 2:
                changed[at : at + 4] = random_.randbytes(4)
            case 3:
                del changed[at : at + random_.randrange(1, 40)]
            case _:
                changed[at:at] = changed[at : at + random_.randrange(1, 40)]
    return bytes(changed)


def cuts(data: bytes) -> Iterator[bytes]:
    """The file cut at every byte of its footer, and at many before."""
    for end in sorted({*range(0, len(data), 37), *range(len(data) - 400, len(data))}):
        yield data[:end]


def outcome(data: bytes) -> str:
    """What became of it."""
    reader = ParquetReader(RecordBuilder(SHAPE))
    try:
        rows = read_rows(data, SHAPE, reader=reader)
        counted = reader.count(io.BytesIO(data))
    except InputError as error:
        return "refused" if error.message and "\n" not in error.message else f"WRONG {error!r}"
    if [row.line for row in rows] != list(range(1, len(rows) + 1)) or counted != len(rows):
        return f"WRONG {len(rows)} rows of {counted}"
    good = all(isinstance(row, Record) or row.message for row in rows)
    return "rows" if good else "WRONG row"


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    first, last = int(sys.argv[1]), int(sys.argv[2])
    data = sample(compression=sys.argv[3])
    for seed in range(first, last):
        print(seed, flush=True)  # before: a crash shows which
        print(outcome(damaged(data, seed)), flush=True)


if __name__ == "__main__":
    main()
