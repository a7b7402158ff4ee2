"""What the openvino engine computes in, on which CPU."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

from msgspec import Struct

_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16"}


class Arithmetic(Struct, frozen=True, kw_only=True):
    """How to compute.

    int8: weight matrices are bytes, and what they multiply is made bytes group by group.
    half: all else is bfloat16, caches included; otherwise float32.
    """

    int8: bool
    half: bool


def precisions(*, bfloat16: bool) -> tuple[str, ...]:
    """Those that the engine has on a CPU with or without bfloat16; its own choice first."""
    return ("int8", "bfloat16", "float32") if bfloat16 else ("int8", "float32")


def arithmetic(precision: str, *, bfloat16: bool) -> Arithmetic:
    """What a precision means on a CPU with or without bfloat16 instructions.

    Without them bfloat16 would be emulated, many times slower than float32.
    """
    half = bfloat16 and precision != "float32"
    return Arithmetic(int8=precision == "int8", half=half)


@cache
def has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 numbers itself."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not _BFLOAT16_FLAGS.isdisjoint(flags.split())
