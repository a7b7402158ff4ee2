"""Files that hold no rows, told by their first bytes."""

from __future__ import annotations

import codecs
import re

from msgspec import Struct

_BEGINNING_BYTES = 1024
_DECOMPRESS = "decompress it; gzip and zstd are read as they are"
_UNPACK = "unpack it and give the files that are in it"
_ENCODE = "convert it (iconv -f {} -t UTF-8)"
_CONVERT = "write its rows as JSON Lines, CSV or Parquet"


class Kind(Struct, frozen=True):
    """What a file is instead, and what to do about it."""

    name: str
    hint: str


_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (rb"\xfd7zXZ\x00", "compressed with xz", _DECOMPRESS),
    (rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)", "compressed with bzip2", _DECOMPRESS),
    (rb"\x04\x22\x4d\x18", "compressed with lz4", _DECOMPRESS),
    (rb"\xff\x06\x00\x00sNaPpY", "compressed with Snappy", _DECOMPRESS),
    (rb"\x1f\x9d|LZIP", "compressed, and not with gzip or zstd", _DECOMPRESS),
    (rb"PK\x03\x04.{26}(?:\[Content_Types|_rels/)", "an Office file", "save it as CSV"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file", "save it as CSV"),
    (rb"PK\x03\x04|PK\x05\x06", "a zip archive", _UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (rb"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (rb".{257}ustar", "a tar archive", _UNPACK),
    (rb"ARROW1\x00\x00", "an Arrow file (Feather)", _CONVERT),
    (rb"Obj\x01", "an Avro file", _CONVERT),
    (rb"ORC", "an ORC file", _CONVERT),
    (rb"SQLite format 3\x00", "an SQLite database", _CONVERT),
    (rb"\x89HDF\r\n", "an HDF5 file", _CONVERT),
    (rb"\x93NUMPY", "a NumPy array", _CONVERT),
    (rb"\x89PNG\r\n|GIF8[79]a|\xff\xd8\xff|RIFF.{4}WEBP", "an image", _CONVERT),
    (rb"%PDF-", "a PDF", _CONVERT),
    (rb"\x7fELF", "a program", _CONVERT),
    (rb"\xff\xfe\0\0|\0\0\xfe\xff", "text in UTF-32", _ENCODE.format("UTF-32")),
    (rb"\xff\xfe|\xfe\xff", "text in UTF-16", _ENCODE.format("UTF-16")),
    (rb"(?:[\t\n\r -~]\0){4}", "text in UTF-16", _ENCODE.format("UTF-16LE")),
    (rb"(?:\0[\t\n\r -~]){4}", "text in UTF-16", _ENCODE.format("UTF-16BE")),
)
_BINARY = Kind("binary, or text in another encoding than UTF-8: it has NUL bytes", _CONVERT)
_CONTROLS = bytes(set(range(0x20)) - set(b"\t\n\v\f\r\x1b"))
_RARE = 50
"""Text may hold a NUL, which is its row's fault; but one control character in so many bytes."""
PARQUET_MARKS = (b"PAR1", b"PARE")
"""What a Parquet file begins with, the second one if it is encrypted."""


def foreign_kind(head: bytes) -> Kind | None:
    """What a file that begins so is, if it surely is none of rows."""
    for pattern, name, hint in _KINDS:
        if re.match(pattern, head, re.DOTALL):
            return Kind(name, hint)
    beginning = head[:_BEGINNING_BYTES]
    controls = len(beginning) - len(beginning.translate(None, _CONTROLS))
    is_text = b"\0" not in beginning or controls * _RARE <= len(beginning)
    is_json = beginning.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"{"
    return None if is_text or is_json or head.startswith(PARQUET_MARKS) else _BINARY
