"""What the pickle of a torch file may mean: names, storages and tensors, as inert values."""

from __future__ import annotations

import math
from mmap import mmap
from pathlib import Path
from typing import TypeGuard

from msgspec import Struct

from textmill.errors import CorruptModel, UnsafeModel, UnsupportedModel

MAX_DIMENSIONS = 32
MAX_INT64 = 2**63 - 1

CONVERT_HINT = (
    "textmill never runs what a model file says. Use a revision of the model that has safetensors "
    "files or, if you trust this one, convert it where that does no harm: "
    "AutoModelForSeq2SeqLM.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER) of transformers"
)
DAMAGED_HINT = "the file is incomplete, or was changed after it was written: get it again"

STORAGE_DTYPES = {
    "torch.DoubleStorage": "F64",
    "torch.FloatStorage": "F32",
    "torch.HalfStorage": "F16",
    "torch.BFloat16Storage": "BF16",
    "torch.LongStorage": "I64",
    "torch.IntStorage": "I32",
    "torch.ShortStorage": "I16",
    "torch.CharStorage": "I8",
    "torch.ByteStorage": "U8",
    "torch.BoolStorage": "BOOL",
}
ITEM_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1,
    "BOOL": 1,
}  # fmt: skip


class Source(Struct, frozen=True):
    """The bytes of a file, and the name it has in messages."""

    path: Path
    data: mmap | bytes

    def corrupt(self, what: str, position: int | None = None) -> CorruptModel:
        """The error for damage, at a byte of the file or in the whole of it."""
        return CorruptModel(f"{self.path}: {what}{_place(position)}", hint=DAMAGED_HINT)

    def unsafe(self, what: str, position: int | None = None) -> UnsafeModel:
        """The error for content outside of what a tensor file needs."""
        return UnsafeModel(f"{self.path}: {what}{_place(position)}", hint=CONVERT_HINT)

    def unsupported(self, what: str, hint: str | None = None) -> UnsupportedModel:
        """The error for harmless content that textmill does not read."""
        return UnsupportedModel(f"{self.path}: {what}", hint=hint)


def _place(position: int | None) -> str:
    return "" if position is None else f" (at byte {position})"


class Global(Struct, frozen=True):
    """An allowed name, as text. It stands for nothing that could be called."""

    name: str


class OrderedTable(dict[object, object]):
    """What the file calls a collections.OrderedDict."""

    __slots__ = ()


class StorageRef(Struct, frozen=True):
    """A storage that the pickle names: its key in the file, its element type, its length."""

    key: str
    dtype: str
    numel: int


class TensorView(Struct, frozen=True):
    """A tensor as a window on a storage; offset and strides count elements, not bytes."""

    storage: StorageRef
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def fits(self) -> bool:
        """Whether every element lies in the storage, and they are no more than the storage's.

        The second matters because a stride of 0 repeats elements, so a view of one element could
        claim any size. Empty tensors need no storage, but their other lengths must make sense.
        """
        numel = math.prod(self.shape)
        if numel == 0:
            return math.prod(length or 1 for length in self.shape) <= MAX_INT64 // 8
        steps = zip(self.shape, self.stride, strict=True)
        last = self.offset + sum((length - 1) * stride for length, stride in steps)
        return numel <= self.storage.numel and last < self.storage.numel


def is_size(value: object) -> TypeGuard[int]:
    """Whether it is an integer from 0 to the largest that 64 bits hold."""
    return type(value) is int and 0 <= value <= MAX_INT64


def are_sizes(values: object) -> TypeGuard[tuple[int, ...]]:
    """Whether it is a tuple of sizes, one for each of a sane number of dimensions."""
    return (
        isinstance(values, tuple)
        and len(values) <= MAX_DIMENSIONS
        and all(is_size(value) for value in values)
    )
