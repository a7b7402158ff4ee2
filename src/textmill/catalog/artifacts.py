"""Model files at rest: the cache's layout, its manifests, checking and removal.

    HOME/models/ORG--NAME/COMMIT/          one revision of a hub repository, complete
    HOME/models/ORG--NAME/COMMIT.partial/  the same while it is being fetched
    HOME/models/ORG--NAME/refs.json        branch or tag → commit, as last asked of the hub
    HOME/datasets/ORG--NAME/COMMIT/        what was fetched of a data set (`datasets.py`), refs.json
    HOME/archives/SHA256/                  an unpacked model.tar.gz, by the archive's digest
    HOME/locks/NAME.lock                   one per artifact; empty, never removed
    HOME/engines/                          converted models; their engines own what is inside

A folder without `.partial` is complete: it gets its name by one rename, after its manifest
(`artifact.json`: every file with size and SHA-256) is on disk. Complete folders never change.
Commits and digests name contents, so two processes that make the same folder make equal ones.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct

from textmill.catalog.failures import DATASETS
from textmill.catalog.leases import PARTIAL, removing
from textmill.errors import CorruptModel, ModelError

MANIFEST = "artifact.json"
REFS = "refs.json"
CHUNK_BYTES = 1 << 20


class Source(StrEnum):
    """Where an artifact comes from."""

    EMBEDDED = "embedded"
    """It is part of the textmill package."""
    FOLDER = "folder"
    """A folder of the user's, used where it is."""
    ARCHIVE = "archive"
    """A model.tar.gz, unpacked into the cache."""
    HUB = "hub"
    """A model hub, downloaded into the cache."""


class FileEntry(Struct, frozen=True, kw_only=True):
    """One file of an artifact, as it was when the artifact was completed."""

    name: str
    size_bytes: int
    sha256: str


class ArtifactManifest(Struct, frozen=True, kw_only=True):
    """What a complete folder of the cache holds.

    name: repository id, or `archive:` and 12 digits of the archive's digest.
    revision: commit of the repository, or SHA-256 of the archive.
    origin: address of the hub, or path of the archive.
    """

    format: int = 1
    source: Source
    name: str
    revision: str
    origin: str
    files: tuple[FileEntry, ...]

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(file.size_bytes for file in self.files)


class Cached(Struct, frozen=True, kw_only=True):
    """One folder of the cache; `manifest` is None when it is incomplete or damaged."""

    name: str
    revision: str
    folder: Path
    size_bytes: int
    manifest: ArtifactManifest | None = None


def hub_folder(home: Path, repository: str, commit: str) -> Path:
    """Where a commit of a hub repository lives."""
    kind = "datasets" if repository.startswith(DATASETS) else "models"
    return home / kind / repository.removeprefix(DATASETS).replace("/", "--") / commit


def archive_folder(home: Path, sha256: str) -> Path:
    """Where an unpacked archive lives."""
    return home / "archives" / sha256


def partial_folder(folder: Path) -> Path:
    """Where the files of `folder` gather until it is complete."""
    return folder.with_name(folder.name + PARTIAL)


def remembered_commit(home: Path, repository: str, revision: str) -> str | None:
    """The commit that a branch or tag meant when the hub was last asked; None if never."""
    refs = _read_refs(hub_folder(home, repository, REFS))
    return refs.get(revision)


def remember_commit(home: Path, repository: str, revision: str, commit: str) -> None:
    """Record what a branch or tag means now."""
    path = hub_folder(home, repository, REFS)
    refs = {**_read_refs(path), revision: commit}
    draft = path.with_name(f"refs.{os.getpid()}.tmp")
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(refs)))
    draft.replace(path)


def _read_refs(path: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except msgspec.MsgspecError:
        # Only a hint where to look: an unreadable one costs a question to the hub.
        return {}


def read_manifest(folder: Path) -> ArtifactManifest | None:
    """The manifest of a folder; None if it has none. Raises `CorruptModel` if it is damaged."""
    path = folder / MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=ArtifactManifest)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except msgspec.MsgspecError as error:
        raise CorruptModel(
            f"{path} is damaged: {error}", hint=f"Remove the folder {folder} and fetch again."
        ) from error


def describe(folder: Path) -> tuple[FileEntry, ...]:
    """Every file of a flat folder with its size and digest, by name; reads all of them."""
    paths = sorted(p for p in folder.iterdir() if p.is_file() and p.name != MANIFEST)
    return tuple(
        FileEntry(name=p.name, size_bytes=p.stat().st_size, sha256=digest(p, "sha256"))
        for p in paths
    )


