"""A job's objects, copied beside the job as JSON Lines that `textmill.run` reads.

A line of a staged file has the number that it has in its object, so that errors name it. What
never comes to the model (a record over the payload's limit) stands there as an empty line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import BinaryIO, cast

import msgspec
from msgspec import Struct

from textmill.errors import ErrorCode, InputError, TextmillError
from textmill.gateway.transform.orders import Order, Payload
from textmill.gateway.transform.packing import pack
from textmill.records.contents import check_content
from textmill.records.formats import HEAD_BYTES, check_kind
from textmill.records.lines import MAX_LINE_BYTES, LongLine, read_lines
from textmill.records.strict import MAX_NESTING, is_deeper
from textmill.storage.base import Store, Target
from textmill.storage.cloud_errors import is_passing
from textmill.storage.connecting import Address, StoreOptions
from textmill.storage.decompress import GZIP_MAGIC, ZSTD_MAGIC, Stored, decompressed
from textmill.storage.objects import ObjectStore
from textmill.storage.opening import is_url, manifest_names, open_store

STAGED, INPUTS = "staged.json", "inputs/"
ROW_BYTES = 200
"""What a row takes beside its text: its result, and what is known about it."""

MAX_REFUSED = 1_000_000
"""Records of one object; each is held in memory."""

_MEBIBYTE = 1 << 20
_WHITE = b" \t\r\n"


class InputObject(Struct, frozen=True):
    """An object to transform. `relative`: what its output's key is made of."""

    url: str
    relative: str


class Refused(Struct, frozen=True):
    """A record that never comes to the model. `line` counts from 1."""

    line: int
    code: ErrorCode
    message: str


class Staged(Struct, frozen=True, kw_only=True):
    """An object as it was staged.

    name: of its file. requests: records in each request, in order. refused: by line. unreadable:
    why nothing could be read of it; then it has no records.
    """

    url: str
    relative: str
    name: str
    requests: list[int]
    refused: list[Refused] = []
    unreadable: str | None = None

    @property
    def rows(self) -> int:
        """Its records, refused ones included."""
        return sum(self.requests)


def find_objects(order: Order, options: StoreOptions) -> list[InputObject]:
    """The objects of a job, by key or in the manifest's order. Raises `InputError`."""
    if order.is_manifest:
        found = _from_manifest(order.uri, options)
    else:
        found = _with_prefix(order.uri, options)
    if not found:
        raise InputError(f"no object's key begins with {order.uri}", hint="check the spelling")
    for relative, count in Counter(one.relative for one in found).items():
        if count > 1:
            raise InputError(f"{count} inputs would have the output {relative}.out")
    return found


def _with_prefix(uri: str, options: StoreOptions) -> list[InputObject]:
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    names = [n for n, _ in ObjectStore(Address("s3", bucket), "", options).listing(prefix)]
    skip = len(prefix.rpartition("/")[0]) + 1 if "/" in prefix else 0
    return [InputObject(f"s3://{bucket}/{name}", name[skip:]) for name in names]


def _from_manifest(uri: str, options: StoreOptions) -> list[InputObject]:
    store, name = open_store(uri, options)
    data = store.read(name)
    if data is None:
        raise InputError(f"there is no manifest {uri}", hint="check the spelling")
    urls = manifest_names(data, uri)
    prefix = msgspec.json.decode(data)[0]["prefix"]
    for url in urls:
        if not is_url(url) or not url.startswith("s3://"):
            raise InputError(f"{uri}: {url[:200]} is not the address of an object, s3://BUCKET/KEY")
    skip = len(prefix.rpartition("/")[0]) + 1
    return [InputObject(url, url[skip:]) for url in urls]


