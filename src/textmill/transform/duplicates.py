"""Records that repeat the text and the parameters of an earlier one are computed once.

`Duplicates` says which they are: a function of the rows in their order alone, so that a resumed job
finds the same. `Copier` gives each copy its row as soon as the original has one.

Every repetition within a window is found; beyond its own window, an original is remembered if it is
one of the first 65,536 distinct texts of the job, and as long as their characters and the tokens
that may be generated for them are 32 Mi at most, so memory stays bounded. Sampled texts are never
copied: each has random numbers of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from textmill.core import Params, Record
from textmill.transform.parts import NOTHING, Row

MAX_REMEMBERED = 1 << 16
MAX_REMEMBERED_SIZE = 1 << 25
"""Characters of the remembered texts, and tokens that may be generated for them."""
_MAX_PARAMS = 4096


class _Group(Struct, frozen=True):
    """What records with these parameters have in common.

    params: held, so that their id stays their own. key: equal for parameters that give one text
    the same result; None where even the same parameters may not. max_tokens: generated for a text.
    """

    params: Params
    key: bytes | None
    max_tokens: int


class Duplicates:
    """Which records are copies. To be asked about every window in order, by one thread."""

    def __init__(self) -> None:
        self._first: dict[tuple[bytes, str], int] = {}
        self._size = 0
        self._groups: dict[int, _Group] = {}
        self.remembered: set[int] = set()
        """Ordinals of originals that records of later windows may copy."""

    def find(self, records: Iterable[tuple[Record, Params]]) -> dict[int, int]:
        """For each copy among the records of one window, the ordinal of its original."""
        copies: dict[int, int] = {}
        here: dict[tuple[bytes, str], int] = {}
        for record, params in records:
            group = self._groups.get(id(params)) or self._group(params)
            if group.key is None or len(record.texts) != 1:
                continue
            key = group.key, record.texts[0]
            original = self._first.get(key)
            if original is None:
                original = here.setdefault(key, record.ordinal)
            if original != record.ordinal:
                copies[record.ordinal] = original
            elif len(self._first) < MAX_REMEMBERED:
                self._remember(key, record.ordinal, group.max_tokens)
        return copies

    def _remember(self, key: tuple[bytes, str], ordinal: int, max_tokens: int) -> None:
        size = self._size + len(key[1]) + max_tokens
        if size <= MAX_REMEMBERED_SIZE:
            self._first[key], self._size = ordinal, size
            self.remembered.add(ordinal)

    def _group(self, params: Params) -> _Group:
        if len(self._groups) >= _MAX_PARAMS:
            self._groups.clear()
        key = None
        if not params.do_sample and params.max_time is None:
            shared = replace(params, seed=None, batch_size=None)
            key = blake2b(msgspec.msgpack.encode(shared), digest_size=16).digest()
        max_tokens = params.max_new_tokens * params.num_return_sequences
        group = self._groups[id(params)] = _Group(params, key, max_tokens)
        return group


class Copy(Struct, frozen=True):
    """A record that has the row of another: it differs in what comes from the input."""

    record: Record
    truncated: bool


class Copier:
    """Pairs copies with the rows of their originals. Used by one thread."""

    def __init__(self, remembered: set[int], *, opaque: bool) -> None:
        """`remembered`: ordinals of originals that later windows may copy. opaque: output lines
        do not show the texts plainly, so that only `Row.made` tells them."""
        self._remembered, self._opaque = remembered, opaque
        self._rows: dict[int, bytes] = {}
        self._mute: set[int] = set()
        self._waiting: dict[int, list[Copy]] = {}

    def originals(self, rows: Iterable[Row]) -> list[tuple[Copy, Row]]:
        """Take rows that are done; returns the copies that waited for one of them."""
        ready = []
        for row in rows:
            if row.n in self._remembered:
                if self._tells(row):
                    self._rows[row.n] = _encode(_essence(row))
                else:
                    self._mute.add(row.n)
            if self._waiting:
                ready += [(copy, row) for copy in self._waiting.pop(row.n, ())]
        return ready

    def is_mute(self, ordinal: int, done: Mapping[int, Row]) -> bool:
        """Whether nothing tells any more what was made of an original, so that its copies have to
        be computed: of a finished job, say, that was opened again.

        done: rows of the original's window, if it is the one in work.
        """
        row = done.get(ordinal)
        return ordinal in self._mute or (row is not None and not self._tells(row))

    def _tells(self, row: Row) -> bool:
        return row.failed or bool(bytes(row.made)) or not (row.code or self._opaque)

    def copies(
        self, copies: Iterable[Copy], originals: Mapping[int, int], done: Mapping[int, Row]
    ) -> list[tuple[Copy, Row]]:
        """Take the copies of a new window; returns those whose original has its row already.

        originals: of each copy's ordinal, as `Duplicates.find` gave it, and none of them mute.
        done: rows of the window that an earlier run finished.
        """
        ready = []
        for copy in copies:
            original = originals[copy.record.ordinal]
            row = self._row(original) or done.get(original)
            if row is None:
                self._waiting.setdefault(original, []).append(copy)
            else:
                ready.append((copy, row))
        return ready

    def _row(self, ordinal: int) -> Row | None:
        held = self._rows.get(ordinal)
        return None if held is None else _decode_row(held)


class _Generated(Struct, omit_defaults=True):
    """What of a result line comes from the engine."""

    generated_texts: Raw
    finish_reasons: Raw = Raw(b"[]")


_encode = msgspec.json.Encoder().encode
_decode_row = msgspec.json.Decoder(Row).decode
_decode_generated = msgspec.json.Decoder(_Generated).decode


def _essence(row: Row) -> Row:
    """The row without what comes from the input: kept columns would fill the memory."""
    if row.failed or bytes(row.made):
        return replace(row, ok=NOTHING)
    return replace(row, ok=NOTHING, made=Raw(_encode(_decode_generated(row.ok))))
