"""How much is decoded at once: pure arithmetic on lengths and bytes."""

from __future__ import annotations

from msgspec import Struct

from textmill.core import Params


class Limits(Struct, frozen=True, kw_only=True):
    """What a decoder may hold.

    rows: of one bank, i.e. texts times beams or samples; a single text may have more.
    bytes: of all banks together.
    encode_tokens: tokens of texts that are encoded together, padding counted; one text may be
        longer.
    """

    rows: int
    bytes: int
    encode_tokens: int


def width_of(params: Params) -> int:
    """Rows that a request needs."""
    return max(params.num_beams, params.num_return_sequences)


def capacity_for(tokens: int) -> int:
    """Tokens that the slots of a bank hold, for texts of this length.

    Lengths are coarse, so that texts of different lengths share a bank; what is not used of a
    slot is read all the same.
    """
    step = 16 if tokens <= 64 else 64 if tokens <= 256 else 128
    return -(-tokens // step) * step


def fits(tokens: int, capacity: int) -> bool:
    """Whether a text may go into such a slot: it has room, and does not leave half of it empty."""
    return tokens <= capacity <= max(64, 2 * tokens)


def slots_for(limits: Limits, *, width: int, slot_bytes: int, taken: int) -> int:
    """Slots of a new bank, when others take `taken` bytes; 0 when there is no room.

    One bank takes half of the memory at most, so that there is room for the next while it empties.
    """
    left = limits.bytes - taken
    affordable = min(left, max(limits.bytes // 2, slot_bytes)) // slot_bytes
    return max(0, min(limits.rows // width or 1, affordable))
