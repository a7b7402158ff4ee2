"""Whatever an archive says, there is a folder of model files afterwards, or nothing."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import tars
from textmill.catalog.archive import MODEL_FILE, unpack_model_archive
from textmill.errors import ModelError

LIMIT_BYTES = 100_000

names = st.text(max_size=12) | st.sampled_from(
    [
        "config.json", "./config.json", "m/config.json", "model.safetensors", "m/vocab.json",
        "code/x.py", "README.md", "../x", "/etc/x", "m", "m/", "", ".", "./", "a" * 100, "é.json",
    ]
)  # fmt: skip
kinds = st.sampled_from([b"0"] * 12 + [b"\0", b"5", b"5", b"1", b"2", b"6", b"S", b"x", b"g", b"L"])
payloads = st.binary(max_size=40) | st.integers(0, 2000).map(lambda size: b"x" * size)
keys = st.sampled_from(["path", "size", "mtime", "comment", "linkpath", "GNU.sparse.map", "uid"])


def encoded(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")[:100]


@st.composite
def members(draw: st.DrawFn) -> bytes:
    """A member, sometimes with extended headers, sometimes with a size that is not its own."""
    name, data, kind = encoded(draw(names)), draw(payloads), draw(kinds)
    before = b""
    if draw(st.integers(0, 4)) == 0:
        value = draw(st.one_of(names.map(encoded), st.integers(0, 3000).map(lambda n: b"%d" % n)))
        before += tars.pax(tars.record(draw(keys), value))
    if draw(st.integers(0, 6)) == 0:
        before += tars.long_name(encoded(draw(names)))
    if kind in {b"5", b"1", b"2", b"6"} and draw(st.booleans()):
        data = b""
    size = draw(st.sampled_from([len(data)] * 9 + [0, 1, 512, 2**33]))
    field = b"%011o\0" % size if size < 2**33 else b"\x80" + size.to_bytes(11, "big")
    return before + tars.header(name, field, kind, link=b"/etc/passwd") + tars.padded(data)


benign = st.sampled_from(
    ["model.safetensors", "./vocab.json", "code/x.py", "README.md", "a/b/c", "source.spm", "m/x"]
)


@st.composite
def plain_members(draw: st.DrawFn) -> list[bytes]:
    """Members that should be accepted, written in any of the ways in which programs write them."""
    parts = []
    for name in draw(st.lists(benign, unique=True, max_size=6)):
        data, how = draw(payloads), draw(st.integers(0, 4))
        size, own, before = b"%011o\0" % len(data), name.encode(), b""
        if how == 1:
            size = b"\x80" + len(data).to_bytes(11, "big")
        elif how == 2:
            before, size = tars.pax(tars.record("size", f"{len(data)}")), b"0" * 11 + b"\0"
        elif how == 3:
            before, own = tars.pax(tars.record("path", name), tars.record("mtime", "1.5")), b"short"
        elif how == 4:
            before, own = tars.long_name(own), b"short"
        parts.append(before + tars.header(own, size) + tars.padded(data))
    return parts


@st.composite
def archives(draw: st.DrawFn) -> bytes:
    """A tar of sound members with some odd ones, and some of its bytes changed now and then."""
    parts = draw(plain_members())
    for odd in draw(st.lists(members(), max_size=2)):
        parts.insert(draw(st.integers(0, len(parts))), odd)
    parts.insert(draw(st.integers(0, len(parts))), tars.CONFIG)
    raw = bytearray(b"".join(parts) + tars.END)
    for _ in range(draw(st.sampled_from([0] * 6 + [1, 2]))):
        raw[draw(st.integers(0, len(raw) - 1))] ^= draw(st.integers(1, 255))
    cut = draw(st.sampled_from([len(raw)] * 9 + [len(raw) // 2, len(raw) - 512]))
    return bytes(raw[:cut])


def unpack(folder: Path, content: bytes, max_ratio: int = 100) -> dict[str, bytes] | None:
    """The files that came out, None for a refusal; nothing else may have happened."""
    shutil.rmtree(folder)
    room = folder / "room"
    room.mkdir(parents=True)
    archive = folder / "model.tar.gz"
    archive.write_bytes(content)
    try:
        result = unpack_model_archive(
            archive, room / "model", max_bytes=LIMIT_BYTES, max_ratio=max_ratio
        )
    except ModelError as error:
        message = error.message
    else:
        assert sorted(folder.rglob("*")) == sorted([archive, room, room / "model", *result.files])
        assert all(path.is_file() and not path.is_symlink() for path in result.files)
        assert all(MODEL_FILE.fullmatch(path.name) for path in result.files)
        files = {path.name: path.read_bytes() for path in result.files}
        assert sum(map(len, files.values())) <= LIMIT_BYTES
        return files
    assert message.startswith(f"{archive}: ")
    assert sorted(folder.rglob("*")) == [archive, room]
    return None


def by_tarfile(raw: bytes) -> dict[str, bytes]:
    """What Python's own reader sees, by the last part of each name, the first of each kept."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        for entry in archive:
            if entry.isreg():
                stream = archive.extractfile(entry)
                assert stream is not None
                found.setdefault(entry.name.removeprefix("./"), stream.read())
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def check_archive(folder: Path, raw: bytes, compress: bool) -> None:
    files = unpack(folder, gzip.compress(raw, 1) if compress else raw)
    if files:
        seen = by_tarfile(raw)
        for name, data in files.items():
            assert data in [seen[path] for path in seen if path.rpartition("/")[2] == name]


