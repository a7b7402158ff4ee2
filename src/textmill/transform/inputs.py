"""Where a job's rows come from: paths, globs, folders, standard input, URLs, data sets, records.

Everything becomes a `JobInput`: a file of some store, its format, and the name the user knows.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec
from msgspec import Struct

from textmill.catalog.datasets import expand_folder, fetch_dataset, is_dataset
from textmill.catalog.fetch import Transfer
from textmill.catalog.hub import Hub
from textmill.errors import InputError, UsageError
from textmill.records.arrow_tables import bytes_of_tables, is_table, mixed
from textmill.records.base import ByteStream
from textmill.records.contents import check_content
from textmill.records.formats import HEAD_BYTES, INPUT_FORMATS, Format, check_kind, detect_input
from textmill.records.python_rows import line_of
from textmill.records.split import Shard, ShardStream, check_splittable, shard_name, shard_range
from textmill.storage.base import STANDARD_INPUT, InputFile, Store, Stream, input_errors
from textmill.storage.connecting import StoreOptions
from textmill.storage.decompress import Stored, decompressed
from textmill.storage.inputs import expand_inputs, open_input, refuse_repeats
from textmill.storage.local import LocalStore
from textmill.storage.opening import MANIFEST_SUFFIX, expand_urls, is_url, open_store
from textmill.words import written

Inputs = str | Path | Sequence[str | Path] | Iterable[Mapping[str, Any]]

LINE_FORMATS: frozenset[Format] = frozenset({"jsonl", "lines", "openai"})
"""Formats in which every line is a row."""

_CHUNK_BYTES = 1 << 20


class ReadOptions(Struct, frozen=True, kw_only=True):
    """How inputs are found and read.

    input_format: one of `INPUT_FORMATS`, or "auto": by name and content.
    shard: only this part of the input, which then is one file.
    home, offline, on_transfer: of data sets, as of models. refresh: ask the hub what a data set's
        revision means now, though it was asked before.
    """

    home: Path
    input_format: str = "auto"
    shard: Shard | None = None
    stores: StoreOptions = StoreOptions()
    offline: bool = False
    refresh: bool = False
    on_transfer: Callable[[Transfer], None] | None = None


class JobInput(Struct, frozen=True, kw_only=True):
    """One file of a job's input: where it is, what the user calls it, what is in it.

    span: the stretch of bytes in which the rows to read begin; None for all of them.
    is_copy: it was copied here from what can be read only once; origin: the pipe that was, or `-`.
    commit: of a data set, what its revision meant.
    """

    store: Store
    name: str
    label: str
    format: Format = "jsonl"
    span: tuple[int, int] | None = None
    is_copy: bool = False
    origin: str | None = None
    commit: str | None = None

    @property
    def is_read_twice(self) -> bool:
        """Whether it is read for its digest: a file of this machine, which costs nothing, or a
        copy, which each run makes anew, so that its version may tell nothing."""
        return self.is_copy or isinstance(self.store, LocalStore)

    @property
    def version(self) -> str:
        """Changes with the content. Raises `InputError` if the file has gone."""
        entry = self.store.stat(self.name)
        if entry is None:
            raise InputError(
                f"{self.label} is not there any more",
                hint="put it back as it was, and the same line goes on",
            )
        return entry.version

    def open(self) -> Stream:
        """Its bytes as they are stored. Raises `InputError`."""
        return self.store.open(self.name)

    def text_of(self, stream: ByteStream) -> ByteStream:
        """What a reader reads of its stored bytes: decompressed, and only the shard's."""
        if self.format == "parquet":
            return stream
        if self.span is not None:
            return ShardStream(cast(Any, stream), *self.span)
        return decompressed(Stored(cast(BinaryIO, stream)), self.label)


class Copy(Struct, frozen=True):
    """Where to copy what can be read only once, so that a resume can read it again.

    check: is told the copy's SHA-256 before it takes the place of an earlier one; may raise.
    """

    store: Store
    name: str
    check: Callable[[str], None] | None = None


