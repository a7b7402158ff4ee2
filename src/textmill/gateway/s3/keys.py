"""Keys as paths of files, one to one, so that a folder of files is a bucket and the other way.

A key is its path wherever it can be. Parts that are `.` or `..`, control characters and `%` are
written with `%` and hexadecimal digits, an empty part as `%`: so a key that ends with `/` is the
file `%` of its folder.
"""

from __future__ import annotations

import re
from pathlib import Path

from textmill.gateway.wire.faults import AwsError
from textmill.words import written

MAX_KEY_BYTES = 1024
MAX_NAME_BYTES = 240
"""Of one part, so that a file system takes it."""

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ESCAPED = re.compile(r"%([0-9a-f]{2})")
_UNFIT = re.compile(r"[\x00-\x1f\x7f%]")


def check_bucket(name: str) -> str:
    """The name of a bucket. Raises `AwsError`."""
    if not _BUCKET.fullmatch(name) or ".." in name:
        raise AwsError("InvalidBucketName", f"{written(name[:100])} is not the name of a bucket")
    return name


def path_of(root: Path, key: str) -> Path:
    """Where a key's file is, below `root` and nowhere else. Raises `AwsError`."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError as error:
        raise AwsError("InvalidURI", "the key is no UTF-8") from error
    if not 0 < size <= MAX_KEY_BYTES:
        raise AwsError("KeyTooLongError", f"a key has 1 to {MAX_KEY_BYTES} bytes")
    parts = [_encode(part) for part in key.split("/")]
    if any(len(part.encode()) > MAX_NAME_BYTES for part in parts):
        raise AwsError(
            "KeyTooLongError", f"a part of a key has at most {MAX_NAME_BYTES} bytes here"
        )
    return root.joinpath(*parts)


def part_of(name: str) -> str | None:
    """The part of a key that a file or folder of that name stands for; None for one of no key."""
    try:
        if len(name.encode()) > MAX_NAME_BYTES:
            return None
    except UnicodeEncodeError:
        return None
    if not _UNFIT.search(name):
        return name
    part = _decode(name)
    return part if _encode(part) == name else None


def _encode(part: str) -> str:
    if part in {"", ".", ".."}:
        return "%2e" * len(part) or "%"
    return _UNFIT.sub(lambda match: f"%{ord(match[0]):02x}", part)


def _decode(name: str) -> str:
    if name == "%":
        return ""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), name)


def folder_of(root: Path, prefix: str) -> Path:
    """The deepest folder that all keys with a prefix are in."""
    return root.joinpath(*map(_encode, prefix.split("/")[:-1]))
