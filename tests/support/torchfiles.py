"""Torch files: real ones from torch.save, and hand-made ones that torch would never write."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from textmill.engines.checkpoint.torchfile import TensorFile, open_torch_file

ORDERED_DICT = b"ccollections\nOrderedDict\n"
REBUILD_TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
REBUILD_PARAMETER = b"ctorch._utils\n_rebuild_parameter\n"
NO_HOOKS = ORDERED_DICT + b")R"


def save(value: Any, path: Path, *, legacy: bool = False, protocol: int = 2) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(value, path, pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    return path


def assert_same(path: Path, wanted: Mapping[str, torch.Tensor]) -> None:
    """Names, order, shapes and every bit are what torch says."""
    with open_torch_file(path) as file:
        assert list(file) == list(wanted)
        for name, tensor in wanted.items():
            assert file.shape(name) == tuple(tensor.shape), name
            assert_equal_bits(file.load(name), tensor)


def assert_equal_bits(found: np.ndarray, tensor: torch.Tensor) -> None:
    tensor = tensor.detach()
    wanted = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    assert found.dtype == wanted.dtype
    assert found.shape == wanted.shape
    assert found.flags.c_contiguous
    assert found.flags.owndata or found.base.flags.owndata
    if found.dtype == np.float32:
        assert np.array_equal(np.isnan(found), np.isnan(wanted))
        found, wanted = (
            np.nan_to_num(found, posinf=9, neginf=-9),
            np.nan_to_num(wanted, posinf=9, neginf=-9),
        )
    assert found.tobytes() == np.ascontiguousarray(wanted).tobytes()


def arrays(file: TensorFile) -> dict[str, np.ndarray]:
    return {name: file.load(name) for name in file}


# Pickles by hand


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def integer(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def sizes(values: Sequence[int]) -> bytes:
    return b"(" + b"".join(integer(value) for value in values) + b"t"


def storage(key: str, numel: int, kind: str = "FloatStorage", location: str = "cpu") -> bytes:
    head = b"(" + text("storage") + b"ctorch\n" + kind.encode() + b"\n"
    return head + text(key) + text(location) + integer(numel) + b"tQ"


def tensor(
    where: bytes, shape: Sequence[int], stride: Sequence[int], offset: int = 0, more: bytes = b""
) -> bytes:
    args = where + integer(offset) + sizes(shape) + sizes(stride) + b"\x89" + NO_HOOKS + more
    return REBUILD_TENSOR + b"(" + args + b"tR"


def table(**entries: bytes) -> bytes:
    items = b"".join(text(name) + value for name, value in entries.items())
    return b"}(" + items + b"u"


def pickled(body: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + body + b"."


# Files by hand


def write_zip(
    path: Path, pickle: bytes, storages: Mapping[str, bytes] | None = None, **records: bytes
) -> Path:
    """A stored zip in torch's layout; `records` replace or add to version and byteorder."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", pickle)
        for name, value in {"version": b"3\n", "byteorder": b"little", **records}.items():
            archive.writestr(f"m/{name}", value)
        for key, value in (storages or {}).items():
            archive.writestr(f"m/data/{key}", value)
    return path


def write_legacy(path: Path, body: bytes, keys: Sequence[str], tail: bytes) -> Path:
    """torch's old layout around the pickle of a state dict, whose storages have one field more."""
    body = body.replace(b"tQ", b"NtQ")
    system = table(little_endian=b"\x88")
    names = b"](" + b"".join(text(key) for key in keys) + b"e"
    parts = [integer(0x1950A86A20F9469CFC6C), integer(1001), system, body, names]
    path.write_bytes(b"".join(pickled(part) for part in parts) + tail)
    return path


def rewritten_pickle(file: bytes, pickle: bytes) -> bytes:
    """A torch zip file with another data.pkl, checksums and sizes being right."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(file)) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            is_pickle = entry.filename.endswith("/data.pkl")
            new.writestr(entry.filename, pickle if is_pickle else old.read(entry))
    return out.getvalue()


def pickle_of(file: bytes) -> bytes:
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
        data = archive.read(name)
        assert zlib.crc32(data)
        return data
