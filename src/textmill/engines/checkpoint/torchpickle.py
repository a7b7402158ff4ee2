"""Reads the pickle of a torch file as data: nothing is imported, looked up or called.

A pickle is a program. Tensor files need half of its instructions and 13 names; those are
interpreted here into inert values, everything else is refused. `docs/decisions/pytorch-bin.md`
says which and why.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from msgspec import Struct

from textmill.engines.checkpoint.torchvalues import (
    STORAGE_DTYPES,
    Global,
    OrderedTable,
    Source,
    StorageRef,
    TensorView,
    are_sizes,
    is_size,
)
from textmill.errors import CorruptModel, UnsafeModel
from textmill.words import kind_of, written

MAX_PICKLE_BYTES = 16 << 20
MAX_OPCODES = 2_000_000
MAX_STACK = 10_000
MAX_MARKS = 64
MAX_MEMO = 1_000_000
MAX_TENSORS = 50_000
MAX_NAME_BYTES = 256
MAX_INT_KEY = 1 << 31

ORDERED_DICT = "collections.OrderedDict"
REBUILD_TENSOR = "torch._utils._rebuild_tensor_v2"
REBUILD_PARAMETER = "torch._utils._rebuild_parameter"
ALLOWED_GLOBALS = frozenset({ORDERED_DICT, REBUILD_TENSOR, REBUILD_PARAMETER, *STORAGE_DTYPES})


class Pickle(Struct, frozen=True):
    """What a pickle holds, the position after it, and every storage it names, by key."""

    value: object
    end: int
    storages: dict[str, StorageRef]


def interpret(source: Source, start: int, end: int, *, storage_fields: int | None = None) -> Pickle:
    """Read the pickle that begins at `start`.

    end: where the pickle must be over at the latest.
    storage_fields: how many fields a reference to a storage has; None allows no reference.

    Raises `UnsafeModel` for an instruction, name or size outside of what a tensor file needs, and
    `CorruptModel` for a pickle that is cut or makes no sense.
    """
    machine = _Machine(source, start, end, storage_fields)
    return Pickle(machine.run(), machine.position, machine.storages)


class _Machine:
    """The pickle machine: a stack, marks on it and a memo, all bounded."""

    def __init__(self, source: Source, start: int, end: int, storage_fields: int | None) -> None:
        self.source = source
        self.position = start
        self.opcode_at = start
        self.end = min(end, start + MAX_PICKLE_BYTES)
        self.cut_by_limit = self.end < end
        self.storage_fields = storage_fields
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}
        self.storages: dict[str, StorageRef] = {}
        self.tensors = 0

    def run(self) -> object:
        if self.byte() != _PROTO or not 2 <= self.byte() <= 5:
            raise self.unsafe("not a pickle of protocol 2 to 5, as torch.save writes")
        for _ in range(MAX_OPCODES):
            self.opcode_at = self.position
            opcode = self.byte()
            if opcode == _STOP:
                return self.result()
            handler = _HANDLERS.get(opcode)
            if handler is None:
                raise self.refused_opcode(opcode)
            handler(self)
        raise self.unsafe(f"a pickle of more than {MAX_OPCODES} opcodes")

    def result(self) -> object:
        if self.marks or len(self.stack) != 1:
            raise self.corrupt("the pickle does not end with one value")
        return self.stack[0]

    def corrupt(self, what: str) -> CorruptModel:
        return self.source.corrupt(what, self.opcode_at)

    def unsafe(self, what: str) -> UnsafeModel:
        return self.source.unsafe(what, self.opcode_at)

    def refused_opcode(self, opcode: int) -> CorruptModel | UnsafeModel:
        name = _REFUSED_OPCODES.get(opcode)
        if name is None:
            return self.corrupt(f"0x{opcode:02x} is no pickle opcode")
        return self.unsafe(f"the pickle opcode {name}, which no tensor file needs")

    # Reading

    def byte(self) -> int:
        return self.take(1)[0]

    def take(self, size: int) -> bytes:
        stop = self.position + size
        if stop > self.end:
            if self.cut_by_limit:
                raise self.unsafe(f"a pickle of more than {MAX_PICKLE_BYTES} bytes")
            raise self.corrupt("the pickle is cut off")
        taken = self.source.data[self.position : stop]
        self.position = stop
        return taken

    def text(self, size: int) -> str:
        try:
            return self.take(size).decode("utf-8")
        except UnicodeDecodeError:
            raise self.corrupt("a text that is not UTF-8") from None

    def line(self) -> str:
        limit = min(self.end, self.position + MAX_NAME_BYTES)
        stop = self.source.data.find(b"\n", self.position, limit)
        if stop < 0:
            raise self.corrupt("a name that does not end")
        return self.text(stop + 1 - self.position)[:-1]

    # Stack and memo

    def push(self, value: object) -> None:
        if len(self.stack) >= MAX_STACK:
            raise self.unsafe(f"a pickle with more than {MAX_STACK} values on its stack")
        self.stack.append(value)

    def pop(self) -> object:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise self.corrupt("the pickle takes a value that is not there")
        return self.stack.pop()

    def top(self) -> object:
        value = self.pop()
        self.stack.append(value)
        return value

    def mark(self) -> None:
        if len(self.marks) >= MAX_MARKS:
            raise self.unsafe(f"a pickle nested more than {MAX_MARKS} deep")
        self.marks.append(len(self.stack))

    def pop_to_mark(self) -> list[object]:
        if not self.marks:
            raise self.corrupt("the pickle closes what it did not open")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def tuple_of(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def remember(self, index: int) -> None:
        if len(self.memo) >= MAX_MEMO:
            raise self.unsafe(f"a pickle that remembers more than {MAX_MEMO} values")
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise self.corrupt(f"the pickle recalls value {index}, which it did not remember")
        self.push(self.memo[index])

    # Meaning

    def name(self, module: object, name: object) -> None:
        path = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "?"
        if path not in ALLOWED_GLOBALS:
            raise self.unsafe(
                f"it asks for {written(path[:MAX_NAME_BYTES])}, which no tensor file needs"
            )
        self.push(Global(path))

    def extend(self, values: list[object]) -> None:
        target = self.top()
        if not isinstance(target, list):
            raise self.corrupt("values are added to something that is not a list")
        target.extend(values)

    def set_items(self, items: list[object]) -> None:
        target = self.top()
        if not isinstance(target, dict) or len(items) % 2:
            raise self.corrupt("items are set on something that is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str) and not _is_plain_key(key):
                raise self.unsafe(f"a dict key that is {kind_of(key)}")
            if key in target:
                raise self.corrupt(f"the dict key {written(str(key)[:MAX_NAME_BYTES])} comes twice")
            target[key] = value

    def build(self) -> None:
        """Attributes of a state dict (`_metadata`: module versions) say nothing about weights."""
        state, target = self.pop(), self.top()
        if not isinstance(target, OrderedTable) or not isinstance(state, dict):
            raise self.unsafe("it sets the state of something that is not an OrderedDict")

    def reduce(self) -> None:
        args, function = self.pop(), self.pop()
        if not isinstance(args, tuple) or not isinstance(function, Global):
            raise self.unsafe("it calls something that is not a known name")
        if function.name == ORDERED_DICT and not args:
            self.push(OrderedTable())
        elif function.name == REBUILD_TENSOR:
            self.push(self.tensor(args))
        elif function.name == REBUILD_PARAMETER and args and isinstance(args[0], TensorView):
            self.push(args[0])
        else:
            raise self.unsafe(f"it calls {function.name} with unknown arguments")

    def tensor(self, args: tuple[object, ...]) -> TensorView:
        self.tensors += 1
        if self.tensors > MAX_TENSORS:
            raise self.unsafe(f"more than {MAX_TENSORS} tensors")
        if len(args) != 6:
            raise self.unsafe("a tensor with unknown properties, such as a conjugate view")
        storage, offset, shape, stride = args[:4]
        if not (isinstance(storage, StorageRef) and is_size(offset)):
            raise self.corrupt("a tensor without a storage or with an impossible offset")
        if not (are_sizes(shape) and are_sizes(stride) and len(shape) == len(stride)):
            raise self.corrupt("a tensor with an impossible shape or impossible strides")
        view = TensorView(storage, offset, shape, stride)
        if not view.fits():
            raise self.corrupt(
                f"a tensor of shape {shape}, strides {stride} and offset {offset} "
                f"does not fit its storage of {storage.numel} elements"
            )
        return view

    def storage(self) -> None:
        fields = self.pop()
        if self.storage_fields is None or not isinstance(fields, tuple):
            raise self.unsafe("a persistent id where no storage can be")
        if len(fields) != self.storage_fields or any(field is not None for field in fields[5:]):
            raise self.unsafe("a persistent id that is not a plain storage")
        word, kind, key, location, numel = fields[:5]
        dtype = STORAGE_DTYPES.get(kind.name) if isinstance(kind, Global) else None
        if word != "storage" or dtype is None:
            raise self.unsafe("a persistent id that is not a storage")
        if not (isinstance(key, str) and is_size(numel)):
            raise self.corrupt("a storage with an impossible key or size")
        if location == "meta":
            raise self.source.unsupported("saved from the meta device, without data")
        self.push(self.known(StorageRef(key, dtype, numel)))

    def known(self, storage: StorageRef) -> StorageRef:
        first = self.storages.setdefault(storage.key, storage)
        if first != storage:
            raise self.corrupt(f"the storage {written(storage.key[:MAX_NAME_BYTES])} has two forms")
        return first


_Handler = Callable[[_Machine], None]


def _number(layout: str) -> Callable[[_Machine], int]:
    unpacker = struct.Struct(layout)

    def read(machine: _Machine) -> int:
        value: int = unpacker.unpack(machine.take(unpacker.size))[0]
        return value

    return read


_uint16, _uint32, _int32 = _number("<H"), _number("<I"), _number("<i")


def _float(machine: _Machine) -> None:
    machine.push(struct.unpack(">d", machine.take(8))[0])


def _long1(machine: _Machine) -> None:
    machine.push(int.from_bytes(machine.take(machine.byte()), "little", signed=True))


def _frame(machine: _Machine) -> None:
    """A frame is a hint for buffering; its length means nothing for the value."""
    machine.take(8)


def _append(machine: _Machine) -> None:
    value = machine.pop()
    machine.extend([value])


def _set_item(machine: _Machine) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


def _global(machine: _Machine) -> None:
    module = machine.line()
    machine.name(module, machine.line())


def _stack_global(machine: _Machine) -> None:
    name, module = machine.pop(), machine.pop()
    machine.name(module, name)


_PROTO, _STOP = 0x80, ord(".")
_HANDLERS: dict[int, _Handler] = {
    ord("("): _Machine.mark,
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("K"): lambda m: m.push(m.byte()),
    ord("M"): lambda m: m.push(_uint16(m)),
    ord("J"): lambda m: m.push(_int32(m)),
    0x8A: _long1,
    ord("G"): _float,
    ord("X"): lambda m: m.push(m.text(_uint32(m))),
    ord("U"): lambda m: m.push(m.text(m.byte())),
    0x8C: lambda m: m.push(m.text(m.byte())),
    ord(")"): lambda m: m.push(()),
    ord("t"): lambda m: m.push(tuple(m.pop_to_mark())),
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    ord("]"): lambda m: m.push([]),
    ord("a"): _append,
    ord("e"): lambda m: m.extend(m.pop_to_mark()),
    ord("}"): lambda m: m.push({}),
    ord("s"): _set_item,
    ord("u"): lambda m: m.set_items(m.pop_to_mark()),
    ord("c"): _global,
    0x93: _stack_global,
    ord("R"): _Machine.reduce,
    ord("b"): _Machine.build,
    ord("Q"): _Machine.storage,
    ord("q"): lambda m: m.remember(m.byte()),
    ord("r"): lambda m: m.remember(_uint32(m)),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("h"): lambda m: m.recall(m.byte()),
    ord("j"): lambda m: m.recall(_uint32(m)),
    0x95: _frame,
}
_REFUSED_OPCODES = {
    _PROTO: "PROTO in the middle",
    ord("0"): "POP", ord("1"): "POP_MARK", ord("2"): "DUP", ord("F"): "FLOAT", ord("I"): "INT",
    ord("L"): "LONG", ord("S"): "STRING", ord("T"): "BINSTRING", ord("V"): "UNICODE",
    ord("B"): "BINBYTES", ord("C"): "SHORT_BINBYTES", ord("P"): "PERSID", ord("d"): "DICT",
    ord("g"): "GET", ord("i"): "INST", ord("l"): "LIST", ord("o"): "OBJ", ord("p"): "PUT",
    0x81: "NEWOBJ", 0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4", 0x8B: "LONG4",
    0x8D: "BINUNICODE8", 0x8E: "BINBYTES8", 0x8F: "EMPTY_SET", 0x90: "ADDITEMS",
    0x91: "FROZENSET", 0x92: "NEWOBJ_EX", 0x96: "BYTEARRAY8", 0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
}  # fmt: skip


def _is_plain_key(key: object) -> bool:
    """Optimizer states have small numbers as keys; huge ones can be chosen to hash alike."""
    return is_size(key) and key < MAX_INT_KEY