class _Found(Struct, frozen=True):
    """A file that an input's pattern led to, what the user calls it, and its data set's commit."""

    file: InputFile
    label: str
    commit: str | None = None


def find_inputs(inputs: Inputs, copy: Copy, options: ReadOptions) -> list[JobInput]:
    """The files to read; `copy` is made of what can be read only once.

    Raises `InputError`, `UsageError`, and what `copy.check` raises.
    """
    if options.input_format not in ("auto", *INPUT_FORMATS):
        raise UsageError(
            f'there is no input format "{options.input_format}"',
            hint=f"the formats are: auto, {', '.join(INPUT_FORMATS)}",
        )
    patterns = patterns_of(inputs)
    if patterns is None:
        found = [_records(inputs, copy)]
    else:
        found = _located(patterns, copy, options)
        found = [_with_format(file, options.input_format) for file in found]
    return found if options.shard is None else [_sharded(found, options.shard)]


def _records(inputs: Any, copy: Copy) -> JobInput:
    """Records from Python: dicts as lines, tables of Arrow as Parquet, which has their types."""
    tables, rows = _tables_or_rows(inputs)
    if tables is None:
        _make_copy(map(line_of, _only_rows(rows)), copy)
    else:
        _make_copy(bytes_of_tables(tables), copy)
    format_: Format = "python" if tables is None else "parquet"
    return JobInput(store=copy.store, name=copy.name, label="records", format=format_, is_copy=True)


def _only_rows(items: Iterable[Any]) -> Iterator[Any]:
    """An item that is no row is one error row; a table would be many."""
    for place, item in enumerate(items, 1):
        if is_table(item):
            raise mixed(f"item {place} is an Arrow table, and those before it are rows")
        yield item


def _tables_or_rows(inputs: Any) -> tuple[Iterable[Any] | None, Iterable[Any]]:
    """One table, several (told by the first item), or rows."""
    if is_table(inputs):
        return [inputs], ()
    items = iter(inputs)
    first = list(islice(items, 1))
    items = chain(first, items)
    return (items, ()) if first and is_table(first[0]) else (None, items)


def patterns_of(inputs: Inputs) -> list[str] | None:
    """File patterns, or None when the inputs are records themselves, perhaps none at all.

    Raises `InputError` for what can be neither.
    """
    if isinstance(inputs, str | Path):
        return [str(inputs)]
    if is_table(inputs):
        return None
    if isinstance(inputs, Mapping | bytes) or not isinstance(inputs, Iterable):
        said = "a single record" if isinstance(inputs, Mapping) else f"{written(inputs, 80)}"
        raise InputError(
            f"the input is {said}",
            hint="give a path, a list of paths, an iterable of dicts, or Arrow tables",
        )
    if isinstance(inputs, Sequence) and all(isinstance(one, str | Path) for one in inputs):
        return [str(one) for one in inputs] or None
    return None


def _located(patterns: Sequence[str], copy: Copy, options: ReadOptions) -> list[JobInput]:
    found = [one for pattern in patterns for one in _expanded(pattern, options)]
    files = [one.file for one in found]
    refuse_repeats([file for file in files if not is_url(file.path)])
    _refuse_repeated_urls(file.path for file in files if is_url(file.path))
    once = [file.path for file in files if file.size_bytes is None]
    if len(once) > 1:
        raise UsageError("only one input can be standard input or a pipe")
    for path in once:
        with open_input(path) as stream:
            _make_copy(iter(lambda: stream.read(_CHUNK_BYTES), b""), copy)
    return [_job_input(one, copy, options) for one in found]


