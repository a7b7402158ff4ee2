"""A model's data out of a bucket: an archive, or the files below a prefix."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import BinaryIO, cast

from textmill.catalog.catalog import ARCHIVE_ENDS
from textmill.catalog.selection import choose_files
from textmill.errors import InputError
from textmill.gateway.identity import Identity, by_id
from textmill.gateway.pointers import POINTER, pointed_model
from textmill.gateway.wire.faults import AwsError
from textmill.storage.base import Store
from textmill.storage.connecting import Address, StoreOptions
from textmill.storage.local import LocalStore
from textmill.storage.objects import ObjectStore
from textmill.storage.opening import open_store

_CHUNK_BYTES = 1 << 20


def fetch_model(identity: Identity, folder: Path, options: StoreOptions) -> str:
    """What `textmill.run` takes as its model: a name, or a path below `folder`.

    What is there already is not fetched again. Raises `InputError`, and `ModelError` for a prefix
    that holds no model and an archive that is damaged.
    """
    if identity.data is None:
        assert identity.name is not None  # noqa: S101  an identity has one of the two
        return identity.name
    here = LocalStore(folder)
    if identity.data.endswith(ARCHIVE_ENDS):
        source, key = open_store(identity.data, options)
        _copy(source, key, here, "model.tar.gz")
        return _archived(folder / "model.tar.gz")
    bucket, _, prefix = identity.data.removeprefix("s3://").partition("/")
    below = ObjectStore(Address("s3", bucket), f"{prefix.rstrip('/')}/", options)
    names = below.names("")
    if not names:
        raise InputError(f"there is no model at {identity.data}", hint="check the spelling")
    for name in choose_files(identity.data, names):
        _copy(below, name, here, f"model/{name}")
    return str(folder / "model")


def _archived(archive: Path) -> str:
    """The archive's path, or the name of the model that it names."""
    pointed = pointed_model(archive)
    if pointed is None:
        return str(archive)
    id_, _, version = pointed.partition("@")
    try:
        name = by_id(id_, version or "*", POINTER).name
    except AwsError as error:
        raise InputError(error.message) from error
    return str(name)


def _copy(source: Store, name: str, here: Store, to: str) -> None:
    if here.stat(to) is not None:
        return
    target = here.target(to)
    try:
        with closing(source.open(name)) as stream:
            while data := cast(BinaryIO, stream).read(_CHUNK_BYTES):
                target.write(data)
        target.commit()
    finally:
        target.discard()
