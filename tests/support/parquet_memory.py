"""How far a process grows that reads a Parquet file of 300 MB, and one that writes as much."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from support.parquet_files import text_columns
from textmill.core import Record
from textmill.records.builder import RecordBuilder
from textmill.records.parquet import ParquetReader
from textmill.records.parquet_writer import ParquetWriter
from textmill.records.results import result_line
from textmill.records.shape import Shape

COUNT, WORDS = 60_000, 700


def peak_mb() -> float:
    """Of this process alone: getrusage would tell the parent's if that was larger."""
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def make(path: Path) -> None:
    words = [f"w{n:05}" for n in range(5_000)]
    random_ = random.Random(0)
    texts = [" ".join(random_.choices(words, k=WORDS)) for _ in range(COUNT)]
    assert sum(map(len, texts)) > 290_000_000
    table = pa.table({"id": range(COUNT), "text_inputs": texts, "unread": texts})
    pq.write_table(table, path, row_group_size=COUNT, use_dictionary=False)


def warm() -> float:
    """What the imports and a small file cost."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": [1], "text_inputs": ["x"]}), sink)
    reader = ParquetReader(RecordBuilder(Shape()))
    for _ in reader.read(pa.BufferReader(sink.getvalue()), "x"):
        pass
    return peak_mb()


def read(path: Path) -> float:
    before, count = warm(), 0
    with path.open("rb") as source:
        for rows in ParquetReader(RecordBuilder(Shape())).read(source, "x"):
            assert all(isinstance(row, Record) for row in rows)
            count += len(rows)
    assert count == COUNT
    return peak_mb() - before


def write() -> float:
    before = warm()
    writer = ParquetWriter(text_columns(Shape()))
    text = [f"{random.Random(1).random()} " * 250]
    for ordinal in range(COUNT):
        record = Record(ordinal=ordinal, id=b"%d" % ordinal, texts=("x",))
        writer.encode([result_line(record, text)])
    writer.finish()
    return peak_mb() - before


def main() -> None:
    path = Path(sys.argv[1])
    if len(sys.argv) > 2:
        print(read(path) if sys.argv[2] == "read" else write())
        return
    make(path)
    grown = {}
    for what in ("read", "write"):  # each in a process that holds nothing yet
        command = [sys.executable, __file__, str(path), what]
        grown[what] = float(subprocess.check_output(command))
    print(json.dumps(grown))


if __name__ == "__main__":
    main()
