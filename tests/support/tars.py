"""Tar archives by hand, since tarfile writes no hostile ones."""

from __future__ import annotations

import gzip
from pathlib import Path

END = bytes(1024)


def header(
    name: bytes | str,
    size: int | bytes = 0,
    kind: bytes = b"0",
    *,
    link: bytes = b"",
    prefix: bytes = b"",
    magic: bytes = b"ustar\x0000",
) -> bytes:
    raw = name.encode() if isinstance(name, str) else name
    number = size if isinstance(size, bytes) else b"%011o\0" % size
    block = bytearray(512)
    block[0 : len(raw)] = raw
    block[100:108] = b"0000644\0"
    block[124 : 124 + len(number)] = number
    block[156:157] = kind
    block[157 : 157 + len(link)] = link
    block[257 : 257 + len(magic)] = magic
    block[345 : 345 + len(prefix)] = prefix
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def member(name: bytes | str, data: bytes = b"", kind: bytes = b"0", **fields: bytes) -> bytes:
    return header(name, len(data), kind, **fields) + padded(data)


def record(key: str, value: bytes | str) -> bytes:
    """A record of an extended header; its length counts its own digits."""
    raw = value.encode() if isinstance(value, str) else value
    body = b" " + key.encode() + b"=" + raw + b"\n"
    length = len(body)
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def pax(*records: bytes, kind: bytes = b"x") -> bytes:
    return member("PaxHeader", b"".join(records), kind)


def long_name(name: bytes) -> bytes:
    return member("././@LongLink", name + b"\0", b"L")


CONFIG = member("config.json", b'{"model_type": "t5"}')


def write(path: Path, *parts: bytes, compress: bool = True, end: bytes = END) -> Path:
    raw = b"".join(parts) + end
    path.write_bytes(gzip.compress(raw, 1, mtime=0) if compress else raw)
    return path
