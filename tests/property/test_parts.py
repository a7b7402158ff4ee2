"""A part file is recovered or refused, never read with a gap."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from textmill.errors import InputError
from textmill.storage.local import LocalStore
from textmill.transform import parts
from textmill.transform.parts import Row

ROWS = st.lists(
    st.builds(
        Row,
        st.integers(0, 10**6),
        ok=st.sampled_from(
            [Raw(b'{"id": 0, "generated_texts": ["\xc3\xa9"]}'), Raw(b'{"id":\r1}')]
        ),
        inp=st.integers(0, 100),
        cut=st.booleans(),
    )
    | st.builds(
        Row, st.integers(0, 10**6), error=st.just(Raw(b'{"id": 1}')), code=st.just("empty")
    ),
    max_size=6,
)


def numbered(frames):
    """The same frames, each row with an ordinal of its own."""
    ordinals = iter(range(100))
    return [[replace(row, n=next(ordinals)) for row in rows] for rows in frames]


FRAMES = st.lists(ROWS, min_size=1, max_size=5).map(numbered)


def log_at(path):
    return LocalStore(path.parent).log(path.name)


def read_part(path):
    return parts.read_part(log_at(path), str(path))


def PartWriter(path, *, end=0):  # noqa: N802
    return parts.PartWriter(log_at(path), end=end)


def write(path, frames, *, window_rows=None):
    writer = PartWriter(path)
    for number, rows in enumerate(frames):
        last = number == len(frames) - 1
        writer.append(rows, window_rows=window_rows if last else None)
    writer.close()


@given(frames=FRAMES, window_rows=st.none() | st.integers(0, 10**6))
def test_what_was_written_is_read(tmp_path_factory, frames, window_rows):
    path = tmp_path_factory.mktemp("part") / "0.jsonl"
    write(path, frames, window_rows=window_rows)
    part, end = read_part(path)
    assert part.rows == [row for rows in frames for row in rows]
    assert (part.window_rows, end) == (window_rows, path.stat().st_size)


def frame_ends(path, frames):
    ends = [0]
    writer = PartWriter(path)
    for rows in frames:
        writer.append(rows)
        ends.append(path.stat().st_size)
    writer.close()
    return ends


def test_a_file_cut_at_any_byte_yields_its_whole_frames(tmp_path):
    frames = numbered([[Row(n, ok=Raw(b'{"id": %d}' % n)) for n in range(k)] for k in (2, 0, 3, 1)])
    path = tmp_path / "0.jsonl"
    ends = frame_ends(path, frames)
    data = path.read_bytes()
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        part, end = read_part(path)
        whole = max(e for e in ends if e <= cut)
        assert end == whole
        assert len(part.rows) == sum(
            len(f) for f, e in zip(frames, ends[1:], strict=True) if e <= cut
        )


def test_writing_goes_on_after_a_torn_tail(tmp_path):
    path = tmp_path / "0.jsonl"
    write(path, [[Row(1)], [Row(2)]])
    path.write_bytes(path.read_bytes()[:-3])
    part, end = read_part(path)
    writer = PartWriter(path, end=end)
    writer.append([Row(3)])
    writer.close()
    assert [row.n for row in read_part(path)[0].rows] == [row.n for row in part.rows] + [3]


def test_every_flipped_bit_is_recovered_from_or_refused(tmp_path):
    frames = [[Row(n, ok=Raw(b'{"id": %d}' % n)) for n in range(3)], [Row(7)], [Row(8)]]
    path = tmp_path / "0.jsonl"
    write(path, frames)
    data = path.read_bytes()
    wanted = [row.n for rows in frames for row in rows]
    for position in range(len(data)):
        for bit in range(8):
            path.write_bytes(
                data[:position] + bytes([data[position] ^ (1 << bit)]) + data[position + 1 :]
            )
            try:
                found = [row.n for row in read_part(path)[0].rows]
            except InputError:
                continue
            assert found == wanted[: len(found)]


def test_damage_before_whole_frames_is_refused(tmp_path):
    path = tmp_path / "0.jsonl"
    write(path, [[Row(1)], [Row(2)]])
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":9', 1))
    with pytest.raises(InputError, match="damaged"):
        read_part(path)


@pytest.mark.parametrize("line", [b"", b"[]", b'{"n":"1"}', b'{"ok":1}', b'{"n":1,"code":"\xff"}'])
def test_a_frame_of_no_rows_is_refused_though_its_checksum_is_right(tmp_path, line):
    path = tmp_path / "0.jsonl"
    body = line + b"\n"
    path.write_bytes(body + b'{"frame":1,"crc32":%d,"rows":null}\n' % zlib.crc32(body))
    with pytest.raises(InputError, match="the frame at byte 0 holds no rows"):
        read_part(path)


@given(frames=FRAMES, again=st.integers(0, 4))
def test_a_frame_that_is_there_twice_counts_once(tmp_path_factory, frames, again):
    path = tmp_path_factory.mktemp("part") / "0.jsonl"
    write(path, [*frames, frames[again % len(frames)]])
    assert read_part(path)[0].rows == [row for rows in frames for row in rows]


def test_two_accounts_of_one_row_are_refused(tmp_path):
    path = tmp_path / "0.jsonl"
    write(path, [[Row(1, out=3)], [Row(1, out=4)]])
    with pytest.raises(InputError, match="row 1 is there twice"):
        read_part(path)


def test_a_hole_that_a_power_cut_left_is_recovered_from(tmp_path):
    """File systems may have written a later block of a log that grew, and not an earlier one."""
    path = tmp_path / "0.jsonl"
    frames = [[Row(n, ok=Raw(b'{"id": %d}' % n))] for n in range(6)]
    ends = frame_ends(path, frames)
    whole = path.read_bytes()
    for first in range(len(whole)):
        for size in (1, 9, 150):
            hole = b"\0" * min(size, len(whole) - first)
            path.write_bytes(whole[:first] + hole + whole[first + size :])
            part, end = read_part(path)
            assert end == max(e for e in ends if e <= first)
            assert [row.n for row in part.rows] == list(range(ends.index(end)))
