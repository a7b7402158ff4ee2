"""What each row of a bank may look back at, beams that changed places included.

The key of a token stays where it was written: in the lane of the row that was fed it. So beams are
reordered by changing what a row sees, and no cache is ever copied.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from textmill.engines.inflight.network import Tokens

HIDDEN = np.float32(-1e9)
"""Added to a score, it makes a weight of exactly 0."""


class Past:
    """The masks and lengths of a bank's slots.

    mask: [slots, width, lanes, capacity], 0 where the row sees the token, `HIDDEN` elsewhere.
    lengths: [slots], tokens fed so far.
    """

    def __init__(self, slots: int, width: int, capacity: int) -> None:
        self.mask: NDArray[np.float32] = np.full((slots, width, width, capacity), HIDDEN)
        self.lengths: NDArray[np.int64] = np.zeros(slots, np.int64)

    @property
    def capacity(self) -> int:
        """Tokens that a row can look back at."""
        return int(self.mask.shape[-1])

    def clear(self, slot: int) -> None:
        """The slot begins anew."""
        self.mask[slot] = HIDDEN
        self.lengths[slot] = 0

    def move(self, origin: int, target: int) -> None:
        """Slot `target` becomes what slot `origin` is."""
        self.mask[target] = self.mask[origin]
        self.lengths[target] = self.lengths[origin]

    def grow(self, capacity: int) -> None:
        """Room for more tokens."""
        more = capacity - self.capacity
        self.mask = np.pad(self.mask, ((0, 0),) * 3 + ((0, more),), constant_values=HIDDEN)

    def follow(self, parents: Tokens) -> None:
        """Each row sees what its parent saw, and the token its parent was fed in the last step.

        parents: [slots in use, width]; slots without a past pass over theirs.
        """
        used, width = parents.shape
        if width > 1:
            seen = np.take_along_axis(self.mask[:used], parents[:, :, None, None], axis=1)
            self.mask[:used] = seen
        slots = np.flatnonzero(self.lengths[:used])
        rows, last = np.arange(width), self.lengths[slots] - 1
        self.mask[slots[:, None], rows, parents[slots], last[:, None]] = 0.0

    def fed(self, used: int) -> None:
        """The first slots have been fed a token each."""
        self.lengths[:used] += 1
