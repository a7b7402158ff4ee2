"""Unpacks SageMaker's `model.tar.gz`: the files of a model, and nothing else.

Nothing of the archive decides where anything is written: a member is written only when its flat
name is one that model files have, into a folder that nobody else knows yet.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from msgspec import Struct

from textmill.catalog.tarstream import REPACK_HINT, TarMember, TarStream, uncompressed
from textmill.errors import CorruptModel, ModelNotFound, OutputError, UnsupportedModel
from textmill.words import written

MAX_MEMBERS = 10_000
MAX_BYTES = 1 << 40
MAX_RATIO = 100
MAX_NAME_CHARACTERS = 1024

MODEL_FILE = re.compile(
    r"""(config|generation_config)\.json
      | (tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json
      | (vocab|target_vocab)\.json | vocab\.txt | merges\.txt
      | [\w-][\w.-]*\.(model|spm)
      | [\w-][\w.-]*\.safetensors(\.index\.json)?
      | pytorch_model[\w.-]*\.bin(\.index\.json)?""",
    re.VERBOSE | re.ASCII,
)
"""Flat names of the files a model is made of. Inference scripts are not among them."""

SCRIPTS = "code"
"""SageMaker's folder of inference scripts."""


class Unpacked(Struct, frozen=True):
    """files: what was written, in the archive's order. skipped: names of members left out."""

    files: tuple[Path, ...]
    skipped: tuple[str, ...]


def unpack_model_archive(
    archive: Path,
    destination: Path,
    *,
    max_members: int = MAX_MEMBERS,
    max_bytes: int = MAX_BYTES,
    max_ratio: int = MAX_RATIO,
) -> Unpacked:
    """Write the model files of a tar archive, gzipped or not, into a new folder.

    destination: must not exist; it appears at the end, complete, or not at all. Its parent must
    exist.
    max_members, max_bytes: files and folders, and bytes of all files, written or skipped.
    max_ratio: bytes of all files to bytes of the archive.

    Model files are taken from the top of the archive or from one folder in it; scripts in `code/`
    and files that are no model files are skipped. Raises `UnsafeModel` for members that are
    neither files nor folders, that lead elsewhere, come twice, or pass a limit; `CorruptModel` for
    a damaged archive, `UnsupportedModel` for one without a model, `ModelNotFound` for one that
    cannot be read, `OutputError` when the folder cannot be written.
    """
    if os.path.lexists(destination):
        raise OutputError(f"{destination}: already exists")
    with _open_archive(archive) as file:
        ratio_bytes = max_ratio * os.fstat(file.fileno()).st_size
        stream = TarStream(archive, uncompressed(archive, file))
        members = _Selection(stream, max_members, min(max_bytes, ratio_bytes))
        return _write_all(archive, stream, members, destination)


def _open_archive(archive: Path) -> IO[bytes]:
    try:
        if not stat.S_ISREG(archive.stat().st_mode):
            raise CorruptModel(f"{archive}: not a regular file")
        return archive.open("rb")
    except OSError as error:
        raise ModelNotFound(f"{archive}: cannot be read: {error.strerror}") from error


class _Selection:
    """Decides, member by member, which flat name a member is written under, if any."""

    def __init__(self, stream: TarStream, max_members: int, max_bytes: int) -> None:
        self._stream = stream
        self._members_left = max_members
        self._bytes_left = max_bytes
        self._seen: set[str] = set()
        self._folder: str | None = None
        self.skipped: list[str] = []

    def choose(self, member: TarMember) -> str | None:
        """The name to write the member under; None to pass over it."""
        self._count(member)
        name = self._plain_name(member)
        if member.is_folder:
            return None
        self._refuse_twice(name)
        folder, _, flat = name.rpartition("/")
        if self._belongs(folder, flat):
            self._refuse_twice(f"/{flat.casefold()}")  # one file where case does not count
            return flat
        self.skipped.append(name)
        return None

    def _refuse_twice(self, name: str) -> None:
        if name in self._seen:
            raise self._stream.unsafe(f"{written(name)} comes twice")
        self._seen.add(name)

    def _belongs(self, folder: str, flat: str) -> bool:
        """Whether it is one of the model's files: the first of them says where they are.

        Below the top there may be others of such names (the model in other formats): not those.
        """
        if not MODEL_FILE.fullmatch(flat) or "/" in folder or folder == SCRIPTS:
            return False
        if self._folder is None:
            self._folder = folder
        if self._folder and self._folder != folder:
            places = f"{written(self._folder)} and {written(folder or '.')}"
            raise self._stream.unsafe(f"model files in two places, {places}")
        return folder == self._folder

    def _count(self, member: TarMember) -> None:
        self._members_left -= 1
        self._bytes_left -= member.size
        if self._members_left < 0:
            raise self._stream.unsafe(
                f"too many members; {written(member.name[:80])} is one too many"
            )
        if self._bytes_left < 0:
            raise self._stream.unsafe(
                f"it would unpack to more than allowed with {written(member.name[:80])} "
                f"of {member.size} bytes"
            )

    def _plain_name(self, member: TarMember) -> str:
        """The name without `./`. Raises `UnsafeModel` for one that leads out of the archive."""
        name = member.name
        while name.startswith("./"):
            name = name[2:]
        if member.is_folder and name in {"", "."}:
            return "."
        is_odd = len(name) > MAX_NAME_CHARACTERS or "\\" in name or not name.isprintable()
        if is_odd or any(part in {"", ".", ".."} for part in name.split("/")):
            raise self._stream.unsafe(f"{written(name[:200])} is no plain name")
        return name


def _write_all(
    archive: Path, stream: TarStream, selection: _Selection, destination: Path
) -> Unpacked:
    partial = destination.with_name(f".{destination.name}.{secrets.token_hex(8)}")
    try:
        partial.mkdir()
        try:
            names = _write_members(stream, selection, partial)
            _check_model(archive, names, selection.skipped)
            partial.rename(destination)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        raise OutputError(f"{destination}: cannot be written: {error.strerror}") from error
    return Unpacked(tuple(destination / name for name in names), tuple(selection.skipped))


def _write_members(stream: TarStream, selection: _Selection, folder: Path) -> list[str]:
    names = []
    for member in stream:
        name = selection.choose(member)
        if name is not None:
            _write_new(folder / name, stream.chunks())
            names.append(name)
    return names


def _write_new(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file that must not be there yet, under whatever kind of name."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
        for chunk in chunks:
            file.write(chunk)


def _check_model(archive: Path, names: list[str], skipped: list[str]) -> None:
    if "config.json" in names:
        return
    shown = ", ".join(written(name, 80) for name in (*names, *skipped)[:8])
    raise UnsupportedModel(
        f"{archive}: no config.json at its top or in one folder (it holds: {shown or 'nothing'})",
        hint=REPACK_HINT,
    )
