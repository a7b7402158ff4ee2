"""The directory of a zip file whose entries are stored, not compressed.

Only the plain shape that torch writes is accepted: one directory at the end, entries one after
the other in front of it, nothing else. Whatever two zip readers could see differently (entries
twice, overlapping, outside of the file, named differently in two places) is refused.
"""

from __future__ import annotations

import struct

from msgspec import Struct

from textmill.engines.checkpoint.torchvalues import Source
from textmill.words import written

MAX_ENTRIES = 100_000
MAX_NAME_BYTES = 1024

_END = struct.Struct("<4s4H2IH")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_IN_EXTRA = 0xFFFFFFFF


class ZipEntry(Struct, frozen=True):
    """One entry; its bytes are `[start, start + size)` of the file. crc32 is 0 when not computed.

    `header` is where the entry's own header begins, in front of its bytes.
    """

    name: str
    header: int
    start: int
    size: int
    crc32: int


class _Directory(Struct, frozen=True):
    start: int
    end: int
    count: int


def read_directory(source: Source) -> dict[str, ZipEntry]:
    """The entries by name. Raises `CorruptModel`, and `UnsupportedModel` for compressed entries."""
    directory = _find_directory(source)
    entries: dict[str, ZipEntry] = {}
    position = directory.start
    for _ in range(directory.count):
        entry, position = _read_entry(source, position, directory)
        if entry.name in entries:
            raise source.corrupt(f"the zip entry {written(entry.name)} comes twice", position)
        entries[entry.name] = entry
    if position != directory.end:
        raise source.corrupt("the zip directory does not end where it says", position)
    _refuse_overlaps(source, entries)
    return entries


def _find_directory(source: Source) -> _Directory:
    at = len(source.data) - _END.size
    if at < 0 or source.data[at : at + 4] != b"PK\x05\x06":
        raise source.corrupt("the end of the zip file is missing", max(at, 0))
    _, disk, first_disk, here, count, size, start, comment = _END.unpack_from(source.data, at)
    end = at
    locator = at - _END64_LOCATOR.size
    if locator >= 0 and source.data[locator : locator + 4] == b"PK\x06\x07":
        end = locator - _END64.size
        disk, first_disk, here, count, size, start = _read_end64(source, locator)
    if (disk, first_disk, comment) != (0, 0, 0) or here != count:
        raise source.corrupt("a zip file in several parts, or with a comment", at)
    if count > MAX_ENTRIES:
        raise source.unsafe(f"a zip file of more than {MAX_ENTRIES} entries", at)
    if start + size != end:
        raise source.corrupt("the zip directory is not where it should be", at)
    return _Directory(start, end, count)


def _read_end64(source: Source, locator: int) -> tuple[int, ...]:
    at = locator - _END64.size
    _, _, pointed_at, _ = _END64_LOCATOR.unpack_from(source.data, locator)
    if at < 0 or pointed_at != at or source.data[at : at + 4] != b"PK\x06\x06":
        raise source.corrupt("the 64-bit end of the zip file is missing", locator)
    values: tuple[int, ...] = _END64.unpack_from(source.data, at)[4:]
    return values


def _read_entry(source: Source, at: int, directory: _Directory) -> tuple[ZipEntry, int]:
    if at + _ENTRY.size > directory.end:
        raise source.corrupt("the zip directory is cut off", at)
    fields = _ENTRY.unpack_from(source.data, at)
    signature, _, _, flags, method, _, _, crc32, packed, size, name_size, extra_size = fields[:12]
    comment_size, disk, _, _, header = fields[12:]
    extra_at = at + _ENTRY.size + name_size
    after = extra_at + extra_size + comment_size
    if signature != b"PK\x01\x02" or disk != 0 or after > directory.end:
        raise source.corrupt("a damaged entry of the zip directory", at)
    name = _entry_name(source, at + _ENTRY.size, name_size)
    extra = source.data[extra_at : extra_at + extra_size]
    size, packed, header = _widen(source, at, extra, (size, packed, header))
    if method != 0:
        raise source.unsupported(
            f"the zip entry {written(name)} is compressed",
            hint="torch.save never compresses; save the model again with it, or as safetensors",
        )
    if flags & 1 or packed != size:
        raise source.corrupt(f"the zip entry {written(name)} is encrypted or has two sizes", at)
    start = _data_start(source, header, name)
    if start + size > directory.start:
        raise source.corrupt(f"the zip entry {written(name)} lies outside of the file", at)
    return ZipEntry(name, header, start, size, crc32), after


def _entry_name(source: Source, at: int, size: int) -> str:
    raw = source.data[at : at + min(size, MAX_NAME_BYTES + 1)]
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise source.corrupt("a zip entry whose name is not UTF-8", at) from None
    bad_part = any(part in {"", ".", ".."} for part in name.split("/"))
    if size > MAX_NAME_BYTES or bad_part or "\\" in name or not name.isprintable():
        raise source.corrupt(f"a zip entry with the impossible name {written(name)}", at)
    return name


def _widen(
    source: Source, at: int, extra: bytes, fields: tuple[int, int, int]
) -> tuple[int, int, int]:
    """Size, packed size and header position; the extra field holds those over 32 bits."""
    missing = fields.count(_IN_EXTRA)
    if not missing:
        return fields
    position = 0
    while position + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, position)
        values = extra[position + 4 : position + 4 + length]
        if tag == 1 and 8 * missing <= len(values):
            wide = iter(struct.unpack_from(f"<{missing}Q", values))
            size, packed, header = (next(wide) if f == _IN_EXTRA else f for f in fields)
            return size, packed, header
        position += 4 + length
    raise source.corrupt("a zip entry without its 64-bit sizes", at)


def _data_start(source: Source, header: int, name: str) -> int:
    """Where an entry's bytes begin. Its own header must agree with the directory."""
    if header + _LOCAL.size > len(source.data):
        raise source.corrupt(f"the zip entry {written(name)} lies outside of the file", header)
    fields = _LOCAL.unpack_from(source.data, header)
    signature, _, _, method = fields[:4]
    name_size, extra_size = fields[9:]
    name_at = header + _LOCAL.size
    own_name = source.data[name_at : name_at + name_size]
    if signature != b"PK\x03\x04" or method != 0 or own_name != name.encode():
        raise source.corrupt(f"the header of the zip entry {written(name)} is damaged", header)
    start: int = name_at + name_size + extra_size
    return start


def _refuse_overlaps(source: Source, entries: dict[str, ZipEntry]) -> None:
    free = 0
    for entry in sorted(entries.values(), key=lambda entry: entry.header):
        if entry.header < free or (free == 0 and entry.header != 0):
            raise source.corrupt(
                f"the zip entry {written(entry.name)} overlaps another", entry.header
            )
        free = entry.start + entry.size
