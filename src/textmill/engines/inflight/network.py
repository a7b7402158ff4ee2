"""What a network has to offer to the in-flight decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]
Scores = NDArray[np.float32]


class Encoded(Protocol):
    """One text, encoded: what its decoding attends to. Immutable; may be placed several times."""

    @property
    def tokens(self) -> int:
        """Length of the text."""


class Bank(Protocol):
    """Slots for texts that are decoded together. Each has the same number of rows, its width:
    the beams or samples of one text, which share what they attend to."""

    @property
    def slots(self) -> int:
        """How many texts it holds at most."""

    @property
    def width(self) -> int:
        """Rows of each slot."""

    @property
    def capacity(self) -> int:
        """Tokens of the longest text that it can hold."""

    def place(self, slot: int, encoded: Encoded) -> None:
        """Put a text into a slot; its rows begin anew."""

    def move(self, origin: int, target: int) -> None:
        """Move what is in slot `origin` into slot `target`."""

    def step(self, tokens: Tokens, parents: Tokens) -> Scores:
        """Feed a token to each row of the first slots and return what may follow.

        tokens: [slots in use, width]. parents: of the same shape; row w of a slot goes on from what
        was row parents[slot, w] in the step before. In a slot's first step they are all 0.

        Returns logits [slots in use, width, vocabulary], which the caller may change and must not
        keep beyond the next step.
        """


class Network(Protocol):
    """A model that encodes and steps. Not thread-safe: each decoder has its own."""

    def encode(self, texts: Sequence[Sequence[int]]) -> list[Encoded]:
        """Encode token ids; a text's result does not depend on the others beyond rounding."""

    def open_bank(self, *, slots: int, width: int, capacity: int) -> Bank:
        """A new bank. Its memory is given back with it."""

    def slot_bytes(self, *, width: int, capacity: int, past: int) -> int:
        """Memory of one slot of such a bank, when texts of `past` tokens are written."""
