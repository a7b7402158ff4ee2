"""Part files: where finished work is safe before the output appears.

A job's rows are numbered windows; window k has one append-only file `parts/0000k.jsonl`. It holds
frames. A frame is one `write`: a line for each finished row, then a marker line with their number
and their CRC-32. Files are synced about once a second, so a killed process loses no frame, and a
power cut at most the last second's. What follows the last whole frame is a torn tail of a
killed run and is cut away on opening. The frame that completes the window says so.

    {"n":17,"ok":{"id":17,"generated_texts":["…"]},"in":40,"out":9}
    {"n":18,"error":{"id":18,"line":19,"code":"too_long","message":"…"}}
    {"frame":2,"crc32":3735928559,"rows":null}
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Raw, Struct

from textmill.errors import InputError
from textmill.storage.base import input_errors, output_errors


class Row(Struct, omit_defaults=True):
    """One finished row of the input.

    n: its ordinal. ok: its output line as JSON, or error: its error line as JSON.
    inp, out: tokens read and written. cut: its input was truncated. limit: an output met the
    length limit. code: the error's code.
    """

    n: int
    ok: Raw = Raw(b"")
    error: Raw = Raw(b"")
    inp: int = msgspec.field(default=0, name="in")
    out: int = 0
    cut: bool = False
    limit: bool = False
    code: str = ""


class _Marker(Struct):
    """Ends a frame of `frame` lines; `rows` is the window's size in its last frame, else None."""

    frame: int
    crc32: int
    rows: int | None


_encode = msgspec.json.Encoder().encode
_decode_row = msgspec.json.Decoder(Row).decode
_decode_marker = msgspec.json.Decoder(_Marker).decode
_MARKER = b'{"frame":'
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


class Part(Struct):
    """What one part file holds: its rows, and the window's size once the window is complete."""

    rows: list[Row]
    window_rows: int | None = None

    @property
    def complete(self) -> bool:
        """Whether every row of the window is here."""
        return self.window_rows is not None


def part_path(folder: Path, window: int) -> Path:
    """Where window number `window` is kept."""
    return folder / f"{window:05d}.jsonl"


def read_part(path: Path) -> tuple[Part, int]:
    """The whole frames of a part file, and the byte where they end.

    A missing file is an empty part. Bytes after the last whole frame are a torn tail and are
    ignored; a frame whose checksum is wrong *before* another whole frame is damage, and refused.
    """
    part, end = Part([]), 0
    if not path.exists():
        return part, end
    with input_errors(str(path)):
        data = path.read_bytes()
    lines: list[bytes] = []
    position = 0
    for line in _whole_lines(data):
        position += len(line)
        if not line.startswith(_MARKER):
            lines.append(line)
            continue
        if not _frame_is_whole(line, lines):
            _refuse_damage(path, data, position, end)
            break
        part.rows.extend(map(_decode_row, lines))
        part.window_rows = _decode_marker(line).rows
        lines, end = [], position
    return part, end


def _whole_lines(data: bytes) -> Iterator[bytes]:
    # Not splitlines: a carriage return may stand inside a line, as white space of a kept column.
    return (line + b"\n" for line in data.split(b"\n")[:-1])


def _frame_is_whole(marker_line: bytes, lines: list[bytes]) -> bool:
    try:
        marker = _decode_marker(marker_line)
    except msgspec.DecodeError:
        return False
    return marker.frame == len(lines) and marker.crc32 == zlib.crc32(b"".join(lines))


def _refuse_damage(path: Path, data: bytes, position: int, end: int) -> None:
    """A broken frame is a torn tail only if it is the last thing in the file."""
    if _MARKER in data[position:]:
        raise InputError(
            f"{path}: the frame at byte {end} is damaged, and more follows it",
            hint="the file was changed after it was written; start over with --fresh",
        )


class PartWriter:
    """Appends frames to one part file. Owns the file until `close`."""

    def __init__(self, path: Path, *, end: int = 0) -> None:
        """Open for appending at byte `end`, cutting away whatever follows it."""
        self._path = path
        with output_errors(str(path)):
            self._file = path.open("ab")
            if self._file.tell() != end:
                self._file.truncate(end)

    def append(self, rows: Iterable[Row], *, window_rows: int | None = None) -> None:
        """Write one frame; on return it survives the death of this process.

        Once `sync` has returned it survives a power cut as well. Raises `OutputError`.

        window_rows: given with the frame that completes the window.
        """
        lines = [_encode(row) + b"\n" for row in rows]
        body = b"".join(lines)
        marker = _encode(_Marker(len(lines), zlib.crc32(body), window_rows))
        with output_errors(str(self._path)):
            self._file.write(body + marker + b"\n")
            self._file.flush()

    def sync(self) -> None:
        """Have the disk keep what was appended. Raises `OutputError`."""
        with output_errors(str(self._path)):
            _sync(self._file.fileno())

    def close(self) -> None:
        """Give the file back. Bytes of a failed `append` may be lost: they were never a frame."""
        with suppress(OSError):
            self._file.close()
