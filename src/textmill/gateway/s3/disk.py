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
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec
from msgspec import Struct

from textmill.gateway.s3.keys import MAX_KEY_BYTES, check_bucket, folder_of, part_of, path_of
from textmill.gateway.wire.faults import AwsError
from textmill.words import written

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

    def matches(self, etag: str) -> bool:
        """Whether a condition's ETag is its; `*` is any object's."""
        return etag == "*" or etag.strip('"') == self.note.etag


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

    def make_bucket(self, name: str) -> None:
        """Idempotent, as in us-east-1."""
        (self.root / check_bucket(name)).mkdir(exist_ok=True)

    def remove_bucket(self, name: str) -> None:
        """Raises `AwsError` if it is not empty."""
        folder = self.bucket(name)
        with self._mutex:
            if any(names for _, _, names in os.walk(folder)):
                raise AwsError("BucketNotEmpty", "The bucket you tried to delete is not empty", 409)
            shutil.rmtree(folder)

    def find(self, bucket: str, key: str) -> Found | None:
        """An object, or None."""
        folder = self.bucket(bucket)
        path = path_of(folder, key)
        return self._found(bucket, key, path) if _is_inside(folder, path) else None

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
        if not _is_inside(folder, path):
            return
        with self._mutex:
            if path.is_file():
                path.unlink()
            self._note_path(bucket, key).unlink(missing_ok=True)
            for parent in path.parents:
                if parent == folder:
                    break
                with suppress(OSError):  # it is not there, no folder, or not empty
                    parent.rmdir()

    def listing(self, bucket: str, prefix: str, after: str) -> Iterator[tuple[str, Path]]:
        """Keys and files by key, those that begin with `prefix` and come after `after`.

        Only folders that have such keys are looked at, and each when it is come to.
        """
        folder = self.bucket(bucket)
        start = folder_of(folder, prefix)
        if _is_inside(folder, start / "any"):
            yield from _walk(start, prefix[: prefix.rfind("/") + 1], prefix, after)

    def note(self, bucket: str, key: str, path: Path) -> Note | None:
        """What is known of an object that a listing found; None if it has gone."""
        found = self._found(bucket, key, path)
        return None if found is None else found.note

    def upload_folder(self, upload: str) -> Path:
        """Of a multipart upload. Raises `AwsError` for an id that was not given out."""
        path = self._ours / "uploads" / upload
        if not upload.isalnum() or not upload.isascii() or not path.is_dir():
            raise no_such_upload()
        return path

    def upload_folders(self) -> list[Path]:
        """Of all multipart uploads."""
        return list((self._ours / "uploads").iterdir())

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
            if not there.matches(condition.if_match):
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


def no_such_upload() -> AwsError:
    """It was completed or aborted, or never begun."""
    return AwsError("NoSuchUpload", "The specified upload does not exist", 404)


def _is_inside(folder: Path, path: Path) -> bool:
    """Whether no link leads to the path from the bucket's folder: what is behind one is no key."""
    below = path.parent.relative_to(folder)
    return Path(os.path.realpath(path.parent)) == Path(os.path.realpath(folder), below)


def _walk(folder: Path, begun: str, prefix: str, after: str) -> Iterator[tuple[str, Path]]:
    """The keys of a folder's files in order. begun: what the keys of all of them begin with."""
    found = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            part = None if entry.is_symlink() else part_of(entry.name)
            if part is None:
                continue
            key = f"{begun}{part}/" if entry.is_dir() else f"{begun}{part}"
            if _may_have(key, prefix, after, is_folder=entry.is_dir()):
                found.append((key.encode(), key, entry))
    found.sort(key=lambda item: item[0])
    for _, key, entry in found:
        if entry.is_dir():
            yield from _walk(Path(entry.path), key, prefix, after)
        else:
            yield key, Path(entry.path)


def _may_have(key: str, prefix: str, after: str, *, is_folder: bool) -> bool:
    """Whether a key, or one of those that begin with a folder's, is wanted."""
    if not key or len(key.encode()) > MAX_KEY_BYTES:
        return False
    if not key.startswith(prefix) and not (is_folder and prefix.startswith(key)):
        return False
    return key.encode() > after.encode() or (is_folder and after.startswith(key))


def _in_the_way(path: Path, folder: Path) -> AwsError:
    name = path.relative_to(folder).as_posix()
    return AwsError(
        "InvalidRequest",
        f"{written(name)} cannot be an object and the beginning of other keys: here they are files",
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
