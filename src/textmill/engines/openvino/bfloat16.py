"""bfloat16 numbers, which numpy does not have: the upper halves of float32, kept as uint16."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def to_bfloat16(numbers: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Rounded to the nearest, halves to even. For finite numbers."""
    bits = np.ascontiguousarray(numbers).view(np.uint32)
    even = (bits >> 16) & 1
    rounded: NDArray[np.uint16] = ((bits + (even + 0x7FFF)) >> 16).astype(np.uint16)
    return rounded


def from_bfloat16(numbers: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Exactly."""
    bits: NDArray[np.uint32] = np.left_shift(numbers, 16, dtype=np.uint32)
    return bits.view(np.float32)
