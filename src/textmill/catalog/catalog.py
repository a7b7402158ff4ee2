"""From a model's name to a folder with its files.

A name is, in this order:

1. a path, when it starts with `/`, `./`, `../` or `~`, or when a model folder (a folder with a
   `config.json`) or a file of that name exists: the folder is used where it is, a `.tar.gz` or
   `.tgz` is unpacked into the cache;
2. `demo`, the model inside of the package;
3. a catalog id, with or without JumpStart's prefix, optionally with `@VERSION`;
4. a hub repository, `org/name`, optionally with `@REVISION`.

So a local model folder hides a catalog id or repository of the same name; the artifact's `source`
says which it was. A repository that is in the cache is used as it was fetched, without asking the
hub: a model does not change between two runs. `textmill models fetch` asks for newer ones.
"""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from msgspec import Struct

from textmill.catalog.artifacts import Source, hub_folder, remembered_commit
from textmill.catalog.entries import Entry, choose_version, find, near_names
from textmill.catalog.fetch import Progress, fetch, is_complete, unpack
from textmill.catalog.hub import COMMIT, Hub
from textmill.errors import ModelNotFound, UnsupportedModel, UsageError
from textmill.words import written

DEMO = "demo"
_HOST_AND_PORT = re.compile(
    r"(localhost|[\w-]+(\.[\w-]+)+|\[[0-9a-f:]+\]):[0-9]+(/|$)", re.IGNORECASE
)
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
PATH_STARTS = ("/", "./", "../", "~")
ARCHIVE_ENDS = (".tar.gz", ".tgz")


class Artifact(Struct, frozen=True, kw_only=True):
    """A model's files, ready to read.

    name: as it was asked for.
    folder: holds config.json, weights and tokenizer files.
    entry: what the catalog knows about it, if anything.
    version: the catalog version chosen; None when it has none.
    revision: commit of the repository or digest of the archive; None for folders and the demo.
    source: where the files come from.
    origin: repository, archive or folder that they come from, for people to read.
    """

    name: str
    folder: Path
    entry: Entry | None = None
    version: str | None = None
    revision: str | None = None
    source: Source
    origin: str


class Target(Struct, frozen=True, kw_only=True):
    """What a name means before anything is fetched: a path, the demo, or a repository."""

    name: str
    path: Path | None = None
    entry: Entry | None = None
    version: str | None = None
    repository: str | None = None
    revision: str = "main"


