"""Shards of a large file: which records are whose, and how little is read for it."""

from __future__ import annotations

import io

import pytest

from support.shards import CountingStream, read_shard
from textmill.errors import UsageError
from textmill.records.split import (
    Shard,
    ShardStream,
    check_splittable,
    parse_shard,
    shard_name,
    shard_range,
)

BLOCK = 64 * 1024


class TestSpecs:
    def test_the_second_of_eight(self) -> None:
        assert parse_shard("2/8") == Shard(2, 8)
        assert str(Shard(2, 8)) == "2/8"

    @pytest.mark.parametrize("text", ["", "2", "2/", "/8", "a/b", "-1/8", "1/2/3", " 1/2", "1.0/2"])
    def test_what_is_no_shard_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match="is not a shard") as caught:
            parse_shard(text)
        assert caught.value.hint == "write the second of eight as 2/8"

    @pytest.mark.parametrize(
        ("text", "hint"),
        [
            ("0/8", "the shards of 8 are 1/8 to 8/8"),
            ("9/8", "the shards of 8 are 1/8 to 8/8"),
            ("1/0", "a file has at least one shard, 1/1"),
        ],
    )
    def test_numbers_beyond_the_count_are_refused(self, text: str, hint: str) -> None:
        with pytest.raises(UsageError, match=f"there is no shard {text}") as caught:
            parse_shard(text)
        assert caught.value.hint == hint

    def test_stretches_are_nearly_equal(self) -> None:
        assert [shard_range(10, Shard(n, 4)) for n in (1, 2, 3, 4)] == [
            (0, 2),
            (2, 5),
            (5, 7),
            (7, 10),
        ]

    def test_messages_say_from_where_lines_count(self) -> None:
        assert shard_name("big.jsonl", Shard(2, 8), 1233) == (
            "big.jsonl[shard 2/8, lines from byte 1,234]"
        )


class TestRefusals:
    def test_compressed_files(self) -> None:
        with pytest.raises(UsageError, match=r"a\.gz is compressed, so it cannot be read from"):
            check_splittable("a.gz", lines=True, compressed=True)

    def test_formats_whose_records_are_not_lines(self) -> None:
        with pytest.raises(UsageError, match="its records are not lines"):
            check_splittable("a.csv", lines=False, compressed=False)

    def test_lines_as_they_are_pass(self) -> None:
        check_splittable("a.jsonl", lines=True, compressed=False)


class TestShards:
    DATA = b"aa\nbbbb\ncc\n"
    #       012 34567 890

    @pytest.mark.parametrize(
        ("start", "end", "records"),
        [
            (0, 11, b"aa\nbbbb\ncc\n"),
            (0, 1, b"aa\n"),
            (0, 3, b"aa\n"),
            (0, 4, b"aa\nbbbb\n"),
            (1, 3, b""),
            (2, 4, b"bbbb\n"),
            (3, 4, b"bbbb\n"),
            (3, 8, b"bbbb\n"),
            (4, 8, b""),
            (4, 9, b"cc\n"),
            (8, 11, b"cc\n"),
            (10, 11, b""),
            (0, 0, b""),
            (5, 5, b""),
        ],
    )
    def test_a_record_is_where_it_begins(self, start: int, end: int, records: bytes) -> None:
        assert ShardStream(io.BytesIO(self.DATA), start, end).read() == records

    @pytest.mark.parametrize(
        ("start", "end", "first_byte"), [(0, 4, 0), (1, 11, 3), (3, 11, 3), (4, 11, 8), (4, 6, 6)]
    )
    def test_the_first_byte_is_known_before_reading(
        self, start: int, end: int, first_byte: int
    ) -> None:
        assert ShardStream(io.BytesIO(self.DATA), start, end).first_byte == first_byte

    def test_crlf_and_a_missing_last_newline_are_fine(self) -> None:
        data = b'{"id": 1}\r\n{"id": 2}\r\n{"id": 3}'
        assert [read_shard(data, Shard(n, 3)) for n in (1, 2, 3)] == [
            b'{"id": 1}\r\n',
            b'{"id": 2}\r\n',
            b'{"id": 3}',
        ]

    def test_an_empty_file_has_empty_shards(self) -> None:
        assert [read_shard(b"", Shard(n, 2)) for n in (1, 2)] == [b"", b""]

    def test_a_record_longer_than_a_shard_leaves_others_empty(self) -> None:
        data = b"x" * 95 + b"\n" + b"y\nz\n"
        shards = [read_shard(data, Shard(n, 10)) for n in range(1, 11)]
        assert shards == [data[:96], *[b""] * 8, b"y\nz\n"]

    def test_a_mark_at_the_start_of_the_file_stays_with_the_first_record(self) -> None:
        data = b"\xef\xbb\xbfaa\nbb\n"
        assert [read_shard(data, Shard(n, 2)) for n in (1, 2)] == [data[:6], b"bb\n"]

    @pytest.mark.parametrize("size", [1, 2, 3, 100])
    def test_a_mark_within_the_file_is_text_and_survives_the_reader_s_dropping_one(
        self, size: int
    ) -> None:
        data = b"aa\n\xef\xbb\xbfbb\n"
        stream = ShardStream(CountingStream(data, at_once=size), 1, len(data))
        assert stream.read() == b"\xef\xbb\xbf\xef\xbb\xbfbb\n"


class TestBytesRead:
    LINE = b"x" * 99 + b"\n"
    DATA = LINE * 40_000

    @pytest.mark.parametrize("number", [1, 2, 50, 100])
    def test_no_more_than_the_shard_and_a_block(self, number: int) -> None:
        start, end = shard_range(len(self.DATA), Shard(number, 100))
        stream = CountingStream(self.DATA)
        records = ShardStream(stream, start, end).read()
        assert abs(len(records) - (end - start)) <= len(self.LINE)
        assert stream.bytes_read <= (end - start) + 1 + BLOCK

    def test_a_shard_within_one_record_reads_its_own_bytes_only(self) -> None:
        stream = CountingStream(b"x" * 10_000_000 + b"\n")
        assert ShardStream(stream, 1_000_000, 1_200_000).read() == b""
        assert stream.bytes_read == 200_001

    def test_a_long_last_record_costs_its_rest_and_less_than_a_block(self) -> None:
        stream = CountingStream(b"x" * 1_000_000 + b"\n" + b"y" * 1_000_000)
        assert len(ShardStream(stream, 0, 10).read()) == 1_000_001
        assert stream.bytes_read <= 1_000_001 + BLOCK

    def test_memory_is_bounded_by_a_block_however_long_the_records(self) -> None:
        stream = ShardStream(CountingStream(b"x" * 5_000_000), 0, 5_000_000)
        longest = 0
        while data := stream.read(1 << 30):
            longest = max(longest, len(data))
        assert longest == BLOCK
