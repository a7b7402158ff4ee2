"""From what users write, a path or a URL, to a store and the name in it; and to a job's inputs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import msgspec

from textmill.errors import InputError, UsageError
from textmill.storage.base import InputFile, Store
from textmill.storage.connecting import SCHEMES, Address, StoreOptions
from textmill.storage.inputs import expand_inputs
from textmill.storage.local import LocalStore
from textmill.storage.objects import ObjectStore

MANIFEST_SUFFIX = ".manifest"
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(/?)(.*)", re.DOTALL)
_STATS_AT_ONCE = 8


class _Place(NamedTuple):
    """A URL taken apart. Nothing in it is percent-encoded: a key is written as it is."""

    address: Address
    key: str


def is_url(text: str) -> bool:
    """Whether `text` names something in an object store rather than a file of this machine."""
    match = _URL.fullmatch(text)
    return match is not None and match[1].lower() in SCHEMES


def open_store(text: str, options: StoreOptions) -> tuple[Store, str]:
    """The store that `text` leads to, rooted where the file stands, and the file's name in it.

    `a/b.jsonl` is `b.jsonl` in the folder `a`, `s3://bucket/a/b.jsonl` is `b.jsonl` below the
    prefix `a/`. Neither has to exist. Raises `UsageError` for what names no file, and for a URL
    of a kind that textmill does not know.
    """
    if is_url(text):
        place = _place(text)
        folder, slash, name = place.key.rpartition("/")
        if not name:
            raise UsageError(
                f"{text} does not name an object", hint="a whole name is needed here, not a prefix"
            )
        return ObjectStore(place.address, folder + slash, options), name
    _refuse_unknown(text)
    path = Path(text)
    if not path.name:
        raise UsageError(f"{text or 'an empty text'} does not name a file")
    return LocalStore(path.parent), path.name


def expand_urls(pattern: str, options: StoreOptions) -> list[InputFile]:
    """The inputs that a URL or a manifest names.

    One object; a prefix that ends in `/`: every object below it, sorted by key, folder markers
    left out; a manifest (`….manifest`, here or in a store): a JSON array whose first element is
    `{"prefix": "s3://…/"}` and whose other elements are put behind it, in that order.

    Raises `InputError` for what does not exist, an empty prefix and a manifest that is not one.
    """
    if pattern.endswith(MANIFEST_SUFFIX):
        return _from_manifest(pattern, options)
    if pattern.endswith("/"):
        return _below(pattern, options)
    return [_object(pattern, options)]


def _place(url: str) -> _Place:
    match = _URL.fullmatch(url)
    if match is None or not match[2] or not match[3]:
        raise UsageError(f"{url} names no bucket and object", hint="write s3://BUCKET/NAME")
    return _Place(Address(match[1].lower(), match[2]), match[4])


def _refuse_unknown(text: str) -> None:
    match = _URL.fullmatch(text)
    if match:
        raise UsageError(
            f"{text}: textmill has no store for {match[1]}://",
            hint=f"it knows paths, and {', '.join(f'{scheme}://' for scheme in SCHEMES)}",
        )


def _object(url: str, options: StoreOptions) -> InputFile:
    store, name = open_store(url, options)
    entry = store.stat(name)
    if entry is None:
        # Raises if there is no such bucket, which a head cannot tell.
        below = store.names(f"{name}/")
        hint = "check the name; * is not expanded in a URL"
        raise InputError(
            f"there is no object {url}",
            hint=f"a prefix ends in /: write {url}/ for what is below it" if below else hint,
        )
    return InputFile(path=url, size_bytes=entry.size_bytes)


def _below(url: str, options: StoreOptions) -> list[InputFile]:
    place = _place(url)
    found = ObjectStore(place.address, place.key, options).listing("")
    if not found:
        raise InputError(f"there is no object below {url}", hint="check the spelling")
    return [InputFile(path=url + name, size_bytes=size) for name, size in found]


def _from_manifest(path: str, options: StoreOptions) -> list[InputFile]:
    store, name = open_store(path, options)
    data = store.read(name)
    if data is None:
        raise InputError(f"there is no manifest {path}", hint="check the spelling")
    listed = manifest_names(data, path)
    _refuse_repeats(listed, path)
    with ThreadPoolExecutor(_STATS_AT_ONCE) as pool:
        return list(pool.map(lambda item: _one(item, options), listed))


def _one(path: str, options: StoreOptions) -> InputFile:
    if is_url(path):
        return _object(path, options)
    _refuse_unknown(path)
    return expand_inputs([path])[0]


def manifest_names(data: bytes, path: str) -> list[str]:
    """The names in a manifest's bytes, its prefix before each. Raises `InputError`."""
    try:
        items = msgspec.json.decode(data, type=list[dict[str, str] | str])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _no_manifest(path, str(error)) from error
    head, names = items[:1], items[1:]
    if not head or not isinstance(head[0], dict) or set(head[0]) != {"prefix"}:
        raise _no_manifest(path, 'its first element is not {"prefix": "…"}')
    if not names:
        raise _no_manifest(path, "it names no object")
    for name in names:
        if not isinstance(name, str):
            raise _no_manifest(path, f"{name} is not a name")
    return [head[0]["prefix"] + name for name in names if isinstance(name, str)]


def _no_manifest(path: str, why: str) -> InputError:
    return InputError(
        f"{path} is no manifest: {why}",
        hint='write [{"prefix": "s3://BUCKET/FOLDER/"}, "NAME", …]',
    )


def _refuse_repeats(paths: Iterable[str], manifest: str) -> None:
    for path, count in Counter(paths).items():
        if count > 1:
            raise InputError(
                f"{manifest} names {path} {count} times",
                hint="name it once; every record would be read twice",
            )
