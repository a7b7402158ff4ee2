"""Typed reading of a decoded config.json. Every complaint names the file and the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from textmill.errors import CorruptModel
from textmill.words import written

MAX_LAYERS, MAX_SIZE = 1_000, 1 << 24
"""Beyond any model; tables of these sizes are made before a weight is looked at."""


class Config:
    """The values of one config.json. A key that is absent or null takes the default."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values = values
        self._where = where

    def size(self, key: str, default: int | None = None) -> int:
        """A positive integer. Raises `CorruptModel` when there is neither value nor default."""
        value = self._get(key, default)
        limit = MAX_LAYERS if "layers" in key else MAX_SIZE
        if not _is_int(value) or not 1 <= value <= limit:
            raise self._wrong(key, value, f"a positive integer of at most {limit:,}")
        return int(value)

    def divisor(self, key: str, of: int) -> int:
        """A positive integer that divides `of`."""
        value = self.size(key)
        if of % value:
            raise self._wrong(key, value, f"a divisor of {of}")
        return value

    def number(self, key: str, default: float) -> float:
        """A positive number."""
        value = self._get(key, default)
        if not (_is_int(value) or isinstance(value, float)) or not value > 0:
            raise self._wrong(key, value, "a positive number")
        return float(value)

    def text(self, key: str, default: str) -> str:
        """A string."""
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, value, "a string")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false, nothing that looks like it."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def id(self, key: str, default: int) -> int:
        """A token id."""
        return self._id(key, self._get(key, default))

    def optional_id(self, key: str, default: int | None) -> int | None:
        """A token id, or None when there is neither value nor default."""
        value = self._get(key, default)
        return None if value is None else self._id(key, value)

    def ids(self, key: str, default: int) -> tuple[int, ...]:
        """One token id or a list of them."""
        value = self._get(key, default)
        return tuple(self._id(key, v) for v in (value if isinstance(value, list) else [value]))

    def _id(self, key: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self._wrong(key, value, "a token id (an integer of at least 0)")
        return value

    def _get(self, key: str, default: Any) -> Any:
        value = self._values.get(key)
        return default if value is None else value

    def _wrong(self, key: str, value: object, rule: str) -> CorruptModel:
        if value is None:
            return CorruptModel(f"{self._where} lacks {key}")
        return CorruptModel(f"{self._where}: {key} is {written(value)}, but has to be {rule}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
