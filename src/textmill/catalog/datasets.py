"""Data sets: from `hf://datasets/…`, or from a folder, to files on this machine.

    hf://datasets/ORG/NAME[@REVISION][/PATH]

`data_files.py` says what PATH may be. REVISION is a branch, tag or commit; `~parquet` is the
branch of the hub's own conversion, `refs/convert/parquet`; other slashes are written `%2F`.

What was fetched is used as it is, without asking the hub, so that a job means the same data when it
is resumed, and a score the same as the job: a branch means the commit that it meant first, until
`refresh`. The cache holds a folder for each commit:

    HOME/datasets/ORG--NAME/COMMIT/dataset.json   the names of all files; size and SHA-256 of ours
    HOME/datasets/ORG--NAME/COMMIT/files/…        under their own names, whole and checked
    HOME/datasets/ORG--NAME/COMMIT/files/….part   on the way

A file gets its name when its content has the digest that the hub announced.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from textmill.catalog import hub as hubs
from textmill.catalog.artifacts import (
    FileEntry,
    hub_folder,
    remember_commit,
    remembered_commit,
    sync,
)
from textmill.catalog.data_files import PARQUET, choose_data_files
from textmill.catalog.failures import DATASETS, disk, offline
from textmill.catalog.fetch import Counter, Progress, bring, check_space
from textmill.catalog.hub import COMMIT, Hub, Snapshot
from textmill.catalog.leases import building
from textmill.errors import InputError, ModelError

SCHEME = "hf://"
INDEX = "dataset.json"
FILES = "files"
ALIASES = {"~parquet": "refs/convert/parquet"}
_ADDRESS = re.compile(
    r"hf://datasets/(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)"
    r"(?:@(?P<revision>refs/(?:convert/[^/@]+|pr/\d+)|[^/@]+))?(?:/(?P<path>.*))?",
    re.ASCII | re.DOTALL,
)


class Address(Struct, frozen=True, kw_only=True):
    """An `hf://datasets/` address taken apart.

    text: without the path, as it was written. name: `ORG/NAME`. path: empty for none.
    """

    text: str
    name: str
    revision: str
    path: str

    @property
    def repository(self) -> str:
        """As `catalog.hub` calls it."""
        return DATASETS + self.name


class DataSet(Struct, frozen=True, kw_only=True):
    """Files of a data set, on this machine and whole.

    name: `ORG/NAME`. revision: as asked for. commit: what it meant.
    files: where they are, in order; names: their addresses, for messages and manifests.
    """

    name: str
    revision: str
    commit: str
    files: tuple[Path, ...]
    names: tuple[str, ...]


class _Index(Struct, frozen=True, kw_only=True):
    """What the cache knows about a commit: the names of all its files, and those it has."""

    format: int = 1
    names: tuple[str, ...]
    files: tuple[FileEntry, ...] = ()


def is_dataset(name: str) -> bool:
    """Whether an input's name is an address on a hub rather than a path."""
    return name.startswith(SCHEME)


def parse_dataset(address: str) -> Address:
    """Take an address apart. Raises `InputError` when it is none."""
    found = _ADDRESS.fullmatch(address)
    if found is None or "--" in found["name"]:
        raise InputError(
            f"{address} is not the address of a data set",
            hint="hf://datasets/ORG/NAME[@REVISION][/PATH], for example "
            "hf://datasets/abisee/cnn_dailymail/3.0.0/test",
        )
    written = found["revision"]
    revision = "main" if written is None else ALIASES.get(written, unquote(written))
    text = f"hf://datasets/{found['name']}" + ("" if written is None else f"@{written}")
    path = (found["path"] or "").rstrip("/")
    return Address(text=text, name=found["name"], revision=revision, path=path)


def fetch_dataset(
    address: str,
    *,
    home: Path,
    hub: Hub | None = None,
    progress: Progress | None = None,
    refresh: bool = False,
) -> DataSet:
    """Bring the files that an address means into the cache, unless they are there.

    home: the cache (`Settings.home`). refresh: ask the hub what the revision means now.
    Raises `InputError`; what has arrived until then is kept, and a later call goes on from there.
    """
    target = parse_dataset(address)
    try:
        return _fetch(target, home, hub or Hub(), progress, refresh)
    except ModelError as error:
        raise InputError(error.message, hint=error.hint) from error
    except OSError as error:
        failure = disk(error)
        raise InputError(failure.message, hint=failure.hint) from error


