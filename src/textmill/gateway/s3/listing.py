"""Pages of a bucket's keys, as ListObjects and ListObjectsV2 give them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from textmill.gateway.s3 import xml
from textmill.gateway.s3.disk import Disk, Note
from textmill.gateway.wire.faults import AwsError

MAX_KEYS = 1000
OWNER = {"ID": "textmill", "DisplayName": "textmill"}
PARAMETERS = (
    *("list-type", "prefix", "delimiter", "max-keys", "encoding-type", "fetch-owner", "x-id"),
    *("start-after", "continuation-token", "marker"),
)


Listed = Callable[[str, str], Iterable[tuple[str, Callable[[], Note | None]]]]
"""From a prefix and a key: the keys that begin with the one and come after the other, in order,
and what is known of each object; None for one that has gone meanwhile."""


def on_disk(disk: Disk, bucket: str) -> Listed:
    """The keys of a bucket. Raises `AwsError`."""
    disk.bucket(bucket)

    def listed(prefix: str, after: str) -> Iterator[tuple[str, Callable[[], Note | None]]]:
        found = disk.listing(bucket, prefix, after)
        return ((key, partial(disk.note, bucket, key, path)) for key, path in found)

    return listed


def page(bucket: str, listed: Listed, fields: Mapping[str, str]) -> bytes:
    """One page. Raises `AwsError`."""
    is_v2 = fields.get("list-type") == "2"
    prefix, delimiter = fields.get("prefix", ""), fields.get("delimiter", "")
    most = number(fields, "max-keys", MAX_KEYS)
    after = _after(fields) if is_v2 else fields.get("marker", "")
    objects: list[Note] = []
    folders: list[str] = []
    last, is_cut = "", False
    for key, note_of in listed(prefix, after):
        end = key.find(delimiter, len(prefix)) if delimiter else -1
        name = key[: end + len(delimiter)] if end >= 0 else key
        if name.encode() <= after.encode() or (folders and name == folders[-1]):
            continue
        if len(objects) + len(folders) == most:
            is_cut = most > 0
            break
        if end >= 0:
            folders.append(name)
        elif (note := note_of()) is not None:
            objects.append(note)
        last = name
    shown = encoder(fields)
    content: dict[str, Any] = {
        "Name": bucket,
        "Prefix": shown(prefix),
        "Delimiter": shown(delimiter) if delimiter else None,
        "MaxKeys": most,
        "EncodingType": fields.get("encoding-type"),
        "IsTruncated": str(is_cut).lower(),
        "Contents": [_entry(note, shown) for note in objects],
        "CommonPrefixes": [{"Prefix": shown(folder)} for folder in folders],
    }
    if is_v2:
        content["KeyCount"] = len(objects) + len(folders)
        content["NextContinuationToken"] = _token(last) if is_cut else None
    else:
        content["Marker"] = shown(after)
        content["NextMarker"] = shown(last) if is_cut and delimiter else None
    return xml.document("ListBucketResult", content)


def moment(seconds: float) -> str:
    """A time as S3's XML writes it."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def etag_of(data: bytes) -> str:
    """The ETag of a body, in its quotes."""
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _entry(note: Note, shown: Any) -> dict[str, Any]:
    return {
        "Key": shown(note.key),
        "LastModified": moment(note.modified_ns / 1e9),
        "ETag": f'"{note.etag}"',
        "Size": note.size,
        "StorageClass": "STANDARD",
    }


def encoder(fields: Mapping[str, str]) -> Any:
    """How keys are shown. Raises `AwsError`."""
    kind = fields.get("encoding-type")
    if kind not in (None, "url"):
        raise AwsError("InvalidArgument", "encoding-type is url, or not given")
    return (lambda key: quote(key, safe="/-_.~")) if kind else (lambda key: key)


def number(fields: Mapping[str, str], name: str, most: int | None) -> int:
    """A field of a query: `most` where it is not given or larger; without it, 0 and any number.

    Raises `AwsError`.
    """
    text = fields.get(name)
    if text is None:
        return most or 0
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise AwsError("InvalidArgument", f"{name} is not a number")
    return int(text) if most is None else min(int(text), most)


def _token(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _after(fields: Mapping[str, str]) -> str:
    token = fields.get("continuation-token")
    if token is None:
        return fields.get("start-after", "")
    try:
        return base64.urlsafe_b64decode(token.encode()).decode()
    except ValueError as error:
        raise AwsError("InvalidArgument", "The continuation token is not correct") from error
