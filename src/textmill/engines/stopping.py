"""Stop strings, for engines that apply them to finished texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[Sequence[int]]], list[str]]


def cut_at_stop(ids: list[int], stop: Sequence[str], decode: Decode) -> list[int] | None:
    """The tokens up to the one that completes a stop string, or None when none appears.

    That is where transformers' generate would have ended; the text keeps the stop string.
    """
    if not _contains(decode([ids])[0], stop):
        return None
    beginnings = [ids[: n + 1] for n in range(len(ids))]
    return next(
        tokens
        for tokens, text in zip(beginnings, decode(beginnings), strict=True)
        if _contains(text, stop)
    )


def _contains(text: str, stop: Sequence[str]) -> bool:
    return any(string in text for string in stop)
