"""Objects, or bytes of them, copied inside the store: what a PUT with `x-amz-copy-source` asks."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

from textmill.gateway.s3.disk import Body, Disk, Found, open_at
from textmill.gateway.wire.faults import AwsError
from textmill.words import written

SOURCE = "x-amz-copy-source"
_CONDITIONS = f"{SOURCE}-if-"
_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})")
_CHUNK_BYTES = 1 << 20


def source_of(disk: Disk, headers: Mapping[str, str]) -> Found:
    """The object that is to be copied. Raises `AwsError`, also for a condition that fails."""
    name, _, version = headers[SOURCE].partition("?")
    if version:
        raise AwsError("NotImplemented", "objects have no versions in this S3", 501)
    try:
        bucket, _, key = unquote(name, errors="strict").removeprefix("/").partition("/")
    except UnicodeDecodeError as error:
        raise AwsError("InvalidURI", "the source's key is no UTF-8") from error
    found = disk.find(bucket, key)
    if found is None:
        raise AwsError("NoSuchKey", "The specified key does not exist.", 404)
    _check(headers, found)
    return found


def span_of(headers: Mapping[str, str], found: Found) -> tuple[int, int]:
    """The bytes asked for, end not included; all where none are named. Raises `AwsError`."""
    text = headers.get(f"{SOURCE}-range")
    if text is None:
        return 0, found.note.size
    match = _RANGE.fullmatch(text)
    if match is None or not int(match[1]) <= int(match[2]) < found.note.size:
        raise AwsError(
            "InvalidArgument", f"{SOURCE}-range {written(text[:50])} is not in the source"
        )
    return int(match[1]), int(match[2]) + 1


def copied(disk: Disk, found: Found, start: int, end: int) -> Body:
    """Bytes of an object in a file of their own, which is the caller's to remove."""
    path, digest = disk.new_file(), hashlib.md5(usedforsecurity=False)
    try:
        with path.open("wb") as target:
            for data in _pieces(found, start, end):
                digest.update(data)
                target.write(data)
            target.flush()
            os.fsync(target.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Body(path, end - start, digest.hexdigest())


def _pieces(found: Found, start: int, end: int) -> Iterator[bytes]:
    assert found.path is not None  # noqa: S101  objects of a disk have files
    left = end - start
    with open_at(found.path, start) as source:
        while left:
            data = source.read(min(left, _CHUNK_BYTES))
            if not data:
                raise AwsError("InternalError", "the source was cut while it was copied", 500)
            left -= len(data)
            yield data


def _check(headers: Mapping[str, str], found: Found) -> None:
    for name in headers:
        if name.startswith(_CONDITIONS) and not name.endswith("match"):
            raise AwsError("NotImplemented", f"{name[:60]} is not there in this S3", 501)
    etags = {name: headers.get(f"{_CONDITIONS}{name}") for name in ("match", "none-match")}
    is_same = {name: etag is not None and found.matches(etag) for name, etag in etags.items()}
    if (etags["match"] is not None and not is_same["match"]) or is_same["none-match"]:
        raise AwsError("PreconditionFailed", "At least one precondition did not hold", 412)
