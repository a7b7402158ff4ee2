"""Part files: where finished work is safe before the output appears.

A job's rows are numbered windows; window k has one log, `parts/0000k.jsonl`. It holds frames. A
frame is one append: a line for each finished row, then a marker line with their number and their
CRC-32. Logs are synced about once a second, so on a local disk a killed process loses no frame, and
a power cut at most the last second's. What follows the last whole frame is a torn tail of a
killed run and is cut away on opening. The frame that completes the window says so.

    {"n":17,"ok":{"id":17,"generated_texts":["…"]},"in":40,"out":9}
    {"n":18,"error":{"id":18,"line":19,"code":"too_long","message":"…"}}
    {"frame":2,"crc32":3735928559,"rows":null}
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Raw, Struct

from textmill.errors import InputError
from textmill.storage.base import Log

HOLE = b"\0"
"""In no JSON, so it tells of bytes that a power cut left unwritten."""

NOTHING = Raw(b"")
"""Of a row's field: it is not written. Another empty `Raw` would be, as nothing at all."""


class Row(Struct, omit_defaults=True, gc=False):
    """One finished row of the input.

    n: its ordinal. ok: its output line as JSON, or error: its error line as JSON.
    inp, out: tokens read and written. cut: its input was truncated. limit: an output met the
    length limit. code: the error's code. failed: the engine could not answer it.
    copied: it has the result of an equal, earlier row.
    made: what the engine made, where the output line does not show it plainly.
    again: no row but the word that the failed row of this ordinal is to be done again.
    """

    n: int
    ok: Raw = NOTHING
    error: Raw = NOTHING
    inp: int = msgspec.field(default=0, name="in")
    out: int = 0
    cut: bool = False
    limit: bool = False
    code: str = ""
    failed: bool = False
    copied: bool = False
    made: Raw = NOTHING
    again: bool = False

    @property
    def is_invalid(self) -> bool:
        """Whether the row could not become a request, or its result not be written as asked."""
        return bool(self.code) and not self.failed


class _Marker(Struct):
    """Ends a frame of `frame` lines; `rows` is the window's size in its last frame, else None."""

    frame: int
    crc32: int
    rows: int | None


_encode = msgspec.json.Encoder().encode
_decode_row = msgspec.json.Decoder(Row).decode
_decode_marker = msgspec.json.Decoder(_Marker).decode
_MARKER = b'{"frame":'


class Part(Struct):
    """What one part file holds: its rows, and the window's size once the window is complete."""

    rows: list[Row]
    window_rows: int | None = None

    @property
    def complete(self) -> bool:
        """Whether every row of the window is here."""
        return self.window_rows is not None


def read_part(log: Log, label: str) -> tuple[Part, int]:
    """The whole frames of a window's log, and the byte where they end.

    Bytes after the last whole frame are a torn tail and are ignored, and so is what follows a hole
    of bytes that were never written. A frame whose checksum is wrong *before* another whole frame
    is damage, and so are two different rows of one ordinal: both are refused with an `InputError`
    that names `label`.
    """
    by_ordinal: dict[int, Row] = {}
    window_rows, end = None, 0
    data = log.read()
    lines: list[bytes] = []
    position = 0
    for line in _whole_lines(data):
        position += len(line)
        if not line.startswith(_MARKER):
            lines.append(line)
            continue
        if not _frame_is_whole(line, lines):
            if _MARKER in data[position:] and HOLE not in data[end:position]:
                raise _damaged(label, f"the frame at byte {end} is broken, and more follows it")
            break
        try:
            rows = list(map(_decode_row, lines))
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise _damaged(label, f"the frame at byte {end} holds no rows: {error}") from error
        _enter(rows, by_ordinal, label)
        forgotten = any(row.again for row in rows)
        window_rows = None if forgotten else _decode_marker(line).rows
        lines, end = [], position
    return Part(list(by_ordinal.values()), window_rows), end


def _enter(rows: list[Row], by_ordinal: dict[int, Row], label: str) -> None:
    """Add a frame's rows. A frame may be there twice, two accounts of one row may not."""
    for row in rows:
        if row.again:
            by_ordinal.pop(row.n, None)
        elif (known := by_ordinal.setdefault(row.n, row)) is not row and known != row:
            raise _damaged(label, f"row {row.n} is there twice, and not the same")


def _damaged(label: str, what: str) -> InputError:
    return InputError(f"{label} is damaged: {what}")


def _whole_lines(data: bytes) -> Iterator[bytes]:
    # Not splitlines: a carriage return may stand inside a line, as white space of a kept column.
    return (line + b"\n" for line in data.split(b"\n")[:-1])


def _frame_is_whole(marker_line: bytes, lines: list[bytes]) -> bool:
    try:
        marker = _decode_marker(marker_line)
    except msgspec.DecodeError:
        return False
    return marker.frame == len(lines) and marker.crc32 == zlib.crc32(b"".join(lines))


class PartWriter:
    """Appends frames to one window's log. Owns the log until `close`."""

    def __init__(self, log: Log, *, end: int = 0) -> None:
        """Go on at byte `end`, cutting away whatever follows it."""
        self._log = log
        log.cut(end)

    def append(self, rows: Iterable[Row], *, window_rows: int | None = None) -> None:
        """Write one frame, as safe as `Log.append` makes it. Raises `OutputError`.

        window_rows: given with the frame that completes the window.
        """
        lines = [_encode(row) + b"\n" for row in rows]
        body = b"".join(lines)
        marker = _encode(_Marker(len(lines), zlib.crc32(body), window_rows))
        self._log.append(body + marker + b"\n")

    def sync(self) -> None:
        """Have everything appended survive a power cut. Raises `OutputError`."""
        self._log.sync()

    def close(self) -> None:
        """Give the log back."""
        self._log.close()
