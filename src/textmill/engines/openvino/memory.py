"""How much memory decoding may take: arithmetic on the model's shape and what is free."""

from __future__ import annotations

import math
from pathlib import Path

from textmill.engines.checkpoint import Architecture
from textmill.engines.checkpoint.layout import layout
from textmill.engines.inflight.limits import Limits
from textmill.engines.openvino.precision import Arithmetic
from textmill.engines.openvino.stack import stack_of
from textmill.errors import ModelError

_ROWS = 64
"""Rows of a bank: more hardly share a weight's way from memory better."""
_ENCODE_TOKENS = 512
_SHARE = 0.5
"""Of what is free; the rest is for the encoder's layers, other processes, and the system."""
_TYPICAL_PAST = 128
_LONG_TOKENS, _LONG_ROWS = 1024, 24
"""So many slots for texts of this length are enough; longer texts get fewer."""


def limits_for(
    architecture: Architecture, how: Arithmetic, *, lanes: int, free_bytes: int | None
) -> Limits:
    """What each lane may hold. free_bytes: memory there is; None where nobody can tell.

    Raises `ModelError` with figures when the model and the smallest slots do not fit.
    """
    model = model_bytes(architecture, how)
    slot = token_bytes(architecture, how) * (_LONG_TOKENS + _TYPICAL_PAST)
    wanted = 2 * _LONG_ROWS * slot  # a bank that fills while one empties
    if free_bytes is None:
        return Limits(rows=_ROWS, bytes=wanted, encode_tokens=_ENCODE_TOKENS)
    left = int((free_bytes - model) * _SHARE)
    if left < lanes * slot:
        raise ModelError(
            f"the model does not fit: its weights take {_gb(model)} and decoding at least "
            f"{_gb(lanes * slot)}, but {_gb(max(0, free_bytes))} of memory are free",
            hint="use --precision int8, fewer --threads, or a smaller model",
        )
    return Limits(rows=_ROWS, bytes=min(wanted, left // lanes), encode_tokens=_ENCODE_TOKENS)


def model_bytes(architecture: Architecture, how: Arithmetic) -> int:
    """Of all weights, as they are computed with."""
    numbers = sum(math.prod(slot.shape) for slot in layout(architecture).values())
    return numbers * (1 if how.int8 else 2 if how.half else 4)


def token_bytes(architecture: Architecture, how: Arithmetic) -> int:
    """Of the keys and values of one token in all decoder layers."""
    decoder = stack_of(architecture, "decoder")
    return 2 * decoder.layers * decoder.heads * decoder.head_size * (2 if how.half else 4)


def free_memory() -> int | None:
    """Bytes that this process can still have, by the kernel's and the control group's account."""
    found = [n for n in (_available(), _left_in_group()) if n is not None]
    return min(found) if found else None


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def _left_in_group() -> int | None:
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        return limit - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no limit, or no such group
        return None


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
