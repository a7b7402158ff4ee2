"""A model hub over the network: what a repository holds, and its files, byte for byte.

The bytes come through huggingface_hub's HTTP downloader, over plain ranges: a download that was
cut goes on where it ended, also in another process, which `hf_hub_download` (2.4) does not do.
The token follows huggingface_hub's rules, and never leaves the hub's own address.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

import textmill
from textmill.catalog.artifacts import digest
from textmill.catalog.failures import DATASETS, explain
from textmill.errors import CorruptModel, ModelError, TextmillError

COMMIT = re.compile(r"[0-9a-f]{40}")
ALGORITHMS = {40: "git-sha1", 64: "sha256"}
"""Digest algorithms by the length of the ETag: git's for small files, LFS's for large ones."""
TIMEOUT_S = 10.0


class Hub(Struct, frozen=True, kw_only=True):
    """How a hub is reached.

    endpoint: its base URL; None means huggingface_hub's own (`HF_ENDPOINT`, else the public hub).
    token: None means huggingface_hub's own (`HF_TOKEN` or its token file, if any).
    offline: ask it nothing.
    """

    endpoint: str | None = None
    token: str | None = None
    offline: bool = False

    @property
    def address(self) -> str:
        """The base URL that is really used."""
        from huggingface_hub import constants

        return (self.endpoint or constants.ENDPOINT).rstrip("/")


class Snapshot(Struct, frozen=True, kw_only=True):
    """A repository at one commit, and the names of its files.

    repository: `org/name` for a model, `datasets/org/name` for a data set.
    """

    repository: str
    commit: str
    names: tuple[str, ...]


class RemoteFile(Struct, frozen=True, kw_only=True):
    """One file of a snapshot; `digest` is hex, of `algorithm` (see `artifacts.digest`)."""

    name: str
    size_bytes: int
    digest: str
    algorithm: str


Received = Callable[[int], None]
"""Called with the number of bytes that arrived; negative when bytes had to be thrown away."""


def look_up(hub: Hub, repository: str, revision: str) -> Snapshot:
    """Ask the hub what a branch, tag or commit of a repository is now.

    Raises `ModelNotFound` when there is none, `ModelError` when it cannot be had.
    """
    from huggingface_hub import HfApi

    api = HfApi(
        endpoint=hub.address,
        token=hub.token,
        library_name="textmill",
        library_version=textmill.__version__,
    )
    with translated(hub, repository, revision):
        ask = api.dataset_info if repository.startswith(DATASETS) else api.model_info
        info = ask(repository.removeprefix(DATASETS), revision=revision, timeout=TIMEOUT_S)
    if not COMMIT.fullmatch(info.sha or ""):
        raise ModelError(f"{hub.address} names no commit for {repository}: it is not a model hub")
    names = tuple(sibling.rfilename for sibling in info.siblings or ())
    return Snapshot(repository=repository, commit=str(info.sha), names=names)


def inspect(hub: Hub, snapshot: Snapshot, name: str) -> RemoteFile:
    """Ask for the size and digest of one file. Raises `ModelError` when the hub tells neither."""
    from huggingface_hub import get_hf_file_metadata

    url = _url(hub, snapshot, name)
    with translated(hub, snapshot.repository, snapshot.commit):
        told = get_hf_file_metadata(url, headers=_headers(hub), timeout=TIMEOUT_S)
    etag = (told.etag or "").lower()
    if told.size is None or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", etag):
        raise ModelError(
            f"{hub.address} gives no size or digest for {name} of {snapshot.repository}, "
            "so the download could not be checked",
            hint="Fetch it from another hub, or give textmill a folder that you downloaded.",
        )
    return RemoteFile(name=name, size_bytes=told.size, digest=etag, algorithm=ALGORITHMS[len(etag)])


def download(
    hub: Hub, snapshot: Snapshot, file: RemoteFile, part: Path, received: Received
) -> None:
    """Bring `part` to the whole content of `file`, going on after what it already holds.

    Raises `CorruptModel`, and deletes `part`, when the content has another digest than the hub
    said; `ModelError` when the transfer fails, and then `part` stays for the next attempt.
    """
    resumed = part.exists() and part.stat().st_size <= file.size_bytes
    _transfer(hub, snapshot, file, part, received)
    if digest(part, file.algorithm) == file.digest:
        return
    if resumed:
        # What an interrupted process left may be damaged; only a whole transfer can tell.
        received(-part.stat().st_size)
        part.unlink()
        _transfer(hub, snapshot, file, part, received)
        if digest(part, file.algorithm) == file.digest:
            return
    part.unlink()
    raise CorruptModel(
        f"{file.name} of {snapshot.repository} came with another content than {hub.address} "
        f"announced ({file.algorithm} {file.digest})",
        hint="Something on the way changes files, or the hub is at fault. Nothing was kept.",
    )


def borrow(snapshot: Snapshot, file: RemoteFile, part: Path) -> None:
    """Make `part` from huggingface_hub's own cache, when that happens to have the file.

    `download` still checks it. The bytes are shared with that cache where the file system can.
    """
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(
        filename=file.name, revision=snapshot.commit, **_repo(snapshot.repository)
    )
    if not isinstance(found, str) or Path(found).stat().st_size != file.size_bytes:
        return
    part.unlink(missing_ok=True)
    try:
        os.link(os.path.realpath(found), part)
    except OSError:
        # Another disk, or another owner's file.
        shutil.copyfile(found, part)


def _transfer(
    hub: Hub, snapshot: Snapshot, file: RemoteFile, part: Path, received: Received
) -> None:
    from huggingface_hub.file_download import http_get

    if part.exists() and part.stat().st_size > file.size_bytes:
        part.unlink()
    with translated(hub, snapshot.repository, snapshot.commit), part.open("ab") as out:
        have = out.tell()
        received(have)
        http_get(
            _url(hub, snapshot, file.name),
            out,
            resume_size=have,
            headers=_headers(hub),
            expected_size=file.size_bytes,
            displayed_filename=file.name,
            tqdm_class=_meter(received),
        )


def _url(hub: Hub, snapshot: Snapshot, name: str) -> str:
    from huggingface_hub import hf_hub_url

    with translated(hub, snapshot.repository, snapshot.commit):
        return hf_hub_url(
            filename=name,
            revision=snapshot.commit,
            endpoint=hub.address,
            **_repo(snapshot.repository),
        )


def _repo(repository: str) -> dict[str, Any]:
    """A repository's name as huggingface_hub wants it."""
    kind = "dataset" if repository.startswith(DATASETS) else "model"
    return {"repo_id": repository.removeprefix(DATASETS), "repo_type": kind}


