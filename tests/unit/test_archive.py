"""A model.tar.gz gives the model's files, or nothing at all."""

from __future__ import annotations

import gzip
import io
import os
import random
import subprocess
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from support import tars
from support.tars import CONFIG, header, member, pax, record
from textmill.catalog.archive import unpack_model_archive
from textmill.errors import (
    CorruptModel,
    ModelError,
    ModelNotFound,
    OutputError,
    UnsafeModel,
    UnsupportedModel,
)

MODEL = {
    "config.json": b'{"model_type": "marian"}',
    "generation_config.json": b"{}",
    "model.safetensors": random.Random(1).randbytes(1_300_000),
    "model-00001-of-00002.safetensors": b"one",
    "model.safetensors.index.json": b"{}",
    "pytorch_model.bin": b"weights",
    "pytorch_model-00001-of-00002.bin": b"two",
    "pytorch_model.bin.index.json": b"{}",
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b"{}",
    "special_tokens_map.json": b"{}",
    "added_tokens.json": b"{}",
    "vocab.json": b"{}",
    "target_vocab.json": b"{}",
    "merges.txt": b"a b",
    "spiece.model": b"sp",
    "sentencepiece.bpe.model": b"bpe",
    "source.spm": b"source",
    "target.spm": b"",
}
OTHERS = {
    "README.md": b"# model",
    "training_args.bin": b"pickle",
    "tf_model.h5": b"other",
    "code/inference.py": b"import os",
    "code/requirements.txt": b"x",
    "code/config.json": b"{}",
    "onnx/config.json": b"{}",
    "runs/a/model.safetensors": b"",
    "._config.json": b"mac",
    ".gitattributes": b"",
    "config.json.py": b"",
    "日本語.txt": "名".encode(),
    "n" * 90 + "/" + "m" * 120: b"long",
}


def pack(path: Path, files: dict[str, bytes], mode: str = "w:gz", **options: object) -> Path:
    with tarfile.open(path, mode, **options) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mtime = 1700000000.25  # type: ignore[assignment]
            archive.addfile(entry, io.BytesIO(data))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refuse(tmp_path: Path, error: type[ModelError], *parts: bytes, **limits: int) -> str:
    """Unpack what must be refused; check that nothing remains; the message."""
    room = tmp_path / "room"
    room.mkdir(exist_ok=True)
    archive = tars.write(tmp_path / "model.tar.gz", *parts)
    with pytest.raises(error, match=r"model\.tar\.gz: ") as caught:
        unpack_model_archive(archive, room / "model", **limits)
    assert list(room.iterdir()) == []
    assert len(str(caught.value)) < 1000
    return caught.value.message


@pytest.mark.parametrize("mode", ["w:gz", "w"])
@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
@pytest.mark.parametrize("prefix", ["", "./", "my-model/", "./модель/", "m" * 120 + "/"])
def test_the_files_of_a_model_are_written_and_no_others(
    tmp_path: Path, mode: str, format: int, prefix: str
) -> None:
    files = {prefix + name: data for name, data in (MODEL | OTHERS).items()}
    archive = pack(tmp_path / "model.tar.gz", files, mode, format=format)
    result = unpack_model_archive(archive, tmp_path / "model")
    assert contents(tmp_path / "model") == MODEL
    assert [path.name for path in result.files] == list(MODEL)
    assert {path.parent for path in result.files} == {tmp_path / "model"}
    folder = prefix.removeprefix("./")
    assert list(result.skipped) == [folder + name for name in OTHERS]
    assert names_in(tmp_path) == ["model", "model.tar.gz"]


@pytest.mark.parametrize("options", [["."], ["config.json", "model.safetensors", "code"]])
def test_what_the_tar_program_packs(tmp_path: Path, options: list[str]) -> None:
    source = tmp_path / "source"
    (source / "code").mkdir(parents=True)
    wanted = {name: MODEL[name] for name in ("config.json", "model.safetensors")}
    for name, data in wanted.items():
        (source / name).write_bytes(data)
    (source / "code" / "inference.py").write_text("import os\n")
    archive = tmp_path / "model.tar.gz"
    subprocess.run(["tar", "czf", str(archive), "-C", str(source), *options], check=True)
    result = unpack_model_archive(archive, tmp_path / "model")
    assert contents(tmp_path / "model") == wanted
    assert result.skipped == ("code/inference.py",)


def test_several_gzip_members_are_one_archive(tmp_path: Path) -> None:
    raw = CONFIG + tars.END
    path = tmp_path / "m"
    path.write_bytes(gzip.compress(raw[:700]) + gzip.compress(raw[700:]))
    assert len(unpack_model_archive(path, tmp_path / "model").files) == 1


