"""The end of a job: parts merged in input order, counts checked, output and manifest renamed.

The manifest is renamed last and is the commit point. Every step may be repeated: a run killed
anywhere in here merges again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import msgspec
from msgspec import Struct

from textmill.core import JsonText
from textmill.errors import InputError, InvariantError, OutputError
from textmill.records.base import Writer
from textmill.records.writers import JsonlWriter
from textmill.storage.base import Store
from textmill.storage.compress import compressor
from textmill.transform.job import JobFolder, encodable
from textmill.transform.journal import Carried
from textmill.transform.lengths import Lengths
from textmill.transform.ownership import check_outputs, refuse
from textmill.transform.parts import Part, Row


class OutputDigest(Struct, frozen=True, kw_only=True):
    """One output file."""

    name: str
    rows: int
    bytes: int
    sha256: str


class Totals(Struct, kw_only=True):
    """What the parts hold, counted while they are merged.

    The identity `rows == ok + failed + invalid` is checked, and every ordinal is there once.
    invalid: rows that could not become a request; failed: rows the engine could not answer.
    copied: rows with the text and parameters of an earlier row, whose result they have.
    truncated: inputs cut by --truncate. hit_length_limit: results whose text met max_new_tokens.
    """

    rows: int = 0
    ok: int = 0
    failed: int = 0
    invalid: int = 0
    codes: dict[str, int] = msgspec.field(default_factory=dict)
    copied: int = 0
    truncated: int = 0
    hit_length_limit: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def count(self, row: Row) -> None:
        """Add one row."""
        self.rows += 1
        self.input_tokens += row.inp
        self.output_tokens += row.out
        self.copied += row.copied and not row.code
        self.truncated += row.cut
        self.hit_length_limit += row.limit
        if not row.code:
            self.ok += 1
            return
        self.codes[row.code] = self.codes.get(row.code, 0) + 1
        self.failed += row.failed
        self.invalid += row.is_invalid

    def check(self, rows_in: int) -> None:
        """Raise `InvariantError` unless rows_in = ok + failed + invalid."""
        if not rows_in == self.rows == self.ok + self.failed + self.invalid:
            raise InvariantError(
                f"{rows_in} rows were read, but {self.ok} ok + {self.failed} failed +"
                f" {self.invalid} invalid rows were written"
            )


class OutputPlan(Struct, frozen=True, kw_only=True):
    """How result lines become the output file.

    open_writer: a fresh writer; the result lines, which it may read first, tell it their types.
    """

    open_writer: Callable[[Iterable[JsonText]], Writer]


class _Target:
    """An output file in the making: lines go in, its digest comes out."""

    def __init__(self, store: Store, name: str, writer: Writer) -> None:
        self.name = name
        self._writer, self._compressor = writer, compressor(name)
        self._file = store.target(name)
        self._sha256 = hashlib.sha256()
        self.rows = self.bytes = 0

    def write(self, lines: list[JsonText]) -> None:
        self._append(self._compressor.encode(self._writer.encode(lines)))
        self.rows += len(lines)

    def finish(self) -> OutputDigest:
        self._append(self._compressor.encode(self._writer.finish()))
        self._append(self._compressor.finish())
        return OutputDigest(
            name=self.name, rows=self.rows, bytes=self.bytes, sha256=self._sha256.hexdigest()
        )

    def commit(self, *, replace: bool) -> bool:
        return self._file.commit(replace=replace)

    def discard(self) -> None:
        self._file.discard()

    def _append(self, data: bytes) -> None:
        if data:
            self._file.write(data)
            self._sha256.update(data)
            self.bytes += len(data)


def merge(
    folder: JobFolder, windows: int, rows_in: int, plan: OutputPlan, carried: Carried
) -> tuple[Totals, Lengths, list[OutputDigest]]:
    """Write OUT and OUT.errors.jsonl in input order from the parts of `windows` windows.

    Both appear by rename. An error file of an earlier job is removed if this one has no errors.
    carried: what the parts no longer tell of rows that an earlier job of this output finished.
    """
    totals, lengths = Totals(**msgspec.structs.asdict(carried)), Lengths()
    folder.check_lock()  # before parts are missed: somebody else can remove the folder
    with ExitStack() as stack:
        writer = plan.open_writer(_result_lines(folder, windows))
        results = _Target(folder.store, folder.name, writer)
        stack.callback(results.discard)
        errors = _Target(folder.store, folder.errors_name, JsonlWriter())
        stack.callback(errors.discard)
        for number in range(windows):
            rows = _merge_part(folder, number, totals.rows, results, errors)
            for row in rows:
                totals.count(row)
                lengths.count(row)
        totals.check(rows_in)
        targets = [results, errors] if errors.rows else [results]
        digests = [target.finish() for target in targets]
        folder.check_lock()
        _publish(folder, targets, digests)
    return totals, lengths, digests


def _publish(folder: JobFolder, targets: list[_Target], digests: list[OutputDigest]) -> None:
    """Have the finished files appear. What an earlier job left goes, what is others' stays."""
    earlier = check_outputs(folder)
    folder.announce({digest.name: digest.sha256 for digest in digests})
    written = {target.name for target in targets}
    if folder.manifest_name in earlier:
        folder.store.remove(folder.manifest_name)  # first: no manifest, no commit
    for target in targets:
        if not target.commit(replace=target.name in earlier):
            refuse(folder, target.name)
    if folder.errors_name in earlier - written:
        folder.store.remove(folder.errors_name)