def _headers(hub: Hub) -> dict[str, str]:
    # Exported lazily, which mypy does not see.
    # Exported lazily, which type checkers do not see.
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    headers = build_hf_headers(
        token=hub.token, library_name="textmill", library_version=textmill.__version__
    )
    # A compressed answer could not be resumed, and its length would not be the file's.
    return {**headers, "Accept-Encoding": "identity"}


def _meter(received: Received) -> Any:
    """What huggingface_hub takes for a progress bar: a class whose `update` counts bytes."""

    class Meter:
        def __init__(self, **_: object) -> None: ...

        def __enter__(self) -> Meter:
            return self

        def __exit__(self, *_: object) -> None: ...

        def update(self, n: int) -> None:
            received(n)

    return Meter


@contextmanager
def translated(hub: Hub, repository: str, revision: str) -> Iterator[None]:
    """Turn what the network and huggingface_hub raise into our errors, keeping the cause."""
    import httpx2

    try:
        with _discreet():
            yield
    except TextmillError:
        raise
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, TypeError, KeyError) as error:
        raise explain(error, hub.address, repository, revision) from error


@contextmanager
def _discreet() -> Iterator[None]:
    """Keep huggingface_hub from describing this machine and asking the hub who drives it.

    Without it a first request goes to the public hub even when another one is asked, and the
    user agent lists what is installed here.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_TELEMETRY
    constants.HF_HUB_DISABLE_TELEMETRY = True
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_TELEMETRY = before