def test_sizes_over_the_plain_header_come_from_either_extension(tmp_path: Path) -> None:
    """Programs write sizes over 8 GiB in binary, or in a pax record with 0 or all sevens beside."""
    data = b"weights!"
    binary = b"\x80" + len(data).to_bytes(11, "big")
    for size in (binary, b"0" * 11, b"7" * 11, b"%011o" % len(data)):
        extension = b"" if size is binary else pax(record("size", str(len(data))))
        body = header("model.safetensors", size) + tars.padded(data)
        archive = tars.write(tmp_path / "m", CONFIG, extension, body)
        folder = tmp_path / "model"
        unpack_model_archive(archive, folder)
        assert contents(folder)["model.safetensors"] == data
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def test_files_are_new_and_not_executable(tmp_path: Path) -> None:
    archive = tars.write(tmp_path / "m", CONFIG)
    (file,) = unpack_model_archive(archive, tmp_path / "model").files
    mask = os.umask(0)
    os.umask(mask)
    assert file.stat().st_mode & 0o7777 == 0o666 & ~mask
    assert (tmp_path / "model").stat().st_mode & 0o7777 == 0o777 & ~mask


# Members that are refused


@pytest.mark.parametrize(
    "name",
    [
        "../config.json", "a/../../config.json", "/config.json", "//config.json", "..", "a//b",
        "a/./b", "a\\config.json", "C:\\config.json", "config.json\n", "config\x1b[2J.json",
        "config\u202enosj.json", "./../config.json", "code/../../x", "",
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", ["plain", "pax", "gnu"])
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str, how: str) -> None:
    before = {
        "plain": b"",
        "pax": pax(record("path", name)),
        "gnu": tars.long_name(name.encode()),
    }[how]
    plain = name if how == "plain" else "config.json"
    message = refuse(tmp_path, UnsafeModel, CONFIG, before, member(plain, b"x"))
    assert "no plain name" in message


@pytest.mark.parametrize("name", ["..", "../x", "/x", "a//b", "a/../b", "a\\b"])
def test_folders_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    for folder in (member(name, kind=b"5"), member(name + "/", kind=b"5")):
        assert "no plain name" in refuse(tmp_path, UnsafeModel, CONFIG, folder)


def test_files_named_like_folders_are_refused(tmp_path: Path) -> None:
    """Readers disagree about them: tarfile takes some for folders, some for files."""
    path = pax(record("path", "model.safetensors"))
    for parts in ([member("x/")], [member("x/", kind=b"\0")], [path, member("x/", kind=b"\0")]):
        assert "like a folder" in refuse(tmp_path, UnsafeModel, CONFIG, *parts)


def test_names_with_nul_or_of_other_encodings_are_refused(tmp_path: Path) -> None:
    for value in (b"config.json\0.py", b"config\xff.json", "x" * 5000):
        refuse(tmp_path, UnsafeModel, pax(record("path", value)), member("config.json"))
    refuse(tmp_path, UnsafeModel, member(b"config\xff.json"))
    refuse(tmp_path, UnsafeModel, tars.long_name(b"config.json\0.py"), member("config.json"))


def test_letters_that_look_alike_are_not_model_files(tmp_path: Path) -> None:
    names = ["config.jsоn", "ｃonfig.json", "model.ѕafetensors", "CONFIG.JSON"]
    archive = tars.write(tmp_path / "m", CONFIG, *(member(n, b"x") for n in names[:3]))
    result = unpack_model_archive(archive, tmp_path / "model")
    assert [path.name for path in result.files] == ["config.json"]
    assert list(result.skipped) == names[:3]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (b"1", "a hard link"), (b"2", "a symbolic link"), (b"3", "a character device"),
        (b"4", "a block device"), (b"6", "a named pipe"), (b"7", "a contiguous file"),
        (b"S", "a sparse file"), (b"D", "a list of files"), (b"M", "a part"), (b"V", "a volume"),
        (b"K", "a link"), (b"X", 'of type "X"'), (b"\xff", "of type"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["config.json", "code/x", "README.md"])
def test_members_that_are_no_files_are_refused_by_name(
    tmp_path: Path, kind: bytes, words: str, name: str
) -> None:
    message = refuse(tmp_path, UnsafeModel, member(name, kind=kind, link=b"/etc/passwd"), CONFIG)
    assert f'"{name}" is {words}' in message


def test_a_link_and_then_a_file_through_it(tmp_path: Path) -> None:
    """The classic: nothing is written before the refusal, nor beside the folder."""
    outside = tmp_path / "outside"
    outside.mkdir()
    link = member("model", kind=b"2", link=os.fsencode(outside))
    refuse(tmp_path, UnsafeModel, CONFIG, link, member("model/config.json", b"x"))
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize(
    "records",
    [
        [record("GNU.sparse.map", "0,1"), record("GNU.sparse.size", "9999999999")],
        [record("GNU.sparse.major", "1"), record("GNU.sparse.minor", "0")],
        [record("GNU.sparse.name", "../x")],
        [record("path", "a"), record("path", "config.json")],
        [record("size", "1"), record("size", "5")],
        [record("hdrcharset", "BINARY")],
        [record("size", "3")],
        [record("size", str(2**60))],
    ],
)
def test_extended_headers_that_say_two_things_are_refused(
    tmp_path: Path, records: list[bytes]
) -> None:
    refuse(tmp_path, UnsafeModel, pax(*records), member("config.json", b"12345"))


def test_extended_headers_that_say_two_things_in_two_places(tmp_path: Path) -> None:
    one, other = pax(record("path", "a")), pax(record("path", "config.json"))
    refuse(tmp_path, UnsafeModel, one, other, CONFIG)
    refuse(tmp_path, UnsafeModel, one, tars.long_name(b"config.json"), CONFIG)
    for key in ("path", "size"):
        refuse(
            tmp_path, UnsafeModel, pax(record(key, "5"), kind=b"g"), member("config.json", b"12345")
        )
    comment = pax(record("comment", "commit 1"), kind=b"g")
    assert unpack_model_archive(tars.write(tmp_path / "m", comment, CONFIG), tmp_path / "model")


@pytest.mark.parametrize(
    "data",
    [b"x", b"5 a=\n ", b"99 path=a\n", b"0 path=a\n", b"10 path=ab\n", b"9 path=a\n9", b" path=a\n",
     b"-9 path=a\n", b"8 patha\n"],
)  # fmt: skip
def test_damaged_extended_headers(tmp_path: Path, data: bytes) -> None:
    refuse(tmp_path, CorruptModel, member("PaxHeader", data, b"x"), CONFIG)
    for size in ("", "-1", "1e3", "٣", "0x10"):
        refuse(tmp_path, CorruptModel, pax(record("size", size)), CONFIG)


@pytest.mark.parametrize(
    "names",
    [
        ["config.json", "config.json"],
        ["config.json", "./config.json"],
        ["config.json", "model.safetensors", "MODEL.safetensors"],
        ["config.json", "README.md", "README.md"],
    ],
)
def test_names_that_come_twice_are_refused(tmp_path: Path, names: list[str]) -> None:
    message = refuse(tmp_path, UnsafeModel, *(member(name, b"x") for name in names))
    assert names[-1].removeprefix("./").casefold() in message.casefold()
    assert "comes twice" in message


def test_scripts_may_differ_in_case_alone(tmp_path: Path) -> None:
    archive = tars.write(tmp_path / "m", CONFIG, member("code/Makefile"), member("code/makefile"))
    assert len(unpack_model_archive(archive, tmp_path / "model").skipped) == 2


@pytest.mark.parametrize(
    "names", [["a/config.json", "b/config.json"], ["a/config.json", "vocab.json"]]
)
def test_model_files_in_two_places_are_refused(tmp_path: Path, names: list[str]) -> None:
    assert "two places" in refuse(tmp_path, UnsafeModel, *(member(name) for name in names))


def test_an_archive_without_a_model_says_what_it_holds(tmp_path: Path) -> None:
    message = refuse(
        tmp_path, UnsupportedModel, member("code/inference.py"), member("a/b/config.json")
    )
    assert '"code/inference.py", "a/b/config.json"' in message
    assert "nothing" in refuse(tmp_path, UnsupportedModel)


# Limits


def test_the_number_of_members_is_limited(tmp_path: Path) -> None:
    parts = [CONFIG, *(member(f"d{n}", kind=b"5") for n in range(3)), member("README.md")]
    assert "too many members" in refuse(tmp_path, UnsafeModel, *parts, max_members=4)
    archive = tars.write(tmp_path / "m", *parts)
    assert unpack_model_archive(archive, tmp_path / "model", max_members=5).skipped


@pytest.mark.parametrize("name", ["model.safetensors", "code/big"])
def test_the_unpacked_size_is_limited_before_anything_is_unpacked(
    tmp_path: Path, name: str
) -> None:
    """Members that are skipped count too: they have to be unpacked to be passed over."""
    huge = header(name, b"\x80" + (2**45).to_bytes(11, "big"))
    message = refuse(tmp_path, UnsafeModel, CONFIG, huge)
    assert name in message
    assert str(2**45) in message
    parts = [CONFIG, member(name, os.urandom(5000))]
    assert name in refuse(tmp_path, UnsafeModel, *parts, max_bytes=5019)
    assert unpack_model_archive(tmp_path / "model.tar.gz", tmp_path / "model", max_bytes=5020)


def test_a_gzip_bomb_is_refused_by_its_ratio(tmp_path: Path) -> None:
    bomb = member("model.safetensors", bytes(5 << 20))
    assert "more than allowed" in refuse(tmp_path, UnsafeModel, CONFIG, bomb)
    archive = tars.write(tmp_path / "m", CONFIG, bomb)
    assert unpack_model_archive(archive, tmp_path / "model", max_ratio=2000)


def test_endless_padding_and_endless_headers_are_refused(tmp_path: Path) -> None:
    room = tmp_path / "room"
    room.mkdir()
    archive = tars.write(tmp_path / "m", CONFIG, end=bytes(50 << 20))
    with pytest.raises(UnsafeModel, match="padding"):
        unpack_model_archive(archive, room / "model")
    comment = pax(record("comment", "x" * 60_000), kind=b"g")
    assert "extended headers" in refuse(tmp_path, UnsafeModel, *[comment] * 400, CONFIG)
    assert "extended headers" in refuse(tmp_path, UnsafeModel, header("x", 2**30, b"x"), CONFIG)
    assert "extended headers" in refuse(tmp_path, UnsafeModel, header("x", 2**30, b"L"), CONFIG)


def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    archive = tars.write(tmp_path / "m", CONFIG, member("model.safetensors", os.urandom(40 << 20)))
    tracemalloc.start()
    try:
        unpack_model_archive(archive, tmp_path / "model")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


# Damage


@pytest.mark.parametrize("compress", [True, False], ids=["gzip", "plain"])
def test_an_archive_cut_anywhere_is_refused(tmp_path: Path, compress: bool) -> None:
    parts = [CONFIG, member("model.safetensors", os.urandom(700))]
    archive = tars.write(tmp_path / "model.tar.gz", *parts, compress=compress, end=bytes(512))
    whole = archive.read_bytes()
    for size in {*range(0, len(whole), 16), *range(0, len(whole), 511), len(whole) - 1}:
        archive.write_bytes(whole[:size])
        with pytest.raises(CorruptModel, match=r"model\.tar\.gz: "):
            unpack_model_archive(archive, tmp_path / "model")
    assert names_in(tmp_path) == ["model.tar.gz"]


@pytest.mark.parametrize("compress", [True, False], ids=["gzip", "plain"])
def test_a_flipped_bit_is_found_or_means_nothing(tmp_path: Path, compress: bool) -> None:
    """gzip has a checksum for everything, a plain tar for its headers."""
    archive = tars.write(tmp_path / "model.tar.gz", CONFIG, compress=compress)
    whole = archive.read_bytes()
    found = 0
    for at in range(len(whole) if compress else 512):
        archive.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            unpack_model_archive(archive, tmp_path / f"model{at}")
        except CorruptModel:
            found += 1
        else:
            assert contents(tmp_path / f"model{at}") == {"config.json": b'{"model_type": "t5"}'}
    assert found > (len(whole) if compress else 512) - 20


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", CorruptModel, "cut off"),
        (b"hello" * 200, CorruptModel, "damaged"),
        (b"PK\x03\x04" + bytes(600), UnsupportedModel, "packed with zip"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), UnsupportedModel, "packed with zstd"),
        (gzip.compress(b"hello" * 200, mtime=0), CorruptModel, "damaged"),
        (CONFIG + tars.END + b"more", CorruptModel, "goes on after its end"),
        (
            header("d", 512, b"5") + bytes(512) + CONFIG + tars.END,
            UnsafeModel,
            "contents of its own",
        ),
    ],
)
def test_what_is_not_a_model_archive(
    tmp_path: Path, content: bytes, error: type[ModelError], message: str
) -> None:
    path = tmp_path / "model.tar.gz"
    path.write_bytes(content)
    with pytest.raises(error, match=message):
        unpack_model_archive(path, tmp_path / "model")
    assert names_in(tmp_path) == ["model.tar.gz"]


def test_places_that_cannot_be_used(tmp_path: Path) -> None:
    archive = tars.write(tmp_path / "model.tar.gz", CONFIG)
    (tmp_path / "there").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("there", "dangling", "model.tar.gz", "no/parent/model"):
        with pytest.raises(OutputError):
            unpack_model_archive(archive, tmp_path / name)
    with pytest.raises(ModelNotFound, match="missing"):
        unpack_model_archive(tmp_path / "missing", tmp_path / "model")
    for path in (tmp_path, Path("/dev/zero")):
        with pytest.raises(CorruptModel, match="not a regular file"):
            unpack_model_archive(path, tmp_path / "model")
    assert names_in(tmp_path) == ["dangling", "model.tar.gz", "there"]