class Room:
    """Where a job's copies go: into `store`, as long as there is room.

    max_bytes: what text may take there, and `ROW_BYTES` for each of its lines.
    """

    def __init__(self, store: Store, max_bytes: int) -> None:
        self.store, self.max_bytes, self.taken = store, max_bytes, 0

    def take(self, text: bytes, url: str) -> None:
        """Take it for a piece of an object. Raises `InputError` if there is no more."""
        self.taken += len(text) + ROW_BYTES * text.count(b"\n")
        if self.taken > self.max_bytes:
            raise InputError(
                f"{url} does not fit: a job's objects may take {self.max_bytes:,} bytes here,"
                " half of the free disk; split the object over several jobs, or start the gateway"
                " with its --state on a larger disk"
            )


def stage(
    order: Order, objects: list[InputObject], room: Room, options: StoreOptions
) -> list[Staged]:
    """Copy objects into a store; the list of them comes last: once it is there, all is whole.

    Raises `InputError` if the store is out of reach. An object that cannot be read, or for which
    there is no room, is a value.
    """
    found = [_stage(order, one, n, room, options) for n, one in enumerate(objects)]
    room.store.replace(STAGED, msgspec.json.encode(found))
    return found


def staged(store: Store) -> list[Staged] | None:
    """What an earlier worker staged; None if it did not come to its end."""
    data = store.read(STAGED)
    return None if data is None else msgspec.json.decode(data, type=list[Staged])


def _stage(
    order: Order, one: InputObject, number: int, room: Room, options: StoreOptions
) -> Staged:
    source, key = open_store(one.url, options)
    store, taken_before = room.store, room.taken
    name = f"{INPUTS}{number:06d}.jsonl"
    refused: list[Refused] = []
    limit = order.max_payload_bytes if order.split else 0
    target = store.target(name)
    try:
        with closing(source.open(key)) as stream:
            text = _text(order, Stored(cast(BinaryIO, stream)), one.url, room)
            sizes = _WRITERS[_way(order)](order, text, target, refused)
            multi_record = order.multi_record or not order.split
            requests = list(pack(sizes, max_bytes=limit, multi_record=multi_record))
        target.commit()
        _check_kind(store, name, one.url)
    except InputError as error:
        if may_pass(error):
            raise
        room.taken = taken_before
        store.replace(name, b"")
        return Staged(
            url=one.url, relative=one.relative, name=name, requests=[], unreadable=error.message
        )
    finally:
        target.discard()
    return Staged(url=one.url, relative=one.relative, name=name, requests=requests, refused=refused)


def _check_kind(store: Store, name: str, url: str) -> None:
    """Raise `InputError` for what `textmill.run` would refuse, and all other objects with it."""
    with closing(store.open(name)) as stream:
        stored = Stored(cast(BinaryIO, stream))
        if decompressed(stored, url) is not stored:
            raise InputError(f"{url} is compressed twice")
        head = stored.read(HEAD_BYTES)
        head += stored.read(HEAD_BYTES)  # the first read may give the mark alone
    check_kind(url, head)
    check_content(url, "jsonl", head, said=True)


def may_pass(error: TextmillError) -> bool:
    """Whether a store's error is one of the moment: it is busy, or out of reach."""
    return error.__cause__ is not None and is_passing(error.__cause__)


class _Text:
    """An object's text, in `read`s of any size, as far as there is room for it."""

    def __init__(self, read: Callable[[int], bytes], url: str, room: Room) -> None:
        self._read, self.url, self._room = read, url, room

    def read(self, size: int) -> bytes:
        """The next piece; empty at the end. Raises `InputError`."""
        data = self._read(size)
        self._room.take(data, self.url)
        return data


def _text(order: Order, stored: Stored, url: str, room: Room) -> _Text:
    """What stands in an object. CompressionType alone says whether it is compressed."""
    is_gzip = stored.magic.startswith(GZIP_MAGIC)
    if order.gzip and not is_gzip:
        raise InputError(f"{url} is not gzipped, though CompressionType is Gzip")
    if not order.gzip and (is_gzip or stored.magic == ZSTD_MAGIC):
        raise InputError(f"{url} is compressed, though CompressionType is None")
    return _Text((decompressed(stored, url) if order.gzip else stored).read, url, room)


