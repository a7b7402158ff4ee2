"""Records that repeat the text and the parameters of an earlier one are computed once.

`Duplicates` says which they are: a function of the rows in their order alone, so that a resumed job
finds the same. `Copier` gives each copy its row as soon as the original has one.

Every repetition within a window is found; beyond its own window, an original is remembered if it is
one of the first 65,536 distinct texts of the job (and of their first 16 Mi characters), so memory
stays bounded. Sampled texts are never copied: each has random numbers of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from textmill.core import Params, Record
from textmill.transform.parts import Row

MAX_REMEMBERED = 1 << 16
MAX_REMEMBERED_CHARS = 1 << 24
_MAX_PARAMS = 4096


class Duplicates:
    """Which records are copies. To be asked about every window in order, by one thread."""

    def __init__(self) -> None:
        self._first: dict[bytes, int] = {}
        self._chars = 0
        self._hashes: dict[int, tuple[Params, Any]] = {}
        self.remembered: set[int] = set()
        """Ordinals of originals that records of later windows may copy."""

    def find(self, records: Iterable[tuple[Record, Params]]) -> dict[int, int]:
        """For each copy among the records of one window, the ordinal of its original."""
        copies: dict[int, int] = {}
        here: dict[bytes, int] = {}
        for record, params in records:
            if len(record.texts) != 1 or params.do_sample or params.max_time is not None:
                continue
            key = self._key(record.texts[0], params)
            original = self._first.get(key, here.get(key))
            if original is not None:
                copies[record.ordinal] = original
            elif not self._remember(key, record):
                here[key] = record.ordinal
        return copies

    def _remember(self, key: bytes, record: Record) -> bool:
        chars = self._chars + len(record.texts[0])
        if len(self._first) >= MAX_REMEMBERED or chars > MAX_REMEMBERED_CHARS:
            return False
        self._first[key], self._chars = record.ordinal, chars
        self.remembered.add(record.ordinal)
        return True

    def _key(self, text: str, params: Params) -> bytes:
        held = self._hashes.get(id(params))
        if held is None:
            if len(self._hashes) >= _MAX_PARAMS:
                self._hashes.clear()
            shared = replace(params, seed=None, batch_size=None)
            # Held with the parameters, so that their id stays their own.
            held = params, blake2b(msgspec.msgpack.encode(shared), digest_size=16)
            self._hashes[id(params)] = held
        digest = held[1].copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        found: bytes = digest.digest()
        return found


class Copy(Struct, frozen=True):
    """A record that has the row of another: it differs in what comes from the input."""

    record: Record
    truncated: bool


class _Line(Struct):
    generated_texts: Raw
    finish_reasons: Raw = Raw(b"[]")


_decode_line = msgspec.json.Decoder(_Line).decode


def _slim(row: Row) -> Row:
    """The row without what copies do not take from it: its id, kept columns, a joined row."""
    if row.code:
        return row
    made = row.made
    if not bytes(made):
        line = _decode_line(row.ok)
        made = Raw(
            b'{"generated_texts":%b,"finish_reasons":%b}'
            % (bytes(line.generated_texts), bytes(line.finish_reasons))
        )
    return Row(row.n, inp=row.inp, out=row.out, limit=row.limit, made=made)


class Copier:
    """Pairs copies with the rows of their originals. Used by one thread."""

    def __init__(self, remembered: set[int]) -> None:
        """`remembered`: ordinals of originals that later windows may copy."""
        self._remembered = remembered
        self._rows: dict[int, Row] = {}
        self._waiting: dict[int, list[Copy]] = {}

    def originals(self, rows: Iterable[Row]) -> list[tuple[Copy, Row]]:
        """Take rows that are done; returns the copies that waited for one of them."""
        ready = []
        for row in rows:
            if row.n in self._remembered:
                self._rows[row.n] = _slim(row)
            ready += [(copy, row) for copy in self._waiting.pop(row.n, ())]
        return ready

    def copies(
        self, copies: Iterable[Copy], originals: Mapping[int, int], done: Mapping[int, Row]
    ) -> list[tuple[Copy, Row]]:
        """Take the copies of a new window; returns those whose original has its row already.

        originals: of each copy's ordinal, as `Duplicates.find` gave it. done: rows of the window
        that an earlier run finished.
        """
        ready = []
        for copy in copies:
            original = originals[copy.record.ordinal]
            row = self._rows.get(original) or done.get(original)
            if row is None:
                self._waiting.setdefault(original, []).append(copy)
            else:
                ready.append((copy, row))
        return ready