def seal(partial: Path, manifest: ArtifactManifest) -> Path:
    """Make a partial folder complete: its manifest, then its name. Returns the folder."""
    for name in (file.name for file in manifest.files):
        sync(partial / name)
    path = partial / MANIFEST
    path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    sync(path)
    folder = partial.with_name(partial.name.removesuffix(PARTIAL))
    partial.rename(folder)
    sync(folder.parent)
    return folder


def digest(path: Path, algorithm: str) -> str:
    """Hex digest of a file: `sha256`, or `git-sha1`, by which git names a file's content."""
    if algorithm == "git-sha1":
        # Names, not secures: the hub gives small files no other digest.
        hasher = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        hasher = hashlib.new(algorithm)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
    return hasher.hexdigest()


def sync(path: Path) -> None:
    """Make a file's content, or a folder's names, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def list_cached(home: Path) -> tuple[Cached, ...]:
    """Every model folder of the cache, complete or not, by name and revision."""
    found = []
    for folder in sorted([*home.glob("models/*/*"), *home.glob("archives/*")]):
        if folder.is_dir() and not folder.is_symlink():
            found.append(_cached(folder))
    return tuple(found)


def _cached(folder: Path) -> Cached:
    revision = folder.name.removesuffix(PARTIAL)
    if folder.parent.name == "archives":
        name = archive_name(revision)
    else:
        name = folder.parent.name.replace("--", "/", 1)
    try:
        manifest = None if folder.name.endswith(PARTIAL) else read_manifest(folder)
    except CorruptModel:
        manifest = None
    return Cached(
        name=name,
        revision=revision,
        folder=folder,
        size_bytes=folder_bytes(folder),
        manifest=manifest,
    )


def archive_name(sha256: str) -> str:
    """What an unpacked archive is called in lists."""
    return f"archive:{sha256[:12]}"


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder; 0 when there is none."""
    return sum(p.lstat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def find_cached(home: Path, name: str) -> tuple[Cached, ...]:
    """The folders of a repository (`org/name`), one of its commits (`org/name@commit`, shortened
    or not) or an archive (`archive:digits`)."""
    wanted, _, revision = name.partition("@")
    return tuple(
        c for c in list_cached(home) if c.name == wanted and c.revision.startswith(revision)
    )


def damages(cached: Cached) -> tuple[str, ...]:
    """Hash every file again and say what differs from the manifest, a sentence for each file."""
    if cached.manifest is None:
        return (f"{cached.folder}: incomplete or damaged; it has no readable {MANIFEST}",)
    found = []
    for file in cached.manifest.files:
        path = cached.folder / file.name
        if not path.is_file():
            found.append(f"{path}: missing")
        elif path.stat().st_size != file.size_bytes:
            found.append(f"{path}: {path.stat().st_size} bytes instead of {file.size_bytes}")
        elif digest(path, "sha256") != file.sha256:
            found.append(f"{path}: its content changed (SHA-256 differs)")
    known = {file.name for file in cached.manifest.files} | {MANIFEST}
    extra = sorted(p for p in cached.folder.iterdir() if p.name not in known)
    return (*found, *(f"{path}: does not belong there" for path in extra))


def remove(home: Path, cached: Cached) -> None:
    """Delete one folder of the cache.

    Raises `ModelError`, and deletes nothing, when a process holds its lease, and when the folder
    is not really inside of the cache.
    """
    folder = cached.folder
    if not folder.resolve().is_relative_to(home.resolve()):
        raise ModelError(
            f"{folder} leads out of the cache {home}; nothing was removed",
            hint="Somebody put a link there. Remove it by hand if it is not wanted.",
        )
    with removing(home, folder):
        doomed = folder
        if not folder.name.endswith(PARTIAL):
            # A removal that is interrupted must not leave a folder that looks complete.
            doomed = partial_folder(folder)
            shutil.rmtree(doomed, ignore_errors=True)
            folder.rename(doomed)
        shutil.rmtree(doomed)
    _remove_if_empty(folder.parent)


def _remove_if_empty(repository: Path) -> None:
    """Drop a repository's folder when only its refs are left."""
    if repository.parent.name == "models" and all(p.name == REFS for p in repository.iterdir()):
        shutil.rmtree(repository)
