"""Stored floating point numbers to float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_float32(stored: NDArray[Any], *, bfloat16: bool = False) -> NDArray[np.float32]:
    """`stored` as float32, not copied when it is float32 already.

    bfloat16: `stored` holds the bits of bfloat16 numbers as unsigned 16-bit integers; they are
        the upper halves of the float32 numbers.
    """
    if bfloat16:
        bits: NDArray[np.uint32] = np.left_shift(stored, 16, dtype=np.uint32)
        return bits.view(np.float32)
    converted: NDArray[np.float32] = stored.astype(np.float32, copy=False)
    return converted
