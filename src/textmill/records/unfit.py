"""How the functions of this package say that a row cannot become a record.

A bad record is a value: the reader catches `Unfit` and makes a `core.Rejected` of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from textmill.errors import ErrorCode

_MAX_NAMES = 12
_MAX_NAME_CHARACTERS = 60


class Unfit(Exception):
    """This row cannot become a record. Whoever reads rows catches it."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(message)


def quoted(name: str) -> str:
    """A column's name for a message, shortened when it is absurdly long."""
    short = name if len(name) <= _MAX_NAME_CHARACTERS else name[:_MAX_NAME_CHARACTERS] + "…"
    return f'"{short}"'


def listed(names: Iterable[str]) -> str:
    """Names for a message, the first dozen of them."""
    every = list(names)
    shown = ", ".join(quoted(name) for name in every[:_MAX_NAMES]) or "nothing"
    more = len(every) - _MAX_NAMES
    return f"{shown} and {more} more" if more > 0 else shown


def not_utf8(text: bytes, at: int, whole: str) -> str:
    """Says that byte `at` of `text` is not UTF-8, and what to do. whole: "line" or "row"."""
    if text.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "not UTF-8 but UTF-16: convert the file (iconv -f UTF-16 -t UTF-8)"
    return (
        f"not UTF-8: byte 0x{text[at]:02x} at byte {at + 1} of the {whole}; if the file is in "
        "another encoding, convert it (iconv -f WINDOWS-1252 -t UTF-8)"
    )