def _gone(folder: JobFolder, window: int) -> OutputError:
    return OutputError(
        f"{folder.label}.job: the finished rows of window {window} are gone: files of the job were"
        " removed while it ran",
        hint="run the same line again: what is no longer there is computed again",
    )


def _merge_part(
    folder: JobFolder, number: int, first: int, results: _Target, errors: _Target
) -> list[Row]:
    part = _sorted_part(folder, number)
    _check_ordinals(f"{folder.label}.job, part {number}", part, first=first)
    results.write([bytes(row.ok) for row in part.rows if not row.code])
    errors.write([bytes(row.error) for row in part.rows if row.code])
    return part.rows


def _result_lines(folder: JobFolder, windows: int) -> Iterator[JsonText]:
    """All result lines in input order."""
    for number in range(windows):
        for row in _sorted_part(folder, number).rows:
            if not row.code:
                yield bytes(row.ok)


def _sorted_part(folder: JobFolder, number: int) -> Part:
    part, _ = folder.read_part(number)
    if not part.rows and number not in folder.part_numbers:
        raise _gone(folder, number)
    part.rows.sort(key=lambda row: row.n)
    return part


def _check_ordinals(label: str, part: Part, *, first: int) -> None:
    expected = range(first, first + (part.window_rows or 0))
    if not part.complete or [row.n for row in part.rows] != list(expected):
        raise InvariantError(
            f"{label}: expected rows {expected.start} to {expected.stop - 1}, each once"
        )


def write_manifest(folder: JobFolder, manifest: dict[str, Any]) -> None:
    """Commit the job. Bytes of a file name that are no UTF-8 are written as \\udcNN.

    The output is there: that the job's folder has been removed since is no reason to stop. A
    store whose lock another run can take over checks it before each write.
    """
    data = _encoded(manifest)
    try:
        folder.announce({folder.manifest_name: hashlib.sha256(data).hexdigest()})
    except OutputError:
        if folder.is_described:  # else nobody will go on with it, and so nobody has to know
            raise
    if not folder.store.create(folder.manifest_name, data):
        refuse(folder, folder.manifest_name)


def is_committed(folder: JobFolder, manifest: dict[str, Any]) -> bool:
    """Whether this very manifest is in its place, as far as can be seen."""
    with suppress(InputError):
        return folder.store.read(folder.manifest_name) == _encoded(manifest)
    return False


def _encoded(manifest: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(_encodable(manifest)), indent=1) + b"\n"


def _encodable(value: Any) -> Any:
    """The value with every text in it fit for UTF-8."""
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    return value
