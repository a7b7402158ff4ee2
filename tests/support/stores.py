"""The stores that one suite runs against, each as a place that several runs can open."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.s3_server import Proxy, at_random, proxy_before, s3_client
from textmill.storage.base import Store
from textmill.storage.connecting import Address, StoreOptions
from textmill.storage.local import LocalStore
from textmill.storage.memory import MemoryStore
from textmill.storage.objects import ObjectStore

BUCKET = "bucket"
_numbers = itertools.count()


class Place:
    """Where a store keeps its files. `open` gives the store as another run of it would see it.

    keeps_unsynced: whether bytes that were appended to a log outlive it without a sync.
    """

    def __init__(self, kind: str, folder: Path, s3_url: str, proxy: Proxy | None) -> None:
        self.kind, self.folder = kind, folder
        self.keeps_unsynced = kind in {"local", "memory"}
        self.memory = MemoryStore()
        self.prefix = f"run {next(_numbers)}/a+b%20c/"
        self.options = StoreOptions(
            endpoint_url=proxy.url if proxy else s3_url,
            retry_seconds=60,
            lease_seconds=6 if proxy else 3,
        )

    def open(self) -> Store:
        if self.kind == "local":
            return LocalStore(self.folder)
        if self.kind == "memory":
            return self.memory
        return ObjectStore(Address("s3", BUCKET), self.prefix, self.options)


@contextmanager
def place_of(kind: str, folder: Path, s3_url: str, seed: str = "") -> Iterator[Place]:
    """kind: local, memory, s3, or s3-faults: one request in seven is spoiled in some way."""
    with ExitStack() as stack:
        proxy = stack.enter_context(proxy_before(s3_url)) if kind == "s3-faults" else None
        if proxy:
            proxy.rule = at_random(zlib.crc32(seed.encode()), rate=1 / 7)
        yield Place(kind, folder, s3_url, proxy)


def make_bucket(s3_url: str, name: str = BUCKET) -> None:
    s3_client(s3_url).create_bucket(Bucket=name)
