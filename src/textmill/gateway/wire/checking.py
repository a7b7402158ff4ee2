"""What a client sent against the shape it must have: types, bounds, patterns, required members.

Clients check little of this themselves (no enum, no pattern, no greatest length), so it is here
that a wrong request is found. All complaints come at once, in SageMaker's own words.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from textmill.gateway.wire.faults import AwsError, invalid, unreadable
from textmill.gateway.wire.models import Shape, pattern
from textmill.words import written

OPEN_ENUMS = frozenset({"TransformInstanceType", "ProductionVariantInstanceType"})
"""Enumerations that grow with every release: any `ml.` name is taken, as nothing depends on it."""

_INSTANCE = pattern(r"ml\.[a-z0-9-]{1,30}\.[a-z0-9-]{1,30}|local|local_gpu")
_MAX_SHOWN = 10
_INTEGERS = {"integer": 31, "long": 63}


def checked(shape: Shape | None, sent: Any) -> dict[str, Any]:
    """The members of a request as Python values.

    Integers, floats, texts, bytes of blobs, `datetime`s with a time zone, lists and dicts. Members
    that were sent as null are left out. Raises `AwsError`: `SerializationException` for a value of
    the wrong type, `ValidationException` that lists everything else.
    """
    if not isinstance(sent, Mapping):
        raise unreadable("the request must be an object")
    if shape is None:
        if sent:
            raise invalid(f"Unknown parameter: {next(iter(sent))}")
        return {}
    check = _Check()
    found: dict[str, Any] = check.structure(shape, sent, "")
    if check.complaints:
        raise _refusal(check.complaints)
    return found


def _refusal(complaints: list[str]) -> AwsError:
    count, shown = len(complaints), complaints[:_MAX_SHOWN]
    noun = "error" if count == 1 else "errors"
    return invalid(f"{count} validation {noun} detected: {'; '.join(shown)}")


class _Check:
    """One request's check. Each method returns the value, and notes what is wrong with it."""

    def __init__(self) -> None:
        self.complaints: list[str] = []

    def value(self, shape: Shape, sent: Any, where: str) -> Any:
        kind: Callable[[Shape, Any, str], Any] = getattr(self, f"{shape.type_name}_")
        return kind(shape, sent, where)

    def structure(self, shape: Shape, sent: Any, where: str) -> dict[str, Any]:
        if not isinstance(sent, Mapping):
            raise _wrong_type(where, sent, "a structure")
        found = {}
        for name, value in sent.items():
            member = shape.members.get(name)
            if member is None:
                self.complaints.append(f"Unknown parameter at '{_join(where, name)}'")
            elif value is not None:
                found[name] = self.value(member, value, _join(where, name))
        for name in shape.required_members:
            if name not in found:
                self._wrong(None, _join(where, name), "Member must not be null")
        if getattr(shape, "is_tagged_union", False) and len(found) != 1:
            self._wrong(None, where, "Exactly one member must be set")
        return found

    structure_ = structure

    def list_(self, shape: Shape, sent: Any, where: str) -> list[Any]:
        if not isinstance(sent, list):
            raise _wrong_type(where, sent, "a list")
        self._bounds(shape, len(sent), where, "length")
        pairs = enumerate(sent, 1)
        return [self.value(shape.member, one, f"{where}.{n}.member") for n, one in pairs]

    def map_(self, shape: Shape, sent: Any, where: str) -> dict[str, Any]:
        if not isinstance(sent, Mapping):
            raise _wrong_type(where, sent, "a map")
        self._bounds(shape, len(sent), where, "length")
        return {
            self.value(shape.key, key, f"{where}.key"): self.value(
                shape.value, value, f"{where}.{key}.value"
            )
            for key, value in sent.items()
        }

    def string_(self, shape: Shape, sent: Any, where: str) -> str:
        if not isinstance(sent, str):
            raise _wrong_type(where, sent, "a string")
        limits, enum = shape.metadata, shape.metadata.get("enum")
        if shape.name in OPEN_ENUMS:
            if not _INSTANCE.fullmatch(sent):
                self._wrong(sent, where, "Member must be an instance type such as ml.m5.xlarge")
        elif enum and sent not in enum:
            self._wrong(sent, where, f"Member must satisfy enum value set: [{', '.join(enum)}]")
        fits = self._bounds(shape, len(sent), where, "length", shown=sent)
        # Only texts of an allowed length come to a pattern: their cost is bounded.
        if fits and "pattern" in limits and not pattern(limits["pattern"]).fullmatch(sent):
            rule = f"Member must satisfy regular expression pattern: {limits['pattern']}"
            self._wrong(sent, where, rule)
        return sent

    def integer_(self, shape: Shape, sent: Any, where: str) -> int:
        if isinstance(sent, bool) or not isinstance(sent, int):
            raise _wrong_type(where, sent, "an integer")
        if abs(sent) >= 1 << _INTEGERS[shape.type_name]:
            raise _wrong_type(where, sent, f"of type {shape.type_name}")
        self._bounds(shape, sent, where, "value")
        return sent

    long_ = integer_

    def float_(self, shape: Shape, sent: Any, where: str) -> float:
        if isinstance(sent, bool) or not isinstance(sent, int | float):
            raise _wrong_type(where, sent, "a number")
        try:
            number = float(sent)
        except OverflowError:
            raise _wrong_type(where, sent, "finite") from None
        self._bounds(shape, number, where, "value")
        return number

    double_ = float_

    def boolean_(self, shape: Shape, sent: Any, where: str) -> bool:  # noqa: ARG002  as all checkers
        if not isinstance(sent, bool):
            raise _wrong_type(where, sent, "true or false")
        return sent

    def timestamp_(self, shape: Shape, sent: Any, where: str) -> datetime:  # noqa: ARG002  as all checkers
        if isinstance(sent, bool):
            raise _wrong_type(where, sent, "a time")
        try:
            if isinstance(sent, str):
                found = datetime.fromisoformat(sent)
                return found if found.tzinfo else found.replace(tzinfo=UTC)
            return datetime.fromtimestamp(sent, UTC)
        except (ValueError, TypeError, OverflowError, OSError):
            raise _wrong_type(where, sent, "a time") from None

    def blob_(self, shape: Shape, sent: Any, where: str) -> bytes:
        if isinstance(sent, bytes):
            data = sent
        else:
            try:
                data = base64.b64decode(sent, validate=True)
            except (binascii.Error, TypeError, ValueError):
                raise _wrong_type(where, sent, "base64") from None
        self._bounds(shape, len(data), where, "length")
        return data

    def _bounds(
        self, shape: Shape, number: float, where: str, what: str, *, shown: Any = None
    ) -> bool:
        least, most = shape.metadata.get("min"), shape.metadata.get("max")
        shown = number if shown is None else shown
        if least is not None and number < least:
            self._wrong(shown, where, f"Member must have {what} greater than or equal to {least}")
        elif most is not None and number > most:
            self._wrong(shown, where, f"Member must have {what} less than or equal to {most}")
        else:
            return True
        return False

    def _wrong(self, value: Any, where: str, rule: str) -> None:
        text = "null" if value is None else f"'{str(value)[:100]}'"
        self.complaints.append(f"Value {text} at '{where}' failed to satisfy constraint: {rule}")


def _join(where: str, name: str) -> str:
    """SageMaker names members with a small first letter: `transformInput.dataSource`."""
    name = str(name)[:100]
    small = name[:1].lower() + name[1:]
    return f"{where}.{small}" if where else small


def _wrong_type(where: str, sent: Any, wanted: str) -> AwsError:
    try:
        shown = str(sent)[:100]
    except ValueError:  # Python writes no number of thousands of digits
        shown = "of many digits"
    return unreadable(f"Value {written(shown)} at '{where}' is not {wanted}")