@given(parts=plain_members(), compress=st.booleans())
@settings(max_examples=200, deadline=None)
def test_sound_members_are_accepted_however_they_are_written(
    folder: Path, parts: list[bytes], compress: bool
) -> None:
    raw = b"".join([tars.CONFIG, *parts, tars.END])
    files = unpack(folder, gzip.compress(raw, 1) if compress else raw, max_ratio=2000)
    seen = by_tarfile(raw)
    assert files == {name: data for name, data in seen.items() if MODEL_FILE.fullmatch(name)}


@given(raw=archives(), compress=st.booleans())
@settings(max_examples=400, deadline=None)
def test_an_archive_is_unpacked_or_refused(folder: Path, raw: bytes, compress: bool) -> None:
    """And what comes out is what tarfile sees under that name."""
    check_archive(folder, raw, compress)


@pytest.mark.full
@given(raw=archives(), compress=st.booleans())
@settings(max_examples=5_000, deadline=None)
def test_an_archive_is_unpacked_or_refused_at_length(
    folder: Path, raw: bytes, compress: bool
) -> None:
    check_archive(folder, raw, compress)


def sound() -> bytes:
    weights = bytes((n * n) % 251 for n in range(3000))
    parts = [tars.CONFIG, tars.member("model.safetensors", weights), tars.member("code/x.py", b"x")]
    return gzip.compress(b"".join(parts) + tars.END, 6, mtime=0)


def check_compressed(folder: Path, changes: list[tuple[int, int]], cut: int) -> None:
    raw = bytearray(sound())
    whole = unpack(folder, bytes(raw))
    assert whole
    for at, bits in changes:
        raw[at % len(raw)] ^= bits
    files = unpack(folder, bytes(raw[: len(raw) - cut]))
    assert files in (None, whole)


changed_bytes = st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(1, 255)), max_size=3)
cuts = st.sampled_from([0, 0, 0, 1, 8, 9, 100])


@given(changes=changed_bytes, cut=cuts)
@settings(max_examples=200, deadline=None)
def test_a_changed_gzip_file_is_unpacked_as_it_was_or_refused(
    folder: Path, changes: list[tuple[int, int]], cut: int
) -> None:
    check_compressed(folder, changes, cut)


@pytest.mark.full
@given(changes=changed_bytes, cut=cuts)
@settings(max_examples=5_000, deadline=None)
def test_a_changed_gzip_file_is_unpacked_as_it_was_or_refused_at_length(
    folder: Path, changes: list[tuple[int, int]], cut: int
) -> None:
    check_compressed(folder, changes, cut)
