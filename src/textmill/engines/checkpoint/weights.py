"""Finding and opening the weight files of a model folder."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from textmill.engines.checkpoint.safetensors import SafetensorsFile
from textmill.errors import CorruptModel, UnsafeModel
from textmill.words import written


class Weights(Protocol):
    """Tensors by the names they have in the file. Nothing is read before `read`."""

    def __iter__(self) -> Iterator[str]: ...

    def __contains__(self, name: str) -> bool: ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""

    def read(self, name: str) -> NDArray[np.float32]:
        """The tensor as float32. Raises `CorruptModel` when it cannot be read."""


class TorchWeights:
    """A `pytorch_model.bin`, through our own reader of that format."""

    def __init__(self, path: Path) -> None:
        from textmill.engines.checkpoint.torchfile import open_torch_file

        self._path = path
        self._file = open_torch_file(path)
        weakref.finalize(self, self._file.close)

    def __iter__(self) -> Iterator[str]:
        return iter(self._file)

    def __contains__(self, name: str) -> bool:
        return name in self._file

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor."""
        shape: tuple[int, ...] = self._file.shape(name)
        return shape

    def read(self, name: str) -> NDArray[np.float32]:
        """The tensor as float32. Raises `CorruptModel` for one that holds no floats."""
        array: NDArray[np.float32] = self._file.load(name)
        if array.dtype != np.float32:
            raise CorruptModel(f"{self._path}: tensor {name} has type {array.dtype}, not a float's")
        return array


class ShardedWeights:
    """Several files that an index has told apart."""

    def __init__(self, shard_of: Mapping[str, Weights]) -> None:
        self._shard_of = shard_of

    def __iter__(self) -> Iterator[str]:
        return iter(self._shard_of)

    def __contains__(self, name: str) -> bool:
        return name in self._shard_of

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, from its shard's header."""
        return self._shard_of[name].shape(name)

    def read(self, name: str) -> NDArray[np.float32]:
        """The tensor as float32, from its shard."""
        return self._shard_of[name].read(name)


def open_weights(folder: Path) -> tuple[Weights, tuple[Path, ...]]:
    """The folder's weights, and the files that hold them (the index first).

    Safetensors are preferred to `pytorch_model.bin`, one file to shards. Raises `CorruptModel`
    when there are none, or the index is wrong; `UnsafeModel` when there are only files that
    would have to be executed to be read.
    """
    kinds: tuple[tuple[str, Callable[[Path], Weights]], ...] = (
        ("model.safetensors", SafetensorsFile),
        ("pytorch_model.bin", TorchWeights),
    )
    for name, open_file in kinds:
        single, index = folder / name, folder / f"{name}.index.json"
        if single.is_file():
            return open_file(single), (single,)
        if index.is_file():
            return _open_shards(index, open_file)
    raise _no_weights(folder)


def _open_shards(
    index: Path, open_file: Callable[[Path], Weights]
) -> tuple[Weights, tuple[Path, ...]]:
    names = _weight_map(index)
    shards = {name: index.parent / name for name in sorted(set(names.values()))}
    for name, path in shards.items():
        if not path.is_file():
            raise CorruptModel(
                f"{index.parent} lacks {name}, which {index.name} names",
                hint="the model is not complete; fetch it again",
            )
    files = {name: open_file(path) for name, path in shards.items()}
    for tensor, shard in names.items():
        if tensor not in files[shard]:
            raise CorruptModel(f"{shards[shard]} lacks tensor {tensor}, which {index.name} says")
    weights = ShardedWeights({tensor: files[shard] for tensor, shard in names.items()})
    return weights, (index, *shards.values())


def _weight_map(index: Path) -> dict[str, str]:
    """The index's map from tensor to file name. A name that leads out of the folder is refused."""
    try:
        names = json.loads(index.read_bytes())["weight_map"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CorruptModel(f"{index} is not an index with a weight_map") from error
    if not isinstance(names, dict) or not names:
        raise CorruptModel(f"{index}: weight_map is not a map from tensors to files")
    for tensor, shard in names.items():
        if not isinstance(shard, str) or not _is_plain(shard):
            raise CorruptModel(
                f"{index}: tensor {tensor} is in {written(shard)}, outside of the folder"
            )
    return names


def _is_plain(name: str) -> bool:
    return name not in {"", ".", ".."} and not any(c in name for c in "/\\:\0")


_EXECUTED = ("*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.bin")
_FOREIGN = ("*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.ot", "*.npz", "*.safetensors")


def _no_weights(folder: Path) -> CorruptModel | UnsafeModel:
    hint = (
        "save the model with transformers: "
        "AutoModelForSeq2SeqLM.from_pretrained(…).save_pretrained(FOLDER) writes model.safetensors"
    )
    if unsafe := _matches(folder, _EXECUTED):
        return UnsafeModel(
            f"{folder} has no model.safetensors, and {unsafe} may hold code", hint=hint
        )
    found = _matches(folder, _FOREIGN)
    return CorruptModel(
        f"{folder} has neither model.safetensors nor pytorch_model.bin"
        + (f", only {found}" if found else ""),
        hint=hint,
    )


def _matches(folder: Path, patterns: tuple[str, ...]) -> str:
    return ", ".join(sorted(p.name for pattern in patterns for p in folder.glob(pattern)))
