"""Reads a tar archive from front to back: headers first, contents in pieces, nothing held.

Only what model archives hold is known: files, folders, and the headers that tar programs put in
front of them for long names, large sizes and times. Links, devices, sparse files and the rest are
refused here, by type, so that nobody downstream has to think of them. Every header is bounded
before it is read, which the standard library does not do.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from msgspec import Struct

from textmill.errors import CorruptModel, UnsafeModel, UnsupportedModel
from textmill.words import written

BLOCK_BYTES = 512
CHUNK_BYTES = 1 << 20
MAX_EXTENSION_BYTES = 16 << 20
MAX_PADDING_BYTES = 1 << 20
MAX_SIZE_BYTES = 1 << 50
LARGEST_PLAIN_SIZE = 0o77777777777

DAMAGED_HINT = "the archive is incomplete, or was changed after it was packed: get it again"
REPACK_HINT = "pack the model's own files with: tar czhf model.tar.gz -C FOLDER ."

_REFUSED_TYPES = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a character device",
    b"4": "a block device", b"6": "a named pipe", b"7": "a contiguous file",
    b"D": "a list of files", b"K": "a link", b"M": "a part of another archive",
    b"S": "a sparse file", b"V": "a volume label",
}  # fmt: skip


class TarMember(Struct, frozen=True):
    """A file or folder as its headers describe it; the name is not yet checked in any way."""

    name: str
    size: int
    is_folder: bool


class TarStream:
    """The members of one archive, in its order."""

    def __init__(self, archive: Path, file: IO[bytes] | gzip.GzipFile) -> None:
        self._archive = archive
        self._file = file
        self._position = 0
        self._unread = 0
        self._padding = 0
        self._extensions_left = MAX_EXTENSION_BYTES

    def __iter__(self) -> Iterator[TarMember]:
        """Each member in turn; what was not read of the one before is passed over.

        Raises `CorruptModel` for an archive that is cut or damaged, `UnsafeModel` for members
        that are neither files nor folders.
        """
        while (header := self._header()) is not None:
            yield self._member(header)
        self._finish()

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the member that the iteration stands at, in pieces of at most 1 MiB."""
        while self._unread:
            piece = self._take(min(self._unread, CHUNK_BYTES))
            self._unread -= len(piece)
            yield piece

    def corrupt(self, what: str) -> CorruptModel:
        """The error for damage, here."""
        place = f"at byte {self._position} of its contents"
        return CorruptModel(f"{self._archive}: {what} ({place})", hint=DAMAGED_HINT)

    def unsafe(self, what: str) -> UnsafeModel:
        """The error for a member that is refused."""
        return UnsafeModel(f"{self._archive}: {what}", hint=REPACK_HINT)

    def _member(self, header: bytes) -> TarMember:
        """The member whose headers begin with `header`: extensions come in front of it."""
        extensions: dict[str, str] = {}
        while (kind := header[156:157]) in {b"x", b"g", b"L"}:
            found = self._extension(header, kind)
            if not extensions.keys().isdisjoint(found):
                raise self.unsafe("two extended headers that speak of the same")
            extensions |= found
            following = self._header()
            if following is None:
                raise self.corrupt("an extended header without a member")
            header = following
        return self._described(header, extensions)

    def _described(self, header: bytes, extensions: Mapping[str, str]) -> TarMember:
        name = extensions["path"] if "path" in extensions else self._name(header)
        kind = header[156:157]
        if kind not in {b"0", b"\0", b"5"}:
            raise self.unsafe(
                f"{written(name)} is {_REFUSED_TYPES.get(kind, f'of type {written(kind)}')}"
            )
        if any(key.startswith("GNU.sparse.") for key in extensions):
            raise self.unsafe(f"{written(name)} is a sparse file")
        is_folder = kind == b"5"
        was_folder = kind == b"\0" and header[:100].rstrip(b"\0").endswith(b"/")
        if not is_folder and (name.endswith("/") or was_folder):
            raise self.unsafe(f"{written(name)} is a file, but named like a folder")
        size = self._size(header)
        if "size" in extensions:
            size = self._stated_size(extensions["size"], size)
        if is_folder and size:
            raise self.unsafe(f"{written(name)} is a folder with contents of its own")
        self._unread = size
        self._padding = -size % BLOCK_BYTES
        return TarMember(name.removesuffix("/") if is_folder else name, size, is_folder)

    def _header(self) -> bytes | None:
        """The next header block, or None at the end."""
        for _ in self.chunks():
            pass
        self._take(self._padding)
        self._padding = 0
        header = self._take(BLOCK_BYTES)
        if not header.strip(b"\0"):
            return None
        stated = self._number(header[148:156])
        if stated != sum(header[:148]) + 8 * ord(" ") + sum(header[156:]):
            raise self.corrupt("a damaged header")
        return header

    def _finish(self) -> None:
        """Read to the end, since the checksum of a gzip file comes last."""
        padding = 0
        while piece := self._read(CHUNK_BYTES):
            padding += len(piece)
            if piece.strip(b"\0"):
                raise self.corrupt("the archive goes on after its end")
            if padding > MAX_PADDING_BYTES:
                raise self.unsafe(f"more than {MAX_PADDING_BYTES} bytes of padding")

    def _extension(self, header: bytes, kind: bytes) -> dict[str, str]:
        size = self._size(header)
        self._extensions_left -= size + BLOCK_BYTES
        if self._extensions_left < 0:
            raise self.unsafe(f"more than {MAX_EXTENSION_BYTES} bytes of extended headers")
        data = self._take(size)
        self._take(-size % BLOCK_BYTES)
        if kind == b"L":
            return {"path": self._text(data.rstrip(b"\0"))}
        records = self._pax_records(data)
        if "hdrcharset" in records or (kind == b"g" and records.keys() & {"path", "size"}):
            raise self.unsafe("an extended header that names members in its own way")
        return {} if kind == b"g" else records

    def _pax_records(self, data: bytes) -> dict[str, str]:
        """Records are `LENGTH KEY=VALUE\\n`; the length counts all of it. Only ours are decoded."""
        records: dict[str, str] = {}
        position = 0
        while position < len(data):
            digits, space, _ = data[position : position + 20].partition(b" ")
            length = int(digits) if space and digits.isdigit() else 0
            record = data[position : position + length]
            key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
            if len(record) != length or not equals or not record.endswith(b"\n"):
                raise self.corrupt("a damaged extended header")
            word = key.decode("ascii", "replace")
            if word in records:
                raise self.unsafe(f"an extended header that says {written(word[:80])} twice")
            matters = word in {"path", "size"}
            records[word] = self._text(value) if matters else ""
            position += length
        return records

    def _stated_size(self, text: str, size: int) -> int:
        """An extended header states a size that the plain one has no room for, or repeats it."""
        if not (text.isascii() and text.isdecimal() and len(text) <= 20):
            raise self.corrupt(f"an impossible size {written(text[:40])}")
        stated = int(text)
        if size not in {0, LARGEST_PLAIN_SIZE, stated} or stated > MAX_SIZE_BYTES:
            raise self.unsafe(f"a member with the two sizes {size} and {stated}")
        return stated

    def _name(self, header: bytes) -> str:
        name = header[:100].partition(b"\0")[0]
        is_ustar = header[257:263] == b"ustar\0"
        prefix = header[345:500].partition(b"\0")[0] if is_ustar else b""
        return self._text(prefix + b"/" + name if prefix else name)

    def _text(self, raw: bytes) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            raise self.unsafe(f"the name {written(raw[:200])} is not UTF-8") from None

    def _size(self, header: bytes) -> int:
        size = self._number(header[124:136])
        if size > MAX_SIZE_BYTES:
            raise self.unsafe(f"a member of {size} bytes")
        return size

    def _number(self, field: bytes) -> int:
        """Octal digits or, with the highest bit set, a binary number."""
        if field[0] == 0x80:
            return int.from_bytes(field[1:], "big")
        digits = field.strip(b" \0")
        if digits.strip(b"01234567"):
            raise self.corrupt("a damaged number in a header")
        return int(digits or b"0", 8)

    def _take(self, size: int) -> bytes:
        taken = self._read(size)
        if len(taken) != size:
            raise self.corrupt("the archive is cut off")
        return taken

    def _read(self, size: int) -> bytes:
        """Up to `size` bytes, less only at the end."""
        if not size:
            return b""
        try:
            data = self._file.read(size)
        except (EOFError, OSError, zlib.error) as error:
            raise self.corrupt(f"the archive cannot be read: {error}") from error
        self._position += len(data)
        return data


def uncompressed(archive: Path, file: IO[bytes]) -> IO[bytes] | gzip.GzipFile:
    """The bytes of the tar in a file that is one, or that gzip made of one."""
    head = file.read(BLOCK_BYTES)
    file.seek(0)
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file, mode="rb")
    for magic, name in ((b"PK", "zip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"BZh", "bzip2")):
        if head.startswith(magic):
            raise UnsupportedModel(f"{archive}: packed with {name}, not gzip", hint=REPACK_HINT)
    return file
