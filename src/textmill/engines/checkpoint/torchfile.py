"""Reads `pytorch_model.bin` without torch and without running anything that is in it.

Both formats of `torch.save` are read: the zip file (since torch 1.6) and the older sequence of
pickles and raw storages. A file is its index, checked when it is opened, and storages that are
read from the file when a tensor is asked for.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from textmill.engines.checkpoint.storedzip import ZipEntry, read_directory
from textmill.engines.checkpoint.torchpickle import Pickle, interpret
from textmill.engines.checkpoint.torchvalues import (
    DAMAGED_HINT,
    ITEM_BYTES,
    Source,
    StorageRef,
    TensorView,
)
from textmill.errors import CorruptModel
from textmill.words import kind_of, written

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_VERSION = 1001
ZIP_VERSIONS = frozenset(str(version) for version in range(1, 11))
ZIP_STORAGE_FIELDS = 5
LEGACY_STORAGE_FIELDS = 6

_AS_STORED = {"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}
_AS_FLOAT32 = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_NUMPY_TYPES = _AS_STORED | _AS_FLOAT32


class _Extent(Struct, frozen=True):
    """Where a storage's bytes are in the file; crc32 is 0 when the file has none."""

    start: int
    size: int
    crc32: int = 0


class _Index(Struct, frozen=True):
    tensors: dict[str, TensorView]
    extents: dict[str, _Extent]


