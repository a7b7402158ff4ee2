"""Multipart uploads: parts in any order and at once, an object when they are complete."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from textmill.gateway.s3.disk import Body, Condition, Disk, no_such_upload
from textmill.gateway.s3.keys import path_of
from textmill.gateway.wire.faults import AwsError

MAX_PARTS = 10_000
_ABOUT = "about.json"


class About(Struct, frozen=True, kw_only=True):
    """What an upload was begun with."""

    bucket: str
    key: str
    content_type: str
    metadata: dict[str, str]


class Upload(Struct, frozen=True, kw_only=True):
    """An upload that is not complete. begun: seconds since 1970."""

    id: str
    key: str
    begun: float


class Part(Struct, frozen=True, kw_only=True):
    """A part that was received. modified: seconds since 1970."""

    number: int
    etag: str
    size: int
    modified: float


class Uploads:
    """The uploads of a disk that are not complete."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def begin(self, bucket: str, key: str, *, content_type: str, metadata: dict[str, str]) -> str:
        """A new upload's id. Raises `AwsError` if there could be no such object."""
        path_of(self._disk.bucket(bucket), key)
        upload = self._disk.new_upload()
        about = About(bucket=bucket, key=key, content_type=content_type, metadata=metadata)
        (self._disk.upload_folder(upload) / _ABOUT).write_bytes(msgspec.json.encode(about))
        return upload

    def check(self, bucket: str, key: str, fields: Mapping[str, str]) -> int:
        """The number of a part that is to come. Raises `AwsError`."""
        self._about(bucket, key, fields["uploadId"])
        text = fields.get("partNumber", "")
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= MAX_PARTS:
            raise AwsError("InvalidArgument", f"a part's number is 1 to {MAX_PARTS}")
        return int(text)

    def keep(self, upload: str, number: int, body: Body) -> str:
        """Keep a part, over one of its number. Returns its ETag."""
        folder = self._disk.upload_folder(upload)
        # The digest is in the name: a part and what is known of it are replaced as one.
        new = folder / f"{number:05d}-{body.md5}"
        with _gone():
            body.path.replace(new)
        for other in folder.glob(f"{number:05d}-*"):
            if other != new:
                other.unlink(missing_ok=True)
        return body.md5

    def complete(
        self,
        bucket: str,
        key: str,
        fields: Mapping[str, str],
        parts: Sequence[Mapping[str, str]],
        condition: Condition,
    ) -> str:
        """Make an object of the parts listed. Returns its ETag. Raises `AwsError`."""
        upload = fields["uploadId"]
        about = self._about(bucket, key, upload)
        folder = self._disk.upload_folder(upload)
        files = [_file(folder, part) for part in parts]
        if not files:
            raise AwsError("MalformedXML", "no part is listed")
        if [file.name for file in files] != sorted({file.name for file in files}):
            raise AwsError("InvalidPartOrder", "the parts are not listed in order")
        digests = b"".join(bytes.fromhex(file.name.partition("-")[2]) for file in files)
        md5 = hashlib.md5(digests, usedforsecurity=False).hexdigest()
        etag = f"{md5}-{len(files)}"
        with _gone():
            size = sum(file.stat().st_size for file in files)
        body = Body(self._disk.new_file(), size, etag)
        try:
            with _gone():
                _join(files, body.path)
            self._disk.put(
                bucket,
                key,
                body,
                content_type=about.content_type,
                metadata=about.metadata,
                condition=condition,
            )
        finally:
            body.path.unlink(missing_ok=True)
        _forget(folder)
        return etag

    def abort(self, bucket: str, key: str, fields: Mapping[str, str]) -> None:
        """Forget an upload."""
        self._about(bucket, key, fields["uploadId"])
        _forget(self._disk.upload_folder(fields["uploadId"]))

    def listed(self, bucket: str) -> Iterator[Upload]:
        """The uploads of a bucket. Raises `AwsError` if there is none of that name."""
        self._disk.bucket(bucket)
        for folder in self._disk.upload_folders():
            path = folder / _ABOUT
            with suppress(OSError, msgspec.MsgspecError):  # gone, or not begun: nobody has its id
                about = msgspec.json.decode(path.read_bytes(), type=About)
                if about.bucket == bucket:
                    yield Upload(id=folder.name, key=about.key, begun=path.stat().st_mtime)

    def received(self, bucket: str, key: str, upload: str) -> list[Part]:
        """The parts of an upload, by number. Raises `AwsError`."""
        self._about(bucket, key, upload)
        found = []
        for path in sorted(self._disk.upload_folder(upload).glob("?????-*")):
            with suppress(FileNotFoundError):  # another of its number has come
                status, (number, _, etag) = path.stat(), path.name.partition("-")
                found.append(
                    Part(
                        number=int(number),
                        etag=etag,
                        size=status.st_size,
                        modified=status.st_mtime,
                    )
                )
        return found

    def _about(self, bucket: str, key: str, upload: str) -> About:
        path = self._disk.upload_folder(upload) / _ABOUT
        with _gone():
            about = msgspec.json.decode(path.read_bytes(), type=About)
        if (about.bucket, about.key) != (bucket, key):
            raise no_such_upload()
        return about


@contextmanager
def _gone() -> Iterator[None]:
    """What another request has completed or aborted meanwhile is no upload any more."""
    try:
        yield
    except FileNotFoundError as error:
        raise no_such_upload() from error


def _forget(folder: Path) -> None:
    """First that it is an upload, so that none lacks parts that were received."""
    (folder / _ABOUT).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _file(folder: Path, part: Mapping[str, str]) -> Path:
    """A part that is listed, as it was received."""
    number, etag = part.get("PartNumber", ""), part.get("ETag", "").strip('"')
    if not number.isascii() or not number.isdigit() or not etag.isalnum():
        raise AwsError("MalformedXML", "a part has no number or no ETag")
    path = folder / f"{int(number[:6]):05d}-{etag}"
    if not path.is_file():
        if not (folder / _ABOUT).exists():
            raise no_such_upload()
        raise AwsError("InvalidPart", f"part {number} was not received, or is another")
    return path


def _join(files: Sequence[Path], path: Path) -> None:
    with path.open("wb") as target:
        for file in files:
            with file.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
