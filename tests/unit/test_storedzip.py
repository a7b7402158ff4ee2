"""A zip file that two readers could see differently is refused."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from textmill.engines.checkpoint.storedzip import read_directory
from textmill.engines.checkpoint.torchvalues import Source
from textmill.errors import CorruptModel, UnsafeModel, UnsupportedModel

CONTENT = {"m/data.pkl": b"pickle", "m/version": b"3", "m/data/0": b"weights", "m/data/1": b""}


def zipped(
    names: dict[str, bytes] | list[tuple[str, bytes]] = CONTENT, method: int = zipfile.ZIP_STORED
) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as archive:
        warnings.simplefilter("ignore")
        for name, data in names.items() if isinstance(names, dict) else names:
            archive.writestr(name, data)
    return out.getvalue()


def contents(raw: bytes) -> dict[str, bytes]:
    entries = read_directory(Source(Path("m.bin"), raw))
    return {name: raw[e.start : e.start + e.size] for name, e in entries.items()}


def patched(raw: bytes, at: int, layout: str, *values: int) -> bytes:
    changed = bytearray(raw)
    struct.pack_into(layout, changed, at, *values)
    return bytes(changed)


def directory_at(raw: bytes, nth: int = 0) -> int:
    at = -1
    for _ in range(nth + 1):
        at = raw.index(b"PK\x01\x02", at + 1)
    return at


def test_stored_entries_are_found_with_their_bytes() -> None:
    assert contents(zipped()) == CONTENT


def test_64_bit_directories_are_read() -> None:
    raw = zipped()
    end = len(raw) - 22
    _, _, _, count, _, size, start, _ = struct.unpack("<4s4H2IH", raw[end:])
    wide = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    small = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 2**32 - 1, 2**32 - 1, 0)
    assert contents(raw[:end] + wide + locator + small) == CONTENT
    with pytest.raises(CorruptModel):
        contents(raw[:end] + wide + patched(locator, 8, "<Q", end + 1) + small)


def test_64_bit_sizes_are_read_from_the_extra_field() -> None:
    raw = zipped({"m/a": b"bytes"})
    at = directory_at(raw)
    head = bytearray(raw[at : at + 46])
    struct.pack_into("<2I", head, 20, 2**32 - 1, 2**32 - 1)
    struct.pack_into("<H", head, 30, 24)
    extra = struct.pack("<2HI", 9, 0, 0)[:4] + struct.pack("<2H2Q", 1, 16, 5, 5)
    entry = bytes(head) + b"m/a" + extra
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(entry), at, 0)
    assert contents(raw[:at] + entry + end) == {"m/a": b"bytes"}
    far = entry[:-8] + struct.pack("<Q", 2**63)
    with pytest.raises(CorruptModel):
        contents(raw[:at] + far + end)


@pytest.mark.parametrize(
    "name",
    ["../xxx", "m/../x", "/xxxxx", "m//xxx", "m/./xx", "m/xxx/", "m\\xxxx", "m/x\0yy", "m/\x1b[0m"],
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    raw = zipped({"m/xxxx": b"x"}).replace(b"m/xxxx", name.encode())
    assert raw.count(name.encode()) == 2
    with pytest.raises(CorruptModel, match="impossible name"):
        contents(raw)


def test_names_of_no_or_endless_length_are_refused() -> None:
    raw = zipped({"m": b"x"})
    nameless = patched(patched(raw, directory_at(raw) + 28, "<H", 0), 26, "<H", 0)
    for changed in (nameless, zipped({"m/" + "x" * 2000: b"x"})):
        with pytest.raises(CorruptModel, match="impossible name"):
            contents(changed)


def test_an_entry_that_comes_twice_is_refused() -> None:
    with pytest.raises(CorruptModel, match='"m/data/0" comes twice'):
        contents(zipped([*CONTENT.items(), ("m/data/0", b"other")]))


def test_compressed_entries_are_refused_with_the_way_out() -> None:
    with pytest.raises(UnsupportedModel, match="compressed") as error:
        contents(zipped(method=zipfile.ZIP_DEFLATED))
    assert "save the model again" in str(error.value)


def overlapping(raw: bytes) -> bytes:
    """The second entry's header is made to be the first's, as in overlapping zip bombs."""
    return patched(raw, directory_at(raw, 1) + 42, "<I", 0)


def inside(raw: bytes) -> bytes:
    """A complete second entry that lies in the bytes of the first."""
    inner = zipped({"m/b": b"x"})
    inner_local = inner[: inner.index(b"PK\x01\x02")]
    outer = zipped({"m/a": inner_local + bytes(20), "m/b": b"x"})
    return patched(outer, directory_at(outer, 1 + 0) + 42, "<I", outer.index(inner_local))


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "bytes in front": lambda raw: b"x" + raw,
    "bytes behind": lambda raw: raw + b"x",
    "bytes before the directory's end": lambda raw: raw[:-22] + b"x" + raw[-22:],
    "comment": lambda raw: raw[:-2] + b"\x01\x00x",
    "no end": lambda raw: raw[:-22],
    "second disk": lambda raw: patched(raw, len(raw) - 18, "<H", 1),
    "more entries than there are": lambda raw: patched(raw, len(raw) - 14, "<2H", 5, 5),
    "fewer entries than there are": lambda raw: patched(raw, len(raw) - 14, "<2H", 3, 3),
    "two counts": lambda raw: patched(raw, len(raw) - 14, "<2H", 3, 4),
    "directory elsewhere": lambda raw: patched(raw, len(raw) - 6, "<I", 0),
    "entry signature": lambda raw: patched(raw, directory_at(raw), "<I", 0),
    "entry header signature": lambda raw: patched(raw, 0, "<I", 0),
    "entry on another disk": lambda raw: patched(raw, directory_at(raw) + 34, "<H", 1),
    "encrypted": lambda raw: patched(raw, directory_at(raw) + 8, "<H", 1),
    "two sizes": lambda raw: patched(raw, directory_at(raw) + 20, "<I", 5),
    "too long": lambda raw: patched(raw, directory_at(raw) + 20, "<2I", 9999, 9999),
    "into its neighbour": lambda raw: patched(raw, directory_at(raw) + 20, "<2I", 20, 20),
    "header outside": lambda raw: patched(raw, directory_at(raw) + 42, "<I", 2**31),
    "header at the end": lambda raw: patched(raw, directory_at(raw) + 42, "<I", len(raw) - 10),
    "64-bit size missing": lambda raw: patched(raw, directory_at(raw) + 24, "<I", 2**32 - 1),
    "name too long": lambda raw: patched(raw, directory_at(raw) + 28, "<H", 0xFFFF),
    "other name in its header": lambda raw: raw.replace(b"m/version3", b"m/Version3"),
    "name not UTF-8": lambda raw: raw.replace(b"m/version", b"m/versio\xff"),
    "overlapping": overlapping,
    "one inside of another": inside,
}


@pytest.mark.parametrize("name", DAMAGE)
def test_contradictions_are_refused(name: str) -> None:
    changed = DAMAGE[name](zipped())
    assert changed != zipped()
    with pytest.raises(CorruptModel, match=r"m\.bin"):
        contents(changed)


def test_the_number_of_entries_is_bounded_before_they_are_read() -> None:
    raw = zipped()
    end = len(raw) - 22
    _, _, _, _, _, size, start, _ = struct.unpack("<4s4H2IH", raw[end:])
    count = 10**15
    wide = struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    with pytest.raises(UnsafeModel, match="entries"):
        contents(raw[:end] + wide + locator + raw[end:])