def _way(order: Order) -> str:
    if order.payload is Payload.JSON_LINES or (order.split and order.payload is Payload.JSON):
        return "lines"
    return "texts" if order.split else "whole"


def _lines(order: Order, text: _Text, target: Target, refused: list[Refused]) -> Iterator[int]:
    """Records that are JSON already: their bytes as they are."""
    return _each_line(order, text, target, refused, lambda line: line)


def _texts(order: Order, text: _Text, target: Target, refused: list[Refused]) -> Iterator[int]:
    """Each line is a text."""
    return _each_line(order, text, target, refused, _record_of_text)


def _each_line(
    order: Order,
    text: _Text,
    target: Target,
    refused: list[Refused],
    record: Callable[[bytes], bytes],
) -> Iterator[int]:
    """Write each line's record; gives the sizes of lines that are not empty."""
    limit = order.max_payload_bytes if order.split else 0
    for chunk in read_lines(text, max_line_bytes=min(limit or MAX_LINE_BYTES, MAX_LINE_BYTES)):
        if isinstance(chunk, LongLine):
            _refuse(_too_large(chunk.number, chunk.size_bytes, limit), text, refused)
            target.write(b"\n")
            yield chunk.size_bytes
            continue
        for number, line in enumerate(chunk.lines, chunk.first):
            if line.strip(_WHITE):
                try:
                    target.write(record(line) + b"\n")
                except UnicodeDecodeError as error:
                    bad = Refused(number, ErrorCode.BAD_JSON, f"no UTF-8: {error.reason}")
                    _refuse(bad, text, refused)
                    target.write(b"\n")
                yield len(line) + 1
            else:
                target.write(b"\n")


def _refuse(one: Refused, text: _Text, refused: list[Refused]) -> None:
    """Note a record that never comes to the model. Raises `InputError` if they are too many."""
    refused.append(one)
    if len(refused) > MAX_REFUSED:
        raise InputError(
            f"{text.url}: over {MAX_REFUSED:,} of its records cannot be read, the first at line"
            f" {refused[0].line}: {refused[0].message}"
        )


def _whole(order: Order, text: _Text, target: Target, refused: list[Refused]) -> Iterator[int]:
    """The object is one record."""
    limit = min(order.max_payload_bytes or MAX_LINE_BYTES, MAX_LINE_BYTES)
    data = b""
    while len(data) <= limit and (more := text.read(_MEBIBYTE)):
        data += more
    if not data.strip(_WHITE):
        return
    line = b""
    try:
        if len(data) > limit:
            refused.append(_too_large(1, len(data), order.max_payload_bytes))
        elif order.payload is Payload.TEXT:
            line = _record_of_text(data)
        else:
            line = _on_one_line(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        refused.append(Refused(1, ErrorCode.BAD_JSON, f"the object is no JSON: {error}"))
    target.write(line + b"\n")
    yield len(data)


def _on_one_line(data: bytes) -> bytes:
    if is_deeper(data, MAX_NESTING):
        raise msgspec.DecodeError(f"nested deeper than {MAX_NESTING} levels")
    return msgspec.json.format(data, indent=-1)


_WRITERS = {"lines": _lines, "texts": _texts, "whole": _whole}


def _record_of_text(text: bytes) -> bytes:
    return msgspec.json.encode({"text_inputs": text.decode().removesuffix("\r")})


def _too_large(line: int, size_bytes: int, limit: int) -> Refused:
    if limit and size_bytes > limit:
        message = f"{size_bytes:,} bytes or more are over MaxPayloadInMB={limit // _MEBIBYTE}"
    else:
        message = f"{size_bytes:,} bytes are over the limit of {MAX_LINE_BYTES:,} for one record"
    return Refused(line, ErrorCode.TOO_LONG, message)
