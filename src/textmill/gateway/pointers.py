"""Archives that name a model of the catalog in place of its weights, and say so to nobody else.

For small models SDKs download JumpStart's archive of the model and that of its scripts, pack the
two into one and upload it, as the notebooks' `source_dir` branch asks for. The weights would go
through the notebook twice for nothing: what it gets is a file with the model's name, and where a
model's archive is read, an archive with that file is the model.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
from msgspec import Struct

from textmill.catalog.tarstream import BLOCK_BYTES, TarStream, uncompressed
from textmill.errors import InputError

POINTER = "textmill-model.json"
SCRIPT = "inference.py"

_MAX_ARCHIVE_BYTES = 16 << 20
_MAX_MEMBERS, _MAX_BYTES = 1000, 64 << 20
_MAX_POINTER_BYTES = 1024
_SCRIPT_TEXT = b'"""textmill runs models itself; no script of an archive is run."""\n'


class _Pointer(Struct, frozen=True, forbid_unknown_fields=True):
    model: str


def pointer_archive(model: str) -> bytes:
    """A model.tar.gz that means this model of the catalog, ID@VERSION. Always the same bytes."""
    return _archive(POINTER, msgspec.json.encode(_Pointer(model)))


def script_archive() -> bytes:
    """A sourcedir.tar.gz with the script that JumpStart's notebooks name."""
    return _archive(SCRIPT, _SCRIPT_TEXT)


def pointed_model(archive: Path) -> str | None:
    """The model that an archive names; None for an archive of another kind.

    The name is as the archive has it, to be checked like any other of a request. Raises
    `InputError` for a pointer that is none, and `ModelError` for a damaged archive.
    """
    if archive.stat().st_size > _MAX_ARCHIVE_BYTES:
        return None
    with archive.open("rb") as file:
        stream = TarStream(archive, uncompressed(archive, file))
        size = 0
        for count, member in enumerate(stream):
            size += member.size
            if count == _MAX_MEMBERS or size > _MAX_BYTES:
                return None
            if member.name.removeprefix("./") == POINTER and not member.is_folder:
                return _read(archive, stream, member.size)
    return None


def _read(archive: Path, stream: TarStream, size: int) -> str:
    data = b"" if size > _MAX_POINTER_BYTES else b"".join(stream.chunks())
    try:
        return msgspec.json.decode(data, type=_Pointer).model
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"{archive}: its {POINTER} names no model: {error}") from error


def _archive(name: str, data: bytes) -> bytes:
    padding = bytes(-len(data) % BLOCK_BYTES)
    end = bytes(2 * BLOCK_BYTES)
    return gzip.compress(_header(name, len(data)) + data + padding + end, mtime=0)


def _header(name: str, size: int) -> bytes:
    """A file's, as POSIX describes it; its checksum counts itself as spaces."""
    fields = (
        (0, name.encode()),
        (100, b"0000644\0"),
        (108, b"0000000\0"),
        (116, b"0000000\0"),
        (124, b"%011o\0" % size),
        (136, b"%011o\0" % 0),
        (148, b" " * 8),
        (156, b"0"),
        (257, b"ustar\x0000"),
    )
    block = bytearray(BLOCK_BYTES)
    for start, value in fields:
        block[start : start + len(value)] = value
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)
