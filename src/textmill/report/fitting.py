"""How a page keeps to its size, whatever it is to show."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

MAX_PAGE_BYTES = 295_000


class Room(NamedTuple):
    """How much of its records a page may show.

    text_chars: of each text. packed_chars: of the numbers of all records, packed.
    """

    text_chars: int
    packed_chars: int


ROOMS = (
    *(Room(text_chars, 125_000) for text_chars in (800, 500, 300, 200, 140, 100)),
    *(Room(100, 80_000), Room(60, 40_000)),
)
"""From most to least: texts are cut shorter before numbers are left out."""


def fitted(make: Callable[[Room], str]) -> str:
    """The page with the most room that is within the size; with the least, if none is."""
    for room in ROOMS:
        page = make(room)
        if len(page.encode()) <= MAX_PAGE_BYTES:
            break
    return page