class TensorFile:
    """The tensors of one torch file, by name, in the file's order. Not thread-safe.

    Arrays belong to the caller: they stay valid after `close`.
    """

    def __init__(self, path: Path, file: BinaryIO, data: mmap, index: _Index) -> None:
        self.path = path
        self._file = file
        self._data = data
        self._index = index
        self._sound: set[str] = set()

    def __iter__(self) -> Iterator[str]:
        return iter(self._index.tensors)

    def __len__(self) -> int:
        return len(self._index.tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._index.tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's lengths; () for a scalar. Raises `KeyError` for a name not in the file."""
        return self._index.tensors[name].shape

    def dtype(self, name: str) -> str:
        """How it is stored, in safetensors' words: F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL."""
        return self._index.tensors[name].storage.dtype

    def load(self, name: str) -> NDArray[Any]:
        """The tensor as a new C-contiguous array: float32 for all floats, integers as stored.

        Raises `CorruptModel` when the bytes do not have the checksum that the file states.
        """
        view = self._index.tensors[name]
        self._check_unchanged()
        self._check_sum(view.storage.key)
        return _convert(self._window(view), view.storage.dtype)

    def close(self) -> None:
        """Give the file back. Idempotent."""
        self._data.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _window(self, view: TensorView) -> NDArray[Any]:
        """The tensor's elements where they lie in the mapped file, strides and all."""
        item = ITEM_BYTES[view.storage.dtype]
        if 0 in view.shape:
            return np.empty(view.shape, _NUMPY_TYPES[view.storage.dtype])
        return np.ndarray(
            view.shape,
            _NUMPY_TYPES[view.storage.dtype],
            buffer=self._data,
            offset=self._index.extents[view.storage.key].start + view.offset * item,
            strides=_byte_strides(view, item),
        )

    def _check_unchanged(self) -> None:
        """Reading a mapped file that was cut kills the process, so look first."""
        if os.fstat(self._file.fileno()).st_size != len(self._data):
            raise CorruptModel(f"{self.path}: changed while it was being read", hint=DAMAGED_HINT)

    def _check_sum(self, key: str) -> None:
        extent = self._index.extents[key]
        if key in self._sound:
            return
        _check_crc32(Source(self.path, self._data), extent.start, extent.size, extent.crc32)
        self._sound.add(key)


def open_torch_file(path: Path) -> TensorFile:
    """Open a file that `torch.save` wrote and check its index; no tensor is read yet.

    It must hold a state dict: tensors by name, or one such dict below any other entries
    (`{"state_dict": {...}}`).

    Raises `UnsafeModel` for anything that only running it could read, `UnsupportedModel` for
    harmless content that is not a state dict of plain little-endian tensors, `CorruptModel` for a
    file that is cut or damaged.
    """
    file = _open_regular(path)
    data = None
    try:
        data = mmap(file.fileno(), 0, access=ACCESS_READ)
        return TensorFile(path, file, data, _read_index(Source(path, data)))
    except BaseException:
        if data is not None:
            data.close()
        file.close()
        raise


def _open_regular(path: Path) -> BinaryIO:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CorruptModel(f"{path}: not a regular file")
        if status.st_size == 0:
            raise CorruptModel(f"{path}: the file is empty", hint=DAMAGED_HINT)
        return path.open("rb")
    except OSError as error:
        raise CorruptModel(f"{path}: cannot be read: {error.strerror}") from error


def _read_index(source: Source) -> _Index:
    head = source.data[:128]
    if head.startswith(b"PK\x03\x04"):
        return _read_zip(source)
    if head.startswith(b"\x80"):
        return _read_legacy(source)
    if b"git-lfs" in head:
        raise CorruptModel(
            f"{source.path}: a Git LFS pointer, not the model itself",
            hint="fetch the real file with: git lfs pull",
        )
    raise CorruptModel(
        f"{source.path}: neither a zip file nor a pickle, so torch.save did not write it",
        hint=DAMAGED_HINT,
    )


def _read_zip(source: Source) -> _Index:
    entries = _without_folder(source, read_directory(source))
    if "constants.pkl" in entries or any(name.startswith("code/") for name in entries):
        raise source.unsafe("a TorchScript program")
    for name in ("data.pkl", "version"):
        if name not in entries:
            raise source.corrupt(f"the zip entry {written(name)} is missing")
    _check_records(source, entries)
    entry = entries["data.pkl"]
    end = entry.start + entry.size
    _check_crc32(source, entry.start, entry.size, entry.crc32)
    pickle = interpret(source, entry.start, end, storage_fields=ZIP_STORAGE_FIELDS)
    if pickle.end != end:
        raise source.corrupt("data.pkl goes on after its end", pickle.end)
    extents = {
        name.removeprefix("data/"): _Extent(entry.start, entry.size, entry.crc32)
        for name, entry in entries.items()
        if name.startswith("data/")
    }
    return _index(source, pickle, extents)


def _without_folder(source: Source, entries: dict[str, ZipEntry]) -> dict[str, ZipEntry]:
    """Entries by their name inside of the one folder that torch puts everything in."""
    folders = {name.partition("/")[0] for name in entries}
    if len(folders) != 1:
        raise source.corrupt("the zip entries are not in one folder")
    return {name.partition("/")[2]: entry for name, entry in entries.items()}


def _check_records(source: Source, entries: dict[str, ZipEntry]) -> None:
    version = _small_record(source, entries["version"])
    if version not in ZIP_VERSIONS:
        raise source.unsupported(f"version {written(version)} of torch's file format")
    order = _small_record(source, entries["byteorder"]) if "byteorder" in entries else "little"
    if order != "little":
        raise source.unsupported(f"byte order {written(order)}; only 'little' can be read")


def _small_record(source: Source, entry: ZipEntry) -> str:
    return source.data[entry.start : entry.start + min(entry.size, 16)].decode("latin-1").strip()


def _check_crc32(source: Source, start: int, size: int, crc32: int) -> None:
    """0 stands for a checksum that was not computed (`torch.serialization.set_crc32_options`)."""
    if crc32 == 0:
        return
    with memoryview(source.data) as whole, whole[start : start + size] as part:
        found = zlib.crc32(part)
    if found != crc32:
        raise source.corrupt(f"{size} bytes do not have the checksum the file states", start)


def _read_legacy(source: Source) -> _Index:
    """Five pickles (magic number, version, system, state dict, storage keys), then storages."""
    end = len(source.data)
    magic = interpret(source, 0, end)
    if magic.value != LEGACY_MAGIC:
        raise source.unsafe("a pickle, but not one that torch.save wrote")
    version = interpret(source, magic.end, end)
    if version.value != LEGACY_VERSION:
        raise source.unsupported("an unknown version of torch's old file format")
    system = interpret(source, version.end, end)
    if not isinstance(system.value, dict) or system.value.get("little_endian") is not True:
        raise source.unsupported("numbers that are not little-endian")
    pickle = interpret(source, system.end, end, storage_fields=LEGACY_STORAGE_FIELDS)
    keys = interpret(source, pickle.end, end)
    return _index(source, pickle, _legacy_extents(source, keys, pickle.storages))


def _legacy_extents(
    source: Source, keys: Pickle, storages: dict[str, StorageRef]
) -> dict[str, _Extent]:
    """Each storage is its number of elements in 64 bits, then the elements."""
    position = keys.end
    extents: dict[str, _Extent] = {}
    for key in keys.value if isinstance(keys.value, list) else ():
        storage = storages.get(key) if isinstance(key, str) else None
        if storage is None or storage.key in extents:
            raise source.corrupt("the list of storages does not match the tensors", position)
        numel = int.from_bytes(source.data[position : position + 8], "little")
        size = numel * ITEM_BYTES[storage.dtype]
        position += 8
        if position + size > len(source.data):
            raise source.corrupt(f"a storage of {numel} elements is cut off", position)
        extents[storage.key] = _Extent(position, size)
        position += size
    if position != len(source.data):
        raise source.corrupt("the file goes on after the last storage", position)
    return extents


def _index(source: Source, pickle: Pickle, extents: dict[str, _Extent]) -> _Index:
    tensors = _state_dict(source, pickle.value)
    for key, storage in pickle.storages.items():
        extent = extents.get(key)
        if extent is None or extent.size // ITEM_BYTES[storage.dtype] != storage.numel:
            raise source.corrupt(
                f"the storage {written(key[:80])} of {storage.numel} {storage.dtype} "
                "is missing or has another size"
            )
    return _Index(tensors, extents)


def _state_dict(source: Source, value: object) -> dict[str, TensorView]:
    """The one dict of tensors in the file: the whole of it, or one entry of it."""
    if not isinstance(value, dict):
        raise source.unsupported(f"{kind_of(value)}, not a state dict")
    if not value:
        raise source.unsupported("an empty state dict")
    whole = _tensors_by_name(value)
    if whole:
        return whole
    candidates = {id(entry): entry for entry in value.values() if isinstance(entry, dict)}
    found = [tensors for entry in candidates.values() if (tensors := _tensors_by_name(entry))]
    loose = any(isinstance(entry, TensorView) for entry in value.values())
    if len(found) != 1 or loose:
        keys = ", ".join(written(key, 80) for key in list(value)[:8])
        raise source.unsupported(
            f"not one dict of tensors (its first keys: {keys})",
            hint="save the model's state_dict() alone, best as safetensors",
        )
    return found[0]


def _tensors_by_name(value: dict[object, object]) -> dict[str, TensorView]:
    """The dict, if it holds tensors by name and nothing else; otherwise an empty one."""
    tensors = {
        name: view
        for name, view in value.items()
        if isinstance(name, str) and isinstance(view, TensorView)
    }
    return tensors if len(tensors) == len(value) else {}


def _byte_strides(view: TensorView, item_bytes: int) -> tuple[int, ...]:
    """The stride of a single element is never walked, and torch leaves any number there."""
    steps = zip(view.shape, view.stride, strict=True)
    return tuple(stride * item_bytes if length > 1 else 0 for length, stride in steps)


def _convert(window: NDArray[Any], dtype: str) -> NDArray[Any]:
    if dtype in _AS_STORED:
        return np.array(window, np.dtype(_AS_STORED[dtype]).newbyteorder("="), order="C")
    if dtype != "BF16":
        return window.astype(np.float32, order="C")
    bits = window.astype(np.uint32, order="C")
    bits <<= 16
    return bits.view(np.float32)
