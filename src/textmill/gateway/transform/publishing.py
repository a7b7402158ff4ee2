"""A job's outputs into its bucket: each whole or not at all, and none that must not be there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from msgspec import Struct

from textmill.gateway.transform.answers import ENGINES_FAULT, Assembler, Problem, Results
from textmill.gateway.transform.log import JobLog
from textmill.gateway.transform.orders import OnError, Order
from textmill.gateway.transform.staging import Staged
from textmill.storage.base import Target
from textmill.storage.connecting import StoreOptions
from textmill.storage.decompress import text_lines
from textmill.storage.local import LocalStore
from textmill.storage.opening import open_store
from textmill.transform.job import JobFolder

PUBLISHED, NATIVE = "published", "native.jsonl"
_MAX_LOGGED = 1000


class Losses(Struct):
    """What has no result: objects without an output, records, and the first of them in words."""

    objects: int = 0
    records: int = 0
    first: str = ""
    is_engines_fault: bool = False


class Publisher:
    """Writes the outputs of one job. check: called before each; raises to end the work."""

    def __init__(
        self,
        order: Order,
        folder: Path,
        options: StoreOptions,
        log: JobLog,
        check: Callable[[], None],
    ) -> None:
        self._order, self._folder, self._options = order, folder, options
        self._log, self._check = log, check
        self._store = LocalStore(folder)
        self.losses = Losses()

    def publish(self, objects: list[Staged]) -> Losses:
        """Write all outputs. Idempotent: what an earlier worker published is written again."""
        results = Results(*self._native())
        assembler = Assembler(self._order, results)
        for one in objects:
            self._check()
            if one.unreadable is None:
                self._publish(one, assembler)
            else:
                self._lose(one.unreadable, engine=False)
                self.losses.objects += 1
        results.end()
        return self.losses

    def take_back(self) -> None:
        """Remove what was published: a job that was stopped has no output."""
        for url in (self._store.read(PUBLISHED) or b"").decode().split("\n"):
            if url:
                store, name = open_store(url, self._options)
                store.remove(name)

    def _native(self) -> tuple[Iterator[bytes], Iterator[bytes]]:
        """The lines of results and of errors; none of a job that had no records to compute."""
        names = NATIVE, JobFolder(self._store, NATIVE).errors_name
        results, errors = (
            text_lines(self._store, name) if self._store.stat(name) else iter(()) for name in names
        )
        return results, errors

    def _publish(self, one: Staged, assembler: Assembler) -> None:
        url = f"{self._order.output.rstrip('/')}/{one.relative}.out"
        pieces = assembler.output_of(
            one, str(self._folder / one.name), text_lines(self._store, one.name)
        )
        output, letters = self._target(url), _Letters(lambda: self._target(f"{url}.errors.jsonl"))
        is_bad = False
        try:
            for piece in pieces:
                if isinstance(piece, bytes):
                    output.write(piece)
                    continue
                self._lose(piece.sentence, engine=piece.code in ENGINES_FAULT)
                is_bad |= self._order.on_error is OnError.FAIL
                if self._order.on_error is OnError.DEAD_LETTER:
                    letters.write(piece)
            if is_bad:
                self.losses.objects += 1
                return
            self._appear(url, output)
            if letters.target is not None:
                self._appear(f"{url}.errors.jsonl", letters.target)
        finally:
            output.discard()
            letters.discard()

    def _target(self, url: str) -> Target:
        store, name = open_store(url, self._options)
        return store.target(name)

    def _appear(self, url: str, target: Target) -> None:
        """Note the output first: what is noted and not there is no harm."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(self._folder / PUBLISHED, flags, 0o600)
        try:
            os.write(descriptor, f"{url}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        target.commit()

    def _lose(self, sentence: str, *, engine: bool) -> None:
        losses = self.losses
        losses.records += 1
        losses.first = losses.first or sentence
        losses.is_engines_fault |= engine
        if losses.records <= _MAX_LOGGED:
            self._log.write(sentence)
        elif losses.records == _MAX_LOGGED + 1:
            self._log.write("further records without a result are not listed")


class _Letters:
    """An object's dead letters, which need a file only once there is one."""

    def __init__(self, make: Callable[[], Target]) -> None:
        self._make = make
        self.target: Target | None = None

    def write(self, problem: Problem) -> None:
        self.target = self.target or self._make()
        self.target.write(problem.dead_letter)

    def discard(self) -> None:
        if self.target is not None:
            self.target.discard()