def _expanded(pattern: str, options: ReadOptions) -> list[_Found]:
    if is_dataset(pattern):
        data = fetch_dataset(
            pattern,
            home=options.home,
            hub=Hub(offline=options.offline),
            progress=options.on_transfer,
            refresh=options.refresh,
        )
        files = expand_inputs([str(path) for path in data.files])
        return [
            _Found(file, name, data.commit) for file, name in zip(files, data.names, strict=True)
        ]
    if is_url(pattern) or pattern.endswith(MANIFEST_SUFFIX):
        named = expand_urls(pattern, options.stores)
    elif pattern and _is_folder(pattern):
        named = list(expand_inputs([str(path) for path in expand_folder(Path(pattern))]))
    else:
        named = list(expand_inputs([pattern]))
    return [_Found(file, file.path) for file in named]


def _is_folder(path: str) -> bool:
    """Raises `InputError` if a folder on the way to it may not be entered."""
    with input_errors(path):
        return Path(path).is_dir()


def _refuse_repeated_urls(urls: Iterable[str]) -> None:
    for url, count in Counter(urls).items():
        if count > 1:
            raise InputError(
                f"{url} is named {count} times",
                hint="name it once; every record would be read twice",
            )


def _job_input(found: _Found, copy: Copy, options: ReadOptions) -> JobInput:
    if found.file.size_bytes is None:
        shown = "standard input" if found.file.path == STANDARD_INPUT else found.label
        return JobInput(
            store=copy.store, name=copy.name, label=shown, is_copy=True, origin=found.file.path
        )
    place, name = open_store(found.file.path, options.stores)
    return JobInput(store=place, name=name, label=found.label, commit=found.commit)


def _with_format(file: JobInput, wanted: str) -> JobInput:
    """The input with its format: the one asked for, or the one that its name and content tell."""
    with closing(file.open()) as stream:
        stored = Stored(cast(BinaryIO, stream))
        text = decompressed(stored, file.label)
        head = read_head(text)
    check_kind(file.label, head)
    said = wanted != "auto"
    format_ = cast(Format, wanted) if said else detect_input(file.label, head)
    check_content(file.label, format_, head, said=said)
    if format_ == "parquet" and text is not stored:
        raise InputError(
            f"{file.label} is compressed Parquet, which has to be read from its end",
            hint="decompress it; Parquet compresses its pages itself",
        )
    return msgspec.structs.replace(file, format=format_)


def read_head(text: ByteStream) -> bytes:
    """The first bytes of a text, as many as `detect_input` makes use of."""
    head = b""
    while len(head) < HEAD_BYTES and (data := text.read(HEAD_BYTES - len(head))):
        head += data
    return head


def _sharded(found: Sequence[JobInput], shard: Shard) -> JobInput:
    """The shard of the one input there is. Raises `UsageError`."""
    if len(found) != 1 or found[0].is_copy:
        raise UsageError(
            "a shard is of one file, which can be read from its middle",
            hint="give one file; of several files, give each run some of them",
        )
    (file,) = found
    if file.format == "lines":
        raise UsageError(
            f"{file.label} has lines without ids, and a shard does not know how many stand before"
            " it, so it would number its lines from 0",
            hint="make it JSON Lines with ids, or one file for each run",
        )
    with closing(file.open()) as stream:
        stored = Stored(cast(BinaryIO, stream))
        compressed = decompressed(stored, file.label) is not stored
    check_splittable(file.label, lines=file.format in LINE_FORMATS, compressed=compressed)
    entry = file.store.stat(file.name)
    span = shard_range(entry.size_bytes if entry else 0, shard)
    with closing(file.open()) as stream:
        first_byte = ShardStream(stream, *span).first_byte
    label = shard_name(file.label, shard, first_byte)
    return msgspec.structs.replace(file, span=span, label=label)


def _make_copy(chunks: Iterable[bytes], copy: Copy) -> None:
    target, sha256 = copy.store.target(copy.name), hashlib.sha256()
    try:
        for data in chunks:
            target.write(data)
            sha256.update(data)
        if copy.check is not None:
            copy.check(sha256.hexdigest())
        target.commit()
    finally:
        target.discard()
