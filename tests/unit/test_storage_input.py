"""Inputs: which files, what bytes, and clear words for what cannot be read."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
import zstandard

import textmill
from support.permissions import ordinary_user
from textmill.errors import InputError
from textmill.storage.base import InputFile
from textmill.storage.inputs import digest, expand_inputs, open_input, same_file

TEXT = "".join(f"line {n} {random.Random(n).random()}\n" for n in range(5000)).encode()


def content(path: Path, size: int = 1000) -> bytes:
    with open_input(str(path)) as stream:
        return b"".join(iter(lambda: stream.read(size), b""))


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


SKIPPABLE = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"


class TestOpen:
    @pytest.mark.parametrize(
        "stored",
        [
            TEXT,
            gzip.compress(TEXT),
            gzip.compress(TEXT[:777]) + gzip.compress(b"") + gzip.compress(TEXT[777:]),
            gzip.compress(TEXT) + bytes(100),
            zstd(TEXT),
            zstd(TEXT[:777]) + zstd(b"") + SKIPPABLE + zstd(TEXT[777:]),
            SKIPPABLE + zstd(TEXT),
        ],
        ids=["plain", "gzip", "members", "padding", "zstd", "frames", "skippable frame first"],
    )
    @pytest.mark.parametrize("size", [1, 10, 1 << 20])
    def test_content_is_recognised_whatever_the_name(
        self, tmp_path: Path, stored: bytes, size: int
    ) -> None:
        path = tmp_path / "input.txt"
        path.write_bytes(stored)
        if size == 1:
            with open_input(str(path)) as stream:
                assert [stream.read(1) for _ in range(10)] == [TEXT[n : n + 1] for n in range(10)]
        else:
            assert content(path, size) == TEXT

    @pytest.mark.parametrize("stored", [b"", b"a", b"\x1f", b"\x28\xb5", b"\n\n"])
    def test_short_files_are_themselves(self, tmp_path: Path, stored: bytes) -> None:
        path = tmp_path / "short"
        path.write_bytes(stored)
        assert content(path) == stored

    @pytest.mark.parametrize(("kind", "pack"), [("gzip", gzip.compress), ("zstd", zstd)])
    def test_a_file_cut_off_anywhere_is_an_error_that_says_where(
        self, tmp_path: Path, kind: str, pack: object
    ) -> None:
        assert callable(pack)
        whole: bytes = pack(TEXT[:300])
        path = tmp_path / "cut"
        for size in range(4, len(whole)):
            path.write_bytes(whole[:size])
            with pytest.raises(InputError) as caught:
                content(path)
            assert caught.value.message == (
                f"{path} is cut off: its {kind} data ends in the middle, at byte {size:,}"
            )

    @pytest.mark.parametrize(("kind", "pack"), [("gzip", gzip.compress), ("zstd", zstd)])
    def test_damage_is_an_error_that_names_the_file(
        self, tmp_path: Path, kind: str, pack: object
    ) -> None:
        assert callable(pack)
        whole: bytes = pack(TEXT)
        path = tmp_path / "damaged"
        for stored in (whole + b"trailing", whole[:30] + b"\xff" * 20 + whole[50:]):
            path.write_bytes(stored)
            with pytest.raises(InputError, match=rf"damaged is damaged: bad {kind} data"):
                content(path)

    @pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
    def test_memory_stays_small_however_much_the_data_expands(
        self, tmp_path: Path, pack: object
    ) -> None:
        assert callable(pack)
        path = tmp_path / "bomb"
        path.write_bytes(pack(bytes(300_000_000)))
        tracemalloc.start()
        with open_input(str(path)) as stream:
            total = sum(len(data) for data in iter(lambda: stream.read(1 << 20), b""))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total == 300_000_000
        assert peak < 50_000_000

    @pytest.mark.parametrize("stored", [TEXT, gzip.compress(TEXT), zstd(TEXT)])
    def test_standard_input_is_read_and_decompressed_too(self, stored: bytes) -> None:
        script = """
import sys
from textmill.storage.inputs import open_input
with open_input("-") as stream:
    while data := stream.read(1000):
        sys.stdout.buffer.write(data)