def resolve(
    name: str,
    *,
    home: Path,
    version: str = "*",
    hub: Hub | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Find a model's files, fetching them when they are not there yet.

    home: the cache (`Settings.home`). hub: how to reach the model hub, when it must be asked.
    Raises `ModelNotFound` with near names, `UnsupportedModel` for a catalog entry that textmill
    cannot run, `UsageError` for two versions, and what `fetch` and `unpack` raise.
    """
    hub = hub or Hub()
    target = interpret(name, version)
    if target.path is not None:
        return _local(target, target.path, home)
    if target.repository is None:
        return _embedded(target)
    commit = _cached_commit(home, target.repository, target.revision)
    if commit is not None:
        folder = hub_folder(home, target.repository, commit)
    else:
        folder = fetch(target.repository, target.revision, home=home, hub=hub, progress=progress)
    return Artifact(
        name=name,
        folder=folder,
        entry=target.entry,
        version=target.version,
        revision=folder.name,
        source=Source.HUB,
        origin=target.repository,
    )


def interpret(name: str, version: str = "*") -> Target:
    """What a name means; looks at local files and the catalog, not at the network or the cache.

    Raises as `resolve` does.
    """
    path = _path(name)
    if path is not None:
        return Target(name=name, path=path)
    base, _, suffix = name.partition("@")
    entry = find(base)
    if entry is None or (base == entry.repository and base != entry.id):
        return _repository(name, base, suffix, entry, version)
    return _entry(name, entry, _one_version(name, suffix, version))


def _path(name: str) -> Path | None:
    try:
        path = Path(name).expanduser()
        if name in {".", ".."} or name.startswith(PATH_STARTS):
            return path
        archive = name.endswith(ARCHIVE_ENDS) and path.is_file()
        return path if archive or (path / "config.json").is_file() else None
    except (OSError, RuntimeError) as error:  # a name too long, a home that nobody has
        raise ModelNotFound(f"{name[:200]} is not a name that can be looked up: {error}") from error


def _one_version(name: str, suffix: str, version: str) -> str:
    if suffix and version not in {"*", suffix}:
        raise UsageError(
            f"{name}: two versions are asked for, {written(suffix)} and {written(version)}"
        )
    return suffix or version


def _entry(name: str, entry: Entry, version: str) -> Target:
    """A catalog entry named by its id."""
    if entry.unsupported is not None:
        raise UnsupportedModel(
            f"{entry.id} is in the catalog, but textmill does not run it: {entry.unsupported}",
            hint=f"To try it all the same, name its repository: {entry.repository}",
        )
    revision = entry.revision
    if version != "*" and not entry.versions and entry.repository is not None:
        # Ids that are repositories' names take what follows the @ as a repository does.
        revision, version = version, "*"
    return Target(
        name=name,
        entry=entry,
        version=choose_version(entry, version),
        repository=entry.repository,
        revision=revision,
    )


def _repository(name: str, base: str, revision: str, entry: Entry | None, version: str) -> Target:
    """A repository's name, or none that makes sense."""
    if not REPOSITORY.fullmatch(base) or name.endswith(ARCHIVE_ENDS) or base.count("--"):
        raise ModelNotFound(f"there is no model {written(name)}", hint=_way_out(name))
    if version != "*":
        raise UsageError(
            f"{name} is a repository, which has no version {written(version)}",
            hint=f"Name the revision: {base}@REVISION",
        )
    found = revision or (entry.revision if entry else "main")
    return Target(name=name, entry=entry, repository=base, revision=found)


def _way_out(name: str) -> str:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return f"The folder {name} has no config.json, so it is not a model folder."
    if name.endswith(ARCHIVE_ENDS):
        return "There is no such file."
    if "://" in name:
        return "Addresses are not read. Download it, then name the folder or the .tar.gz."
    if _HOST_AND_PORT.match(name):
        return f"A server is named by its URL: http://{name}"
    near = near_names(name)
    if near:
        return f"Did you mean {' or '.join(near)}? All: textmill models list"
    return "See: textmill models list. Also good: a repository org/name, a folder, a model.tar.gz."


def _local(target: Target, path: Path, home: Path) -> Artifact:
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelNotFound(
                f"{path} has no config.json, so it is not a model folder",
                hint="Name the folder that save_pretrained wrote.",
            )
        return Artifact(
            name=target.name, folder=path.absolute(), source=Source.FOLDER, origin=str(path)
        )
    if not path.is_file():
        raise ModelNotFound(f"{path} does not exist", hint=_way_out(target.name))
    if not path.name.endswith(ARCHIVE_ENDS):
        raise ModelNotFound(
            f"{path} is neither a model folder nor a model.tar.gz",
            hint="Name the folder that holds the file and its config.json.",
        )
    folder = unpack(path, home=home)
    return Artifact(
        name=target.name,
        folder=folder,
        revision=folder.name,
        source=Source.ARCHIVE,
        origin=str(path),
    )


def _embedded(target: Target) -> Artifact:
    folder = Path(str(files("textmill").joinpath("assets/demo/model")))
    if not (folder / "config.json").is_file():
        raise ModelNotFound(
            f"the demo model is missing: {folder}", hint="Install textmill again, unpacked."
        )
    return Artifact(
        name=target.name,
        folder=folder,
        entry=target.entry,
        source=Source.EMBEDDED,
        origin="textmill",
    )


def _cached_commit(home: Path, repository: str, revision: str) -> str | None:
    """The commit to use without asking the hub; None when the cache has none complete."""
    commit = revision if COMMIT.fullmatch(revision) else None
    commit = commit or remembered_commit(home, repository, revision)
    if commit is not None and is_complete(hub_folder(home, repository, commit)):
        return commit
    return None
