"""Pickles that want something else than to be tensors. Each would touch the file `{mark}`."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict

from support.torchfiles import (
    NO_HOOKS,
    ORDERED_DICT,
    REBUILD_TENSOR,
    integer,
    pickled,
    storage,
    tensor,
    text,
)


class _Runs:
    def __init__(self, function: object, *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


def python_pickles(mark: str) -> dict[str, bytes]:
    """What Python's own pickler writes for objects that run something when they are loaded."""
    touch = f"touch {mark}"
    values = {
        "os.system": _Runs(os.system, touch),
        "eval": _Runs(eval, f"open({mark!r}, 'w')"),
        "exec": _Runs(exec, f"open({mark!r}, 'w')"),
        "open": _Runs(open, mark, "w"),
        "import": _Runs(__import__, "antigravity"),
        "getattr": _Runs(getattr, _Runs(__import__, "os"), "system"),
        "in a dict": {"w": _Runs(os.system, touch)},
        "as metadata": _with_attribute(_Runs(os.system, touch)),
    }
    return {
        f"{name}, protocol {protocol}": pickle.dumps(value, protocol)
        for name, value in values.items()
        for protocol in range(6)
    }


def _with_attribute(value: object) -> OrderedDict[str, object]:
    ordered: OrderedDict[str, object] = OrderedDict()
    ordered._metadata = value  # type: ignore[attr-defined]
    return ordered


def opcode_pickles(mark: str) -> dict[str, bytes]:
    """The opcodes that build or call, one by one, and names that look nearly allowed."""
    touch = text(f"touch {mark}")
    arg = b"S'touch " + mark.encode() + b"'\n"
    bodies = {
        "GLOBAL REDUCE": b"cos\nsystem\n" + touch + b"\x85R",
        "STACK_GLOBAL REDUCE": text("os") + text("system") + b"\x93" + touch + b"\x85R",
        "STACK_GLOBAL of no texts": b"NN\x93",
        "STACK_GLOBAL of lists": b"]]\x93",
        "INST": b"(" + arg + b"ios\nsystem\n",
        "OBJ": b"(cos\nsystem\n" + touch + b"o",
        "NEWOBJ": b"cos\nsystem\n" + touch + b"\x85\x81",
        "NEWOBJ of an allowed name": ORDERED_DICT + b")\x81",
        "NEWOBJ_EX": ORDERED_DICT + b")}\x92",
        "EXT1": b"\x82\x01",
        "EXT2": b"\x83\x01\x00",
        "EXT4": b"\x84\x01\x00\x00\x00",
        "PERSID": b"Pmodule\n",
        "BINPERSID of a text": text("module") + b"Q",
        "BINPERSID of a module": b"(" + text("module") + b"cos\nsystem\nNNtQ",
        "BINPERSID of a class": b"(" + text("storage") + ORDERED_DICT + text("0") * 2 + b"K\x01tQ",
        "BINPERSID of nothing": b")Q",
        "BUILD of a storage": storage("0", 4) + b"}b",
        "BUILD of a dict": b"}}b",
        "BUILD of slots": ORDERED_DICT + b")RN}\x86b",
        "REDUCE of a storage class": b"ctorch\nFloatStorage\n" + integer(2**40) + b"\x85R",
        "REDUCE of a value": b"})R",
        "REDUCE with a list": ORDERED_DICT + b"]R",
        "REDUCE with arguments": ORDERED_DICT + b"]\x85R",
        "parameter of a dict": b"ctorch._utils\n_rebuild_parameter\n}\x89" + NO_HOOKS + b"\x87R",
        "tensor without arguments": REBUILD_TENSOR + b")R",
        "tensor with metadata": tensor(storage("0", 4), [1], [1], more=b"}"),
        "a key that hashes deep": b"}" + b")" + b"\x85" * 100_000 + b"Ns",
        "module path": b"ctorch\nhub.load\n",
        "attribute path": text("collections") + text("OrderedDict.__init__") + b"\x93",
        "python 2 name": b"c__builtin__\neval\n",
        "storage class of a submodule": b"ctorch.cuda\nFloatStorage\n",
        "name with a return": b"ccollections\r\nOrderedDict\r\n",
        "untyped storage": b"ctorch.storage\n_load_from_bytes\n",
    }
    return {name: pickled(body, protocol=4) for name, body in bodies.items()}


def bombs() -> dict[str, bytes]:
    """Small pickles that would cost much memory or time."""
    ten_times = b"".join(b"](" + b"h%c" % n * 10 + b"eq%c" % (n + 1) for n in range(100))
    args = b"(" + storage("0", 1) + b"K\x00))\x89" + NO_HOOKS + b"tq\x01"
    bodies = {
        "billion laughs": b"]q\x00" + ten_times,
        "marks": b"(" * 1_000_000,
        "stack": b"N" * 1_000_000,
        "deep lists": b"]" * 9_000 + b"a" * 8_999,
        "deep tuples": b")" + b"\x85" * 400_000,
        "bytes": (text("a" * 1_000_000) + b"q\x00") * 17 + b"t",
        "opcodes": b"N" + b"q\x00" * 2_500_000,
        "memo": b"N" + b"\x94" * 1_900_000,
        "memo far away": b"Nr\xff\xff\xff\xff",
        "tensors": REBUILD_TENSOR + b"q\x00" + args + b"]" + b"h\x00h\x01Ra" * 100_000,
        "huge LONG4": b"\x8b\xff\xff\xff\x7f",
        "negative LONG4": b"\x8b\xff\xff\xff\xff",
        "huge text": b"X\xff\xff\xff\xff",
        "huge text 8": b"\x8d" + b"\xff" * 8,
        "huge bytes 8": b"\x8e" + b"\xff" * 8,
        "endless name": b"c" + b"a" * 1_000_000,
        "huge number as a key": b"}\x8a\xff" + b"\x7f" * 255 + b"Ns",
        "list in itself": b"]q\x00h\x00a",
        "dict in itself": b"}q\x00" + text("a") + b"h\x00s",
        "dicts with one dict": b"}q\x00" + b"".join(
            text(f"{n}") + b"h\x00s" for n in range(100_000)
        ),
    }  # fmt: skip
    return {name: pickled(body) for name, body in bodies.items()}
