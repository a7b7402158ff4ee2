"""How numbers of things are said in messages."""

from __future__ import annotations


def counted(count: int, thing: str, things: str | None = None) -> str:
    """`1 row`, `1,234 rows`. things: the plural where it is not `thing` with an s."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {things or thing + 's'}"
