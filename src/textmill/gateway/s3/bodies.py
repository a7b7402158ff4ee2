"""Bodies as they arrive: plain, or in aws-chunked frames; with the digests that clients state."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from textmill.gateway.s3.disk import Body
from textmill.gateway.wire.faults import AwsError

_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})(;[^\r\n]{0,300})?")
_MAX_LINE = 1024
_HEX64 = re.compile(r"[0-9a-f]{64}")


class Receiver:
    """Writes a body to a file piece by piece, and checks it at its end."""

    def __init__(self, path: Path, headers: Mapping[str, str]) -> None:
        self._file = path.open("wb")
        self._path, self._stated = path, dict(headers)
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._digests = _digests(headers)
        self._size = 0
        is_chunked = headers.get("x-amz-content-sha256", "").startswith("STREAMING-") or (
            "aws-chunked" in headers.get("content-encoding", "")
        )
        self._frames = Frames(self._write) if is_chunked else None

    def feed(self, data: bytes) -> None:
        """The next bytes of the wire. Raises `AwsError`."""
        if self._frames is None:
            self._write(data)
        else:
            self._frames.feed(data)

    def end(self) -> Body:
        """The whole body. Raises `AwsError` if it is not what was stated."""
        stated = self._stated
        if self._frames is not None:
            stated = {**stated, **self._frames.end()}
        self._check(stated)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return Body(self._path, self._size, self._md5.hexdigest())

    def discard(self) -> None:
        """Remove what was received, if it has not become an object."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        self._size += len(data)
        self._md5.update(data)
        for digest in self._digests.values():
            digest.update(data)
        self._file.write(data)

    def _check(self, stated: Mapping[str, str]) -> None:
        decoded = stated.get("x-amz-decoded-content-length")
        if decoded is not None and decoded != str(self._size):
            raise AwsError("IncompleteBody", f"{self._size} bytes came, {decoded} were announced")
        md5 = stated.get("content-md5")
        if md5 is not None and md5 != base64.b64encode(self._md5.digest()).decode():
            raise AwsError("BadDigest", "the body is not what Content-MD5 says")
        for name, digest in self._digests.items():
            value = stated.get(f"x-amz-checksum-{name}")
            if value is not None and value != base64.b64encode(digest.digest()).decode():
                raise AwsError("BadDigest", f"the body is not what x-amz-checksum-{name} says")
        sha256 = stated.get("x-amz-content-sha256", "")
        if _HEX64.fullmatch(sha256) and sha256 != self._digests["sha256"].digest().hex():
            raise AwsError("XAmzContentSHA256Mismatch", "the body is not the one that was signed")


class _Crc32:
    """zlib's, as hashlib's digests are used."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


def _digests(headers: Mapping[str, str]) -> dict[str, Any]:
    """Those that the request states, or will state in its trailer."""
    named = {*headers, *headers.get("x-amz-trailer", "").lower().split(",")}
    found: dict[str, Any] = {"crc32": _Crc32()} if "x-amz-checksum-crc32" in named else {}
    if "x-amz-checksum-sha1" in named:
        found["sha1"] = hashlib.sha1(usedforsecurity=False)
    signed = _HEX64.fullmatch(headers.get("x-amz-content-sha256", ""))
    if signed or "x-amz-checksum-sha256" in named:
        found["sha256"] = hashlib.sha256()
    return found


class Frames:
    """aws-chunked: `SIZE;…`, data, line end until a size of 0, then trailers, an empty line."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._held = bytearray()
        self._left = 0
        self._state = self._size
        self._trailers: dict[str, str] = {}

    def feed(self, data: bytes) -> None:
        """The next bytes of the wire. Raises `AwsError`."""
        self._held += data
        while self._state():
            pass

    def end(self) -> dict[str, str]:
        """The trailers. Raises `AwsError` if the frames did not come to their end."""
        if self._state != self._after:
            raise AwsError("IncompleteBody", "the body's frames are not complete")
        return self._trailers

    def _line(self) -> bytes | None:
        end = self._held.find(b"\r\n")
        if end < 0:
            if len(self._held) > _MAX_LINE:
                raise _malformed()
            return None
        line = bytes(self._held[:end])
        del self._held[: end + 2]
        return line

    def _size(self) -> bool:
        line = self._line()
        if line is None:
            return False
        match = _SIZE.fullmatch(line)
        if match is None:
            raise _malformed()
        self._left = int(match[1], 16)
        self._state = self._data if self._left else self._trailer
        return True

    def _data(self) -> bool:
        part = bytes(self._held[: self._left])
        del self._held[: len(part)]
        self._write(part)
        self._left -= len(part)
        if not self._left:
            self._state = self._data_end
        return not self._left

    def _data_end(self) -> bool:
        if len(self._held) < 2:
            return False
        if self._held[:2] != b"\r\n":
            raise _malformed()
        del self._held[:2]
        self._state = self._size
        return True

    def _trailer(self) -> bool:
        line = self._line()
        if line is None:
            return False
        if not line:
            self._state = self._after
            return True
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or len(self._trailers) > 20:
            raise _malformed()
        self._trailers[name.strip().lower()] = value.strip()
        return True

    def _after(self) -> bool:
        if self._held:
            raise _malformed()
        return False


def _malformed() -> AwsError:
    return AwsError("IncompleteBody", "the body is not framed as aws-chunked says")
