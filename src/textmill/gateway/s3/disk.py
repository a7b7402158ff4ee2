"""Buckets as folders: an object is a file, and what S3 knows besides stands in a note of its own.

ROOT/BUCKET/KEY              the objects, as `s3.keys` names their files
ROOT/.textmill/notes/…       ETag, content type and metadata of an object, by the digest of its key
ROOT/.textmill/uploads/ID/   multipart uploads that are not complete
ROOT/.textmill/new/          bodies that are being received

A note holds for the file that it was written for (size and time). A file that somebody else put
there is an object too: its ETag is computed when it is asked for.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from textmill.gateway.s3.keys import check_bucket, folder_of, key_of, path_of
from textmill.gateway.wire.faults import AwsError

OURS = ".textmill"
OCTETS = "binary/octet-stream"
_CHUNK_BYTES = 1 << 20


class Note(Struct, frozen=True, kw_only=True):
    """What is known of an object besides its bytes."""

    key: str
    size: int
    modified_ns: int
    etag: str
    content_type: str = OCTETS
    metadata: dict[str, str] = {}


class Found(Struct, frozen=True, kw_only=True):
    """An object as it stands. modified: seconds since 1970."""

    path: Path | None
    note: Note

    @property
    def modified(self) -> float:
        """When it was written."""
        return self.note.modified_ns / 1e9


class Condition(Struct, frozen=True):
    """What must hold for a write: the key is free, or its object has that ETag."""

    if_none_match: str | None = None
    if_match: str | None = None


class Body(Struct):
    """A body that was received whole into a file."""

    path: Path
    size: int
    md5: str


class Disk:
    """All buckets of a store. Thread-safe; no object is ever seen half-written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._ours = root / OURS
        self._new = self._ours / "new"
        shutil.rmtree(self._new, ignore_errors=True)  # bodies that a killed gateway was receiving
        for name in ("new", "notes", "uploads"):
            (self._ours / name).mkdir(parents=True, exist_ok=True)
        self._mutex = threading.Lock()

    def buckets(self) -> list[tuple[str, float]]:
        """Their names, and when they were made."""
        found = [p for p in self.root.iterdir() if p.is_dir() and not p.name.startswith(".")]
        return sorted((path.name, path.stat().st_ctime) for path in found)

    def bucket(self, name: str) -> Path:
        """A bucket's folder. Raises `AwsError` if there is none."""
        path = self.root / check_bucket(name)
        if not path.is_dir() or path.is_symlink():
            raise AwsError("NoSuchBucket", "The specified bucket does not exist", 404)
        return path

    def has_bucket(self, name: str) -> bool:
        """Whether there is one of that name."""
        return (self.root / check_bucket(name)).is_dir()

    def make_bucket(self, name: str) -> None:
        """Idempotent, as in us-east-1."""
        (self.root / check_bucket(name)).mkdir(exist_ok=True)

    def remove_bucket(self, name: str) -> None:
        """Raises `AwsError` if it is not empty."""
        folder = self.bucket(name)
        with self._mutex:
            if next(self._files(folder), None) is not None:
                raise AwsError("BucketNotEmpty", "The bucket you tried to delete is not empty", 409)
            shutil.rmtree(folder)

    def find(self, bucket: str, key: str) -> Found | None:
        """An object, or None."""
        path = path_of(self.bucket(bucket), key)
        return self._found(bucket, key, path)

    def new_file(self) -> Path:
        """A place for a body that is to be received."""
        return self._new / secrets.token_hex(16)

    def put(
        self,
        bucket: str,
        key: str,
        body: Body,
        *,
        etag: str | None = None,
        content_type: str = OCTETS,
        metadata: dict[str, str],
        condition: Condition = Condition(),  # noqa: B008  it is frozen
    ) -> Note:
        """Make a body an object. Raises `AwsError` if a condition does not hold."""
        folder = self.bucket(bucket)
        path = path_of(folder, key)
        with self._mutex:
            self._check(condition, self._found(bucket, key, path))
            self._make_way(path, folder)
            now = time.time_ns()
            os.utime(body.path, ns=(now, now))
            note = Note(
                key=key,
                size=body.size,
                modified_ns=body.path.stat().st_mtime_ns,
                etag=etag or body.md5,
                content_type=content_type,
                metadata=metadata,
            )
            self._write_note(bucket, note)
            body.path.replace(path)
        return note

    def remove(self, bucket: str, key: str) -> None:
        """Idempotent. Folders that this empties go too."""
        folder = self.bucket(bucket)
        path = path_of(folder, key)
        with self._mutex:
            if path.is_file():
                path.unlink()
            self._note_path(bucket, key).unlink(missing_ok=True)
            for parent in path.parents:
                if parent == folder or not folder_is_empty(parent):
                    break
                parent.rmdir()

    def listing(self, bucket: str, prefix: str, after: str) -> Iterator[tuple[str, Path]]:
        """Keys and files by key, those that begin with `prefix` and come after `after`."""
        folder = self.bucket(bucket)
        files = self._files(folder_of(folder, prefix))
        keyed = ((key_of(folder, path), path) for path in files)
        fitting = [
            (key, path) for key, path in keyed if key and key.startswith(prefix) and key > after
        ]
        fitting.sort(key=lambda pair: pair[0].encode())
        yield from fitting

    def note(self, bucket: str, key: str, path: Path) -> Note | None:
        """What is known of an object that a listing found; None if it has gone."""
        found = self._found(bucket, key, path)
        return None if found is None else found.note

    def upload_folder(self, upload: str) -> Path:
        """Of a multipart upload. Raises `AwsError` for an id that was not given out."""
        path = self._ours / "uploads" / upload
        if not upload.isalnum() or not upload.isascii() or not path.is_dir():
            raise AwsError("NoSuchUpload", "The specified upload does not exist", 404)
        return path

    def new_upload(self) -> str:
        """The id of a new multipart upload."""
        upload = secrets.token_hex(16)
        (self._ours / "uploads" / upload).mkdir()
        return upload

    def _found(self, bucket: str, key: str, path: Path) -> Found | None:
        try:
            if path.is_symlink() or not path.is_file():
                return None
            status = path.stat()
        except OSError:
            return None
        note = self._read_note(bucket, key)
        if note is None or (note.size, note.modified_ns) != (status.st_size, status.st_mtime_ns):
            etag = _md5_of(path)
            note = Note(key=key, size=status.st_size, modified_ns=status.st_mtime_ns, etag=etag)
            self._write_note(bucket, note)
        return Found(path=path, note=note)

    def _check(self, condition: Condition, there: Found | None) -> None:
        failed = AwsError("PreconditionFailed", "At least one precondition did not hold", 412)
        if condition.if_none_match is not None and there is not None:
            raise failed
        if condition.if_match is not None:
            if there is None:
                raise AwsError("NoSuchKey", "The specified key does not exist.", 404)
            if condition.if_match.strip('"') != there.note.etag:
                raise failed

    def _make_way(self, path: Path, folder: Path) -> None:
        """The folders of a key. A file cannot be where a folder has to be, nor the other way."""
        if path.is_dir():
            raise _in_the_way(path, folder)
        for parent in reversed(path.parents):
            if folder in parent.parents:
                if parent.is_symlink() or (parent.exists() and not parent.is_dir()):
                    raise _in_the_way(parent, folder)
                parent.mkdir(exist_ok=True)

    def _files(self, folder: Path) -> Iterator[Path]:
        for top, _, files in os.walk(folder):
            for name in files:
                path = Path(top) / name
                if not path.is_symlink():
                    yield path

    def _note_path(self, bucket: str, key: str) -> Path:
        digest = hashlib.sha256(f"{bucket}/{key}".encode()).hexdigest()
        return self._ours / "notes" / digest[:2] / f"{digest}.json"

    def _read_note(self, bucket: str, key: str) -> Note | None:
        try:
            return msgspec.json.decode(self._note_path(bucket, key).read_bytes(), type=Note)
        except (OSError, msgspec.MsgspecError):
            return None

    def _write_note(self, bucket: str, note: Note) -> None:
        path = self._note_path(bucket, note.key)
        path.parent.mkdir(exist_ok=True)
        new = self.new_file()
        new.write_bytes(msgspec.json.encode(note))
        new.replace(path)


def folder_is_empty(path: Path) -> bool:
    """Whether a folder has nothing in it."""
    return next(path.iterdir(), None) is None


def _in_the_way(path: Path, folder: Path) -> AwsError:
    name = path.relative_to(folder).as_posix()
    return AwsError(
        "InvalidRequest",
        f"{name!r} cannot be an object and the beginning of other keys here, which are files",
        409,
    )


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def open_at(path: Path, start: int) -> IO[bytes]:
    """A file, from a byte on."""
    file = path.open("rb")
    file.seek(start)
    return file
