"""A reader of safetensors files that needs nothing but numpy, and knows bfloat16.

Layout: 8 bytes, little endian, the header's length; the header, JSON, {name: {dtype, shape,
data_offsets}}; the data. The file is mapped, not read: a tensor costs memory when it is used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmill.engines.checkpoint.floats import as_float32
from textmill.errors import CorruptModel

_MAX_HEADER_BYTES = 100_000_000
_STORED = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


class SafetensorsFile:
    """The tensors of one file by name, as float32 arrays that may be views of the file.

    Implements `weights.Weights`. Raises `CorruptModel`, with the names of file and tensor, for
    whatever does not add up: at opening for the header, on `read` for a tensor's type.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._header = _read_header(path)
        self._data: NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r")
        self._start = 8 + int.from_bytes(self._data[:8].tobytes(), "little")
        for name in self._header:
            self._check(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without touching its data."""
        return tuple(self._header[name]["shape"])

    def read(self, name: str) -> NDArray[np.float32]:
        """The tensor as float32. Raises `CorruptModel` for a type that is not a float's."""
        entry = self._header[name]
        if entry["dtype"] not in _STORED:
            raise CorruptModel(
                f"{self._path}: tensor {name} has type {entry['dtype']}",
                hint=f"weights have to be one of {', '.join(_STORED)}",
            )
        begin, end = entry["data_offsets"]
        raw = self._data[self._start + begin : self._start + end].view(_STORED[entry["dtype"]])
        return as_float32(raw, bfloat16=entry["dtype"] == "BF16").reshape(entry["shape"])

    def __iter__(self) -> Iterator[str]:
        return iter(self._header)

    def __contains__(self, name: str) -> bool:
        return name in self._header

    def _check(self, name: str) -> None:
        entry = self._header[name]
        where = f"{self._path}: tensor {name}"
        if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
            raise CorruptModel(f"{where} has no dtype, shape and data_offsets")
        shape, offsets = entry["shape"], entry["data_offsets"]
        if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
            raise CorruptModel(f"{where} has a malformed shape or data_offsets")
        if not isinstance(entry["dtype"], str):
            raise CorruptModel(f"{where} has a malformed dtype")
        if entry["dtype"] not in _STORED:
            return  # refused when it is used: buffers nobody needs may have any type
        expected = math.prod(shape) * np.dtype(_STORED[entry["dtype"]]).itemsize
        if offsets[1] - offsets[0] != expected:
            raise CorruptModel(f"{where} takes {expected} bytes, but its offsets say {offsets}")
        if self._start + offsets[1] > self._data.size:
            raise CorruptModel(
                f"{where} ends at byte {self._start + offsets[1]}, "
                f"but the file has only {self._data.size}",
                hint="the file is cut short; fetch the model again",
            )


def _naturals(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _read_header(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
            raise CorruptModel(
                f"{path} is not a safetensors file: {size} bytes, header of {length}",
                hint="the file is cut short, or a pointer to it (git lfs pull); fetch it again",
            )
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            raise CorruptModel(f"{path}: its header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise CorruptModel(f"{path}: its header is not a JSON object")
    header.pop("__metadata__", None)
    return header
