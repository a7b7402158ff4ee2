"""From a hub, or from an archive, into the cache: whole and checked, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from textmill.catalog import hub as hubs
from textmill.catalog.artifacts import (
    ArtifactManifest,
    FileEntry,
    Source,
    archive_folder,
    archive_name,
    describe,
    digest,
    hub_folder,
    partial_folder,
    read_manifest,
    remember_commit,
    seal,
)
from textmill.catalog.failures import disk, offline
from textmill.catalog.hub import Hub, RemoteFile, Snapshot
from textmill.catalog.leases import building
from textmill.catalog.selection import choose_files
from textmill.errors import CorruptModel, ModelError, ModelNotFound


class Transfer(Struct, frozen=True, kw_only=True):
    """How far a fetch is: bytes of all files that it needs, those already there included."""

    file: str
    done_bytes: int
    total_bytes: int


Progress = Callable[[Transfer], None]


def fetch(
    repository: str,
    revision: str,
    *,
    home: Path,
    hub: Hub,
    progress: Progress | None = None,
) -> Path:
    """Bring what `revision` of a hub repository is now into the cache; the folder, complete.

    Waits while another process fetches the same. Raises `ModelError` (`ModelNotFound` when there
    is no such repository or revision); what has arrived until then is kept, and a later call goes
    on from there.
    """
    if hub.offline:
        raise offline(repository, revision)
    snapshot = hubs.look_up(hub, repository, revision)
    folder = hub_folder(home, repository, snapshot.commit)
    if is_complete(folder):  # it never changes again, and a running job holds its lock
        remember_commit(home, repository, revision, snapshot.commit)
        return folder
    try:
        with building(home, folder):
            if not is_complete(folder):
                _fill(folder, snapshot, hub, progress)
        remember_commit(home, repository, revision, snapshot.commit)
    except OSError as error:
        raise disk(error) from error
    return folder


def unpack(archive: Path, *, home: Path) -> Path:
    """Unpack a model.tar.gz into the cache, once for each content; the folder, complete.

    Raises `ModelNotFound` when it cannot be read, and what `unpack_model_archive` raises.
    """
    try:
        sha256 = digest(archive, "sha256")
    except OSError as error:
        raise ModelNotFound(f"{archive} cannot be read: {error.strerror}") from error
    folder = archive_folder(home, sha256)
    if is_complete(folder):
        return folder
    try:
        with building(home, folder):
            if not is_complete(folder):
                _unpack(archive, sha256, folder)
    except OSError as error:
        raise disk(error) from error
    return folder


def is_complete(folder: Path) -> bool:
    """Whether a folder of the cache is there, complete.

    Raises `CorruptModel` when it should be complete and is not: its manifest cannot be read, or
    a file is missing or has another size. Contents are `artifacts.damages`'s part.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return False
    for file in manifest.files:
        path = folder / file.name
        if not path.is_file() or path.stat().st_size != file.size_bytes:
            raise CorruptModel(
                f"{path} is missing or was changed after it was fetched",
                hint=f"textmill models remove {manifest.name}, then fetch it again.",
            )
    return True


def _unpack(archive: Path, sha256: str, folder: Path) -> None:
    """Unpack beside `folder`, then let it appear. Its lock must be held."""
    from textmill.catalog.archive import unpack_model_archive

    partial = partial_folder(folder)
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        unpack_model_archive(archive, partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    manifest = ArtifactManifest(
        source=Source.ARCHIVE,
        name=archive_name(sha256),
        revision=sha256,
        origin=str(archive.absolute()),
        files=describe(partial),
    )
    seal(partial, manifest)


def _fill(folder: Path, snapshot: Snapshot, hub: Hub, progress: Progress | None) -> None:
    """Download and check every file, then let the folder appear. Its lock must be held."""
    partial = partial_folder(folder)
    partial.mkdir(parents=True, exist_ok=True)
    names = choose_files(snapshot.repository, snapshot.names)
    files = [hubs.inspect(hub, snapshot, name) for name in names]
    there = sum(p.stat().st_size for p in partial.iterdir())
    check_space(partial, sum(file.size_bytes for file in files) - there, "model")
    counter = Counter(sum(file.size_bytes for file in files), progress)
    entries = tuple(bring(partial, snapshot, file, hub, counter) for file in files)
    manifest = ArtifactManifest(
        source=Source.HUB,
        name=snapshot.repository,
        revision=snapshot.commit,
        origin=hub.address,
        files=entries,
    )
    seal(partial, manifest)


def bring(
    partial: Path, snapshot: Snapshot, file: RemoteFile, hub: Hub, counter: Counter
) -> FileEntry:
    """One file, checked, under its final name; an earlier attempt may have brought it."""
    path = partial / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    counter.start(file.name)
    if path.exists() and digest(path, file.algorithm) == file.digest:
        counter.add(file.size_bytes)
    else:
        part = partial / f"{file.name}.part"
        hubs.borrow(snapshot, file, part)
        hubs.download(hub, snapshot, file, part, counter.add)
        part.replace(path)
    sha256 = file.digest if file.algorithm == "sha256" else digest(path, "sha256")
    return FileEntry(name=file.name, size_bytes=file.size_bytes, sha256=sha256)


def check_space(folder: Path, needed_bytes: int, what: str) -> None:
    """Raise `ModelError` before the first byte when the disk cannot take them all."""
    free = shutil.disk_usage(folder).free
    if needed_bytes > free:
        raise ModelError(
            f"no room for this {what}: {needed_bytes:,} bytes to fetch, {free:,} bytes free in "
            f"{folder}",
            hint="Free some space, or set TEXTMILL_HOME to a folder on another disk.",
        )


class Counter:
    """Adds up the bytes of all files for the progress display."""

    def __init__(self, total_bytes: int, progress: Progress | None) -> None:
        self.file, self.done_bytes, self.total_bytes = "", 0, total_bytes
        self.progress = progress or _quiet

    def start(self, file: str) -> None:
        """Name the file that is fetched from now on."""
        self.file = file
        self.add(0)

    def add(self, received_bytes: int) -> None:
        """Count what arrived, and tell."""
        self.done_bytes += received_bytes
        self.progress(
            Transfer(file=self.file, done_bytes=self.done_bytes, total_bytes=self.total_bytes)
        )


def _quiet(_: Transfer) -> None:
    """For callers who do not want to know."""
