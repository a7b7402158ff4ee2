"""Shards are a partition of the file's records, for any file, count and way of reading."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from support.records import SHAPE
from support.shards import CountingStream, read_shard
from textmill.core import Record, Rejected
from textmill.records.builder import RecordBuilder
from textmill.records.jsonl import JsonlReader
from textmill.records.split import Shard, ShardStream, shard_range

BOM = b"\xef\xbb\xbf"
COUNTS = st.integers(1, 12)
RECORDS = st.sampled_from(
    [b"", b" ", b"x", b"{", b'{"id": 1, "text_inputs": "a"}', BOM, BOM + b"{}", b"y" * 40]
)
ENDS = st.sampled_from([b"\n", b"\r\n"])


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """Lines of all kinds and lengths, with or without a mark and a last newline."""
    data = b"".join(record + draw(ENDS) for record in draw(st.lists(RECORDS, max_size=12)))
    return draw(st.sampled_from([b"", BOM])) + data + draw(st.sampled_from([b"", b"last"]))


def shards_of(count: int) -> list[Shard]:
    return [Shard(number, count) for number in range(1, count + 1)]


@given(st.integers(0, 10**12), COUNTS)
def test_stretches_cover_a_file_without_a_gap(size_bytes: int, count: int) -> None:
    stretches = [shard_range(size_bytes, shard) for shard in shards_of(count)]
    assert [start for start, _ in stretches] == [0, *[end for _, end in stretches[:-1]]]
    assert stretches[-1][1] == size_bytes
    lengths = [end - start for start, end in stretches]
    assert max(lengths) - min(lengths) <= 1


@given(
    st.binary(max_size=60) | files(),
    COUNTS,
    st.none() | st.integers(1, 5),
)
@example(b"", 3, None)
@example(b"\n\n\n", 7, 1)
@example(b"x" * 50, 5, 2)
def test_the_shards_one_after_the_other_are_the_file(
    data: bytes, count: int, at_once: int | None
) -> None:
    start = BOM if data.startswith(BOM) else b""
    data = start + data.replace(b"\xef", b"")  # marks within a file: see below
    shards = [read_shard(data, shard, at_once=at_once) for shard in shards_of(count)]
    assert b"".join(shards) == data
    assert all(shard.endswith(b"\n") for shard in list(filter(None, shards))[:-1])


def rows_of(stream: Any, first_ordinal: int = 0) -> list[Record | Rejected]:
    reader = JsonlReader(RecordBuilder(SHAPE))
    return [row for rows in reader.read(stream, "f", first_ordinal) for row in rows]


def without_line(row: Record | Rejected) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__struct_fields__ if name != "line"}


@given(files(), COUNTS, st.none() | st.integers(1, 5))
@example(b"aa\n" + BOM + b"{}\n" + BOM + b"{}\n", 2, 1)
def test_shards_read_one_after_the_other_are_the_rows_of_the_whole(
    data: bytes, count: int, at_once: int | None
) -> None:
    """Byte order marks within the file included; lines count from the shard's first byte."""
    whole = rows_of(CountingStream(data))
    parts: list[Record | Rejected] = []
    for shard in shards_of(count):
        stream = ShardStream(CountingStream(data, at_once), *shard_range(len(data), shard))
        before = data[: stream.first_byte].count(b"\n")
        rows = rows_of(stream, len(parts))
        assert [row.line + before for row in rows] == [
            row.line for row in whole[len(parts) : len(parts) + len(rows)]
        ]
        parts += rows
    assert list(map(without_line, parts)) == list(map(without_line, whole))


@given(files(), COUNTS, st.lists(st.integers(0, 9), min_size=1))
def test_a_shard_read_in_bits_is_the_shard(data: bytes, count: int, sizes: list[int]) -> None:
    for shard in shards_of(count):
        stream = ShardStream(CountingStream(data), *shard_range(len(data), shard))
        bits = [stream.read(size) for size in sizes]
        assert all(len(bit) <= size for bit, size in zip(bits, sizes, strict=True))
        assert b"".join(bits) + stream.read() == read_shard(data, shard)
        assert stream.read() == stream.read(1) == b""
