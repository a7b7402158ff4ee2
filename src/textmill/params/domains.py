"""What values a parameter may take: a domain reads a value and states its own rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from msgspec import Struct

_T = TypeVar("_T")

MAX_TOKEN_ID = 2**31 - 1


class Misfit(Exception):
    """The value is not in the domain."""


class Domain(Struct, frozen=True):
    """A set of allowed values.

    rule: what is allowed, beginning with "must be"; messages print it after the parameter's name.
    read: the value in the type that `core.Params` holds. Raises `Misfit`.
    written: how a text after `--set name=` is read: as it stands, as a flag, or as JSON.
    """

    rule: str
    read: Callable[[object], Any]
    written: Literal["text", "flag", "json"] = "json"


def integer(low: int, high: int) -> Domain:
    """Whole numbers from `low` to `high`."""

    def read(value: object) -> int:
        number = _whole(value)
        if not low <= number <= high:
            raise Misfit
        return number

    return Domain(f"must be an integer from {low} to {high}", read)


def number(low: float, high: float, unit: str = "") -> Domain:
    """Finite numbers from `low` to `high`, in `unit`."""

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Misfit
        if not low <= value <= high:  # also refuses NaN
            raise Misfit
        return float(value)

    noun = f"a number of {unit}" if unit else "a number"
    return Domain(f"must be {noun} from {low:g} to {high:.10g}", read)


def flag() -> Domain:
    """True or false, and nothing that merely looks like it."""

    def read(value: object) -> bool:
        if not isinstance(value, bool):
            raise Misfit
        return value

    return Domain("must be true or false", read, "flag")


def flag_or_never() -> Domain:
    """The three values of early_stopping."""

    def read(value: object) -> bool | str:
        if isinstance(value, bool) or (isinstance(value, str) and value == "never"):
            return value
        raise Misfit

    return Domain('must be true, false or "never"', read, "flag")


def text(max_chars: int) -> Domain:
    """Texts of 1 to `max_chars` characters that can be written as UTF-8."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not 1 <= len(value) <= max_chars:
            raise Misfit
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise Misfit from error
        return value

    return Domain(f"must be a text of 1 to {max_chars} characters", read, "text")


def texts(max_items: int, max_chars: int) -> Domain:
    """One text, or a list of at most `max_items`; read as a tuple."""
    item = text(max_chars)

    def read(value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            return (item.read(value),)
        return _items(value, item.read, 0, max_items)

    rule = (
        f"must be a text, or a list of at most {max_items} texts, "
        f"of 1 to {max_chars} characters each"
    )
    return Domain(rule, read, "text")


def token_id(low: int = 0) -> Domain:
    """One token id."""
    return integer(low, MAX_TOKEN_ID)


def lone_token_id() -> Domain:
    """One token id, which older files write as a list of one."""
    one = token_id()

    def read(value: object) -> Any:
        return one.read(_items(value, one.read, 1, 1)[0] if isinstance(value, list) else value)

    return Domain("must be one token id, an integer from 0", read)


def token_ids(min_items: int, max_items: int) -> Domain:
    """A list of token ids; a single id stands for a list of one. Read as a tuple."""
    one = token_id()

    def read(value: object) -> tuple[int, ...]:
        if isinstance(value, int | float):
            return (one.read(value),)
        return _items(value, one.read, min_items, max_items)

    return Domain(f"must be a list of {min_items} to {max_items} token ids, integers from 0", read)


def token_runs(max_items: int, max_tokens: int) -> Domain:
    """A list of lists of token ids, none of them empty. Read as tuples."""
    one = token_id()

    def run(value: object) -> tuple[int, ...]:
        return _items(value, one.read, 1, max_tokens)

    def read(value: object) -> tuple[tuple[int, ...], ...]:
        return _items(value, run, 0, max_items)

    rule = (
        f"must be a list of at most {max_items} lists of 1 to {max_tokens} token ids, "
        "integers from 0"
    )
    return Domain(rule, read)


def _whole(value: object) -> int:
    """JSON has one number type, so 50.0 is 50; true is not 1."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Misfit
    return value


def _items(
    value: object, read: Callable[[object], _T], min_items: int, max_items: int
) -> tuple[_T, ...]:
    if not isinstance(value, list | tuple) or not min_items <= len(value) <= max_items:
        raise Misfit
    return tuple(read(item) for item in value)
