"""What a caller from Python passed, held against the declared types."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from textmill.errors import UsageError
from textmill.words import kind_of, written


def check_types(request: Struct) -> None:
    """Raise `UsageError` for a field whose value is not of its declared type.

    Items of containers and arguments of functions are not looked at.
    """
    for field in msgspec.structs.fields(type(request)):
        value, kinds = getattr(request, field.name), _classes(field.type)
        if not isinstance(value, kinds):
            named = " or ".join(kind.__name__ for kind in kinds if kind is not type(None))
            wanted = f"{named}, or nothing," if type(None) in kinds else named
            raise UsageError(
                f"{field.name}={written(value, 60)} is {kind_of(value)} where {wanted} is needed"
            )


def _classes(declared: Any) -> tuple[type, ...]:
    """The classes that a declared type is made of; a whole number is a float as well."""
    if declared is Any:
        return (object,)
    if isinstance(declared, types.UnionType) or typing.get_origin(declared) is typing.Union:
        return tuple(kind for one in typing.get_args(declared) for kind in _classes(one))
    kind = typing.get_origin(declared) or declared
    return (float, int) if kind is float else (kind,)


def merged(parameters: Mapping[str, Any] | None, more: Mapping[str, Any]) -> dict[str, Any]:
    """Generation parameters that were given in two ways; `more` beats. Raises `UsageError`."""
    if not isinstance(parameters, Mapping | None):
        raise UsageError(
            f"parameters={written(parameters, 60)}: a dict of names and values is needed"
        )
    return {**(parameters or {}), **more}