def expand_folder(path: Path) -> list[Path]:
    """The Parquet files below a folder, sorted by path.

    Names that begin with `.` or `_` are passed over, as their writers (Spark, Hive) want it.
    Raises `InputError`, naming what there is, for a folder without any.
    """
    found: list[Path] = []
    others: list[str] = []
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        for name in files:
            if name.endswith(PARQUET) and not name.startswith((".", "_")):
                found.append(Path(folder) / name)
            else:
                others.append(str((Path(folder) / name).relative_to(path)))
    if found:
        return sorted(found)
    listed = ", ".join(sorted(others)[:5]) + (", …" if len(others) > 5 else "")
    raise InputError(
        f"the folder {path} has no Parquet files" + (f"; it has {listed}" if others else ""),
        hint=f"name the files themselves: '{path}/*.jsonl'",
    )


def _fetch(
    target: Address, home: Path, hub: Hub, progress: Progress | None, refresh: bool
) -> DataSet:
    snapshot = None if refresh and not hub.offline else _known(target, home)
    if snapshot is not None:
        names = choose_data_files(target.text, snapshot.names, target.path)
        if _missing(hub_folder(home, target.repository, snapshot.commit), names) == ():
            return _data_set(target, home, snapshot.commit, names)
    if hub.offline:
        raise offline(target.repository, target.revision)
    snapshot = snapshot or hubs.look_up(hub, target.repository, target.revision)
    names = choose_data_files(target.text, snapshot.names, target.path)
    folder = hub_folder(home, target.repository, snapshot.commit)
    with building(home, folder):
        _fill(folder, snapshot, _missing(folder, names), hub, progress)
    remember_commit(home, target.repository, target.revision, snapshot.commit)
    return _data_set(target, home, snapshot.commit, names)


def _known(target: Address, home: Path) -> Snapshot | None:
    """What the revision meant when the hub was last asked; None if it never was."""
    commit = target.revision if COMMIT.fullmatch(target.revision) else None
    commit = commit or remembered_commit(home, target.repository, target.revision)
    index = _read_index(hub_folder(home, target.repository, commit)) if commit else None
    if commit is None or index is None:
        return None
    return Snapshot(repository=target.repository, commit=commit, names=index.names)


def _missing(folder: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the files that the cache has not, or not in the size that they had."""
    index = _read_index(folder)
    sizes = {file.name: file.size_bytes for file in index.files} if index else {}
    return tuple(name for name in names if sizes.get(name) != _size(folder / FILES / name))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _fill(
    folder: Path, snapshot: Snapshot, names: tuple[str, ...], hub: Hub, progress: Progress | None
) -> None:
    """Download and check files, each entered when it is on disk. The lock must be held."""
    place = folder / FILES
    place.mkdir(parents=True, exist_ok=True)
    index = _read_index(folder) or _Index(names=snapshot.names)
    files = [hubs.inspect(hub, snapshot, name) for name in names]
    there = sum(max(0, _size(place / f"{file.name}.part")) for file in files)
    check_space(place, sum(file.size_bytes for file in files) - there, "data set")
    counter = Counter(sum(file.size_bytes for file in files), progress)
    for file in files:
        entry = bring(place, snapshot, file, hub, counter)
        sync(place / file.name)
        sync((place / file.name).parent)
        kept = tuple(known for known in index.files if known.name != entry.name)
        index = _Index(names=index.names, files=(*kept, entry))
        _write_index(folder, index)


def _read_index(folder: Path) -> _Index | None:
    try:
        return msgspec.json.decode((folder / INDEX).read_bytes(), type=_Index)
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        # A damaged one costs a question to the hub; the files are checked before they are used.
        return None


def _write_index(folder: Path, index: _Index) -> None:
    draft = folder / f"{INDEX}.tmp"
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(index)) + b"\n")
    sync(draft)
    draft.replace(folder / INDEX)


def _data_set(target: Address, home: Path, commit: str, names: tuple[str, ...]) -> DataSet:
    folder = hub_folder(home, target.repository, commit) / FILES
    return DataSet(
        name=target.name,
        revision=target.revision,
        commit=commit,
        files=tuple(folder / name for name in names),
        names=tuple(f"{target.text}/{name}" for name in names),
    )
