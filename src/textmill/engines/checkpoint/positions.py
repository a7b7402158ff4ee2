"""The computed position tables, as transformers computes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from textmill.engines.checkpoint.architecture import BartArchitecture, Positions


def position_table(arch: BartArchitecture) -> NDArray[np.float32]:
    """[max_positions, d_model]; row n is added to the embedding of token n."""
    if arch.positions is Positions.SINUSOIDAL:
        return _halves(arch.max_positions, arch.d_model)
    return _shifted(arch.max_positions, arch.d_model, first=arch.pad_token_id + 1)


def _halves(rows: int, dim: int) -> NDArray[np.float32]:
    """Pegasus and Marian: angle n / 10000 ** (2j / dim)."""
    exponents = 2 * (np.arange(dim) // 2) / dim
    angles = np.arange(rows)[:, None] / np.power(10000.0, exponents)
    table = np.concatenate([np.sin(angles[:, 0::2]), np.cos(angles[:, 1::2])], axis=1)
    return table.astype(np.float32)


def _shifted(rows: int, dim: int, *, first: int) -> NDArray[np.float32]:
    """M2M100 and NLLB: angle n * 10000 ** (-j / (dim/2 - 1)), n counted from `first`.

    In single precision, as the models were trained.
    """
    half = dim // 2
    step = np.float32(-(np.log(10000.0) / (half - 1)))
    frequencies = np.exp(np.arange(half, dtype=np.float32) * step)
    angles = np.arange(first, first + rows, dtype=np.float32)[:, None] * frequencies
    table = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    return np.pad(table, [(0, 0), (0, dim % 2)]).astype(np.float32)