"""
        source = str(Path(textmill.__file__).parent.parent)
        done = subprocess.run(
            [sys.executable, "-c", script],
            input=stored,
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONPATH": source},
        )
        assert done.stdout == TEXT

    def test_a_missing_file_is_an_input_error(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such file"):
            open_input(str(tmp_path / "missing"))

    def test_a_failing_disk_is_an_input_error(self, tmp_path: Path) -> None:
        """Reading this file of the kernel fails with EIO, which no compression explains."""
        with pytest.raises(InputError, match="cannot be read: input/output error"):
            content(Path("/proc/self/mem"))


class TestExpand:
    @pytest.fixture(autouse=True)
    def files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "more").mkdir()
        for name in ("b.jsonl", "a.jsonl", "c.txt", "more/d.jsonl", "[x].jsonl"):
            (tmp_path / name).write_text(name)

    def names(self, *patterns: str) -> list[str]:
        return [file.path for file in expand_inputs(patterns)]

    def test_files_come_in_the_order_given_and_globs_sorted(self) -> None:
        assert self.names("c.txt", "[ab].jsonl") == ["c.txt", "a.jsonl", "b.jsonl"]
        assert self.names("**/*.jsonl") == ["[x].jsonl", "a.jsonl", "b.jsonl", "more/d.jsonl"]
        assert self.names(f"{Path.cwd()}/*.txt") == [f"{Path.cwd()}/c.txt"]

    def test_sizes_are_told_where_there_are_any(self) -> None:
        assert expand_inputs(["c.txt", "-"]) == (
            InputFile(path="c.txt", size_bytes=5),
            InputFile(path="-", size_bytes=None),
        )

    def test_a_name_that_looks_like_a_glob_is_found_by_its_name(self) -> None:
        assert self.names("[x].jsonl") == ["[x].jsonl"]

    def test_a_pipe_is_an_input_without_a_size(self) -> None:
        os.mkfifo("pipe")
        assert expand_inputs(["pipe"]) == (InputFile(path="pipe", size_bytes=None),)

    @pytest.mark.parametrize(
        ("patterns", "message"),
        [
            ([], "no input was given"),
            (["d.jsonl"], "there is no file d.jsonl"),
            (["*.csv"], r"no file matches \*.csv"),
            (["more"], "more is a folder\n  give its files: 'more/\\*.jsonl'"),
            (["more/"], "more/ is a folder"),
            (["*"], "more is a folder"),
            (["a.jsonl", "./a.jsonl"], r"\./a.jsonl and a.jsonl are the same file"),
            (["a.jsonl", "*.jsonl"], "a.jsonl and a.jsonl are the same file"),
            (["-", "-"], "- and - are the same file"),
            (["a.jsonl/x"], "there is no file a.jsonl/x"),
            ([""], '"" is not the name of a file'),
            (["a\0"], "is not the name of a file"),
            (["x" * 300], "there is no file"),
        ],
    )
    def test_what_cannot_be_an_input_is_said(self, patterns: list[str], message: str) -> None:
        with pytest.raises(InputError, match=message):
            expand_inputs(patterns)

    def test_links_to_one_file_are_one_file(self) -> None:
        os.link("a.jsonl", "hard.jsonl")
        Path("soft.jsonl").symlink_to("a.jsonl")
        for name in ("hard.jsonl", "soft.jsonl"):
            with pytest.raises(InputError, match="are the same file"):
                expand_inputs(["a.jsonl", name])

    def test_a_link_that_leads_nowhere_is_said(self) -> None:
        Path("dangling").symlink_to("gone")
        with pytest.raises(InputError, match="dangling cannot be read: no such file"):
            expand_inputs(["dangling"])

    def test_a_misspelt_name_is_corrected(self) -> None:
        with pytest.raises(InputError, match=r"did you mean more/d\.jsonl\?"):
            expand_inputs(["more/d.json"])

    def test_a_file_without_permission_is_refused_before_any_work(self) -> None:
        with ordinary_user() as folder:
            path = folder / "a.jsonl"
            path.write_text("x")
            path.chmod(0)
            with pytest.raises(InputError, match=r"a\.jsonl cannot be read: permission denied"):
                expand_inputs([str(path)])


class TestIdentity:
    def test_the_digest_is_that_of_the_stored_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(gzip.compress(TEXT))
        assert digest(str(path)) == hashlib.sha256(path.read_bytes()).hexdigest()
        with pytest.raises(InputError, match="cannot be read"):
            digest(str(tmp_path))

    def test_files_are_the_same_by_inode_not_by_name(self, tmp_path: Path) -> None:
        a, b, link = tmp_path / "a", tmp_path / "b", tmp_path / "link"
        a.write_text("x")
        b.write_text("x")
        link.symlink_to(a)
        assert same_file(str(a), str(link))
        assert same_file(str(a), f"{tmp_path}/../{tmp_path.name}/a")
        assert not same_file(str(a), str(b))
        assert not same_file(str(a), str(tmp_path / "missing"))
        assert not same_file(str(tmp_path / "missing"), str(tmp_path / "missing"))

    def test_standard_input_is_the_file_behind_it(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_text("x")
        script = (
            "import sys; from textmill.storage.inputs import same_file;"
            " print(same_file(*sys.argv[1:]))"
        )
        source = str(Path(textmill.__file__).parent.parent)
        for name, answer in ((path, "True"), (tmp_path, "False")):
            with path.open("rb") as stream:
                done = subprocess.run(
                    [sys.executable, "-c", script, "-", str(name)],
                    stdin=stream,
                    capture_output=True,
                    text=True,
                    check=True,
                    env={**os.environ, "PYTHONPATH": source},
                )
            assert done.stdout.strip() == answer


def test_reading_goes_on_over_many_tiny_frames(tmp_path: Path) -> None:
    path = tmp_path / "frames"
    path.write_bytes(b"".join(zstd(line) for line in io.BytesIO(TEXT).readlines()[:500]))
    assert content(path) == b"".join(io.BytesIO(TEXT).readlines()[:500])
