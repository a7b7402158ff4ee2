"""JSONPath, as much of it as SageMaker's DataProcessing takes, on JSON that stays as written.

    $   .name   .*  [*]   ['name']  ['a','b']   [0]  [-1]  [0,2]   [1:4]  [1:]  [:4]

`['a','b']` at the end of a path makes an object of those members. `*`, a range and several indices
make an array, and what follows them applies to each of its items; so it is with several names that
are not at the end. A range does not include its end. Whatever a path asks for must be there; only
a range may reach beyond the array.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from textmill.core import JsonText
from textmill.errors import ErrorCode, UsageError
from textmill.records.unfit import Unfit, listed, quoted
from textmill.words import written

_SUPPORTED = (
    "supported: $  .name  ['a','b']  *  [0]  [-1]  [0,2]  and one range [1:4], its end not included"
)
_MAX_DIGITS = 18
_PLAIN_NAME = re.compile(r"""[^\s.,:*?()\[\]'"\\]+""")
_NUMBER = re.compile(r"-?[0-9]+")
_SPACES = re.compile(r"\s*")
_WHITE = b" \t\r\n"

Item = TypeVar("Item")

_decode_object = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_array = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.Encoder().encode


class Names(Struct, frozen=True):
    """Members of an object. At least one, none twice."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        if len(self.names) == 1 and _PLAIN_NAME.fullmatch(self.names[0]):
            return f".{self.names[0]}"
        return f"[{','.join(map(_in_quotes, self.names))}]"


class Indices(Struct, frozen=True):
    """Items of an array, from 0; negative from the end, -1 the last. At least one."""

    indices: tuple[int, ...]

    def __str__(self) -> str:
        return f"[{','.join(map(str, self.indices))}]"


class Range(Struct, frozen=True):
    """The items of an array from `start` up to, not including, `end`; None is the array's own."""

    start: int | None
    end: int | None

    def __str__(self) -> str:
        start, end = ("" if side is None else side for side in (self.start, self.end))
        return f"[{start}:{end}]"


class Every(Struct, frozen=True):
    """All items of an array, or the values of all members of an object."""

    def __str__(self) -> str:
        return "[*]"


Step = Names | Indices | Range | Every


class Path(Struct, frozen=True):
    """A parsed path. `str` writes it in one way, whatever way it was written in."""

    steps: tuple[Step, ...] = ()

    def __str__(self) -> str:
        return "$" + "".join(map(str, self.steps))


def _in_quotes(name: str) -> str:
    return "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"


def select(path: Path, value: JsonText) -> JsonText:
    """What `path` selects from `value`, every part of it as it was written.

    value: valid JSON. Raises `Unfit`: missing_field for a name or an index that is not there,
    bad_record where the path needs an object or an array and finds something else.
    """
    found = [value.strip(_WHITE)]
    if not path.steps:
        return found[0]
    try:
        *before, last = path.steps
        for step in before:
            found = [child for parent in found for child in _children(step, parent)]
        if isinstance(last, Names) and len(last.names) > 1:
            found = [_members(last, parent) for parent in found]
        else:
            found = [child for parent in found for child in _children(last, parent)]
    except Unfit as error:
        raise Unfit(error.code, f"{path}: {error.message}") from None
    if all(map(_is_single, before)) and (_is_single(last) or isinstance(last, Names)):
        return found[0]
    return b"[%b]" % b", ".join(found)


def _is_single(step: Step) -> bool:
    """Whether the step leads from one value to one value."""
    match step:
        case Names(names):
            return len(names) == 1
        case Indices(indices):
            return len(indices) == 1
        case _:
            return False


def _children(step: Step, value: JsonText) -> list[JsonText]:
    match step:
        case Names(names):
            members = _object(step, value)
            return [_member(members, name) for name in names]
        case Indices(indices):
            items = _array(step, value)
            return [bytes(item_at(items, index)) for index in indices]
        case Range(start, end):
            return list(map(bytes, _array(step, value)[start:end]))
        case _:
            return _all_children(value)


def _all_children(value: JsonText) -> list[JsonText]:
    if value[:1] == b"{":
        return list(map(bytes, _decode_object(value).values()))
    if value[:1] == b"[":
        return list(map(bytes, _decode_array(value)))
    raise _other_kind("*", "an object or an array", value)


def _members(step: Names, value: JsonText) -> JsonText:
    members = _object(step, value)
    values = [_member(members, name) for name in step.names]
    pairs = zip(map(_encode, step.names), values, strict=True)
    return b"{%b}" % b", ".join([b"%b: %b" % pair for pair in pairs])


def _member(members: dict[str, Raw], name: str) -> JsonText:
    raw = members.get(name)
    if raw is None:
        message = f"there is no {quoted(name)}; the object has {listed(members)}"
        raise Unfit(ErrorCode.MISSING_FIELD, message)
    return bytes(raw)


def item_at(items: Sequence[Item], index: int) -> Item:
    """The item, counted from the end if `index` is negative. Raises `Unfit` if there is none."""
    if not -len(items) <= index < len(items):
        message = f"there is no item {index}; the array has {len(items)} items"
        raise Unfit(ErrorCode.MISSING_FIELD, message)
    return items[index]


def _object(step: Step, value: JsonText) -> dict[str, Raw]:
    if value[:1] != b"{":
        raise _other_kind(step, "an object", value)
    return _decode_object(value)


def _array(step: Step, value: JsonText) -> list[Raw]:
    if value[:1] != b"[":
        raise _other_kind(step, "an array", value)
    return _decode_array(value)


def _other_kind(step: object, needed: str, value: JsonText) -> Unfit:
    return Unfit(ErrorCode.BAD_RECORD, f"{step} needs {needed}, and this is {kind_of(value)}")


def kind_of(value: JsonText) -> str:
    """What a JSON value is, with its article, for a message."""
    kinds = {
        b"{": "an object",
        b"[": "an array",
        b'"': "a string",
        b"t": "a boolean",
        b"f": "a boolean",
        b"n": "null",
    }
    return kinds.get(value[:1], "a number")


def parse_path(text: str) -> Path:
    """Parse a path. Raises `UsageError` with the 1-based position of what is wrong."""
    return _Parser(text).path()


class _Parser:
    """Reads a path from left to right. `at` is the position of the next character."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def path(self) -> Path:
        if not self._take("$"):
            raise self._wrong("no $, with which every path begins,")
        steps = []
        while self._at < len(self._text):
            steps.append(self._step())
        return Path(tuple(steps))

    def _step(self) -> Step:
        if self._take("["):
            return self._bracket()
        if not self._take("."):
            raise self._wrong(f"{self._next()} where . or [ should be")
        if self._take("["):  # .['a'], as SageMaker's guide writes it
            return self._bracket()
        if self._take("*"):
            return Every()
        if self._sees("."):
            raise self._wrong("a search through all levels (..)")
        name = _PLAIN_NAME.match(self._text, self._at)
        if name is None:
            raise self._wrong(f"{self._next()} where a name should be")
        self._at = name.end()
        return Names((name[0],))

    def _bracket(self) -> Step:
        self._skip_spaces()
        step: Step
        if self._take("*"):
            step = Every()
        elif self._sees("'", '"'):
            step = self._names()
        elif self._sees("?", "("):
            raise self._wrong("a filter expression")
        else:
            step = self._numbers()
        self._skip_spaces()
        if not self._take("]"):
            raise self._wrong(f"{self._next()} where ] should be")
        return step

    def _names(self) -> Names:
        names = [self._quoted_name()]
        while self._takes_comma():
            start = self._at
            name = self._quoted_name()
            if name in names:
                self._at = start
                raise self._wrong("a name for the second time")
            names.append(name)
        return Names(tuple(names))

    def _quoted_name(self) -> str:
        start = self._at
        quote = self._next_of("'", '"')
        name = ""
        while not self._take(quote):
            if self._at >= len(self._text):
                self._at = start
                raise self._wrong("a quote without its end")
            if self._take("\\") and not self._sees("\\", "'", '"'):
                self._at -= 1
                raise self._wrong(r"a backslash that is not \\ or \' or " + r"\"")
            name += self._text[self._at]
            self._at += 1
        return name

    def _numbers(self) -> Indices | Range:
        first = None if self._sees(":") else self._number()
        self._skip_spaces()
        step = self._range(first) if first is None or self._sees(":") else self._indices(first)
        self._skip_spaces()
        if self._sees(",", ":"):
            raise self._wrong("more than one range, a range beside an index, or a range's step")
        return step

    def _range(self, start: int | None) -> Range:
        self._take(":")
        self._skip_spaces()
        return Range(start, None if self._sees("]", ",", ":") else self._number())

    def _indices(self, first: int) -> Indices:
        indices = [first]
        while self._takes_comma():
            indices.append(self._number())
        return Indices(tuple(indices))

    def _number(self) -> int:
        number = _NUMBER.match(self._text, self._at)
        if number is None:
            raise self._wrong(f"{self._next()} where a number or a quoted name should be")
        if len(number[0]) > _MAX_DIGITS:
            raise self._wrong(f"a number of more than {_MAX_DIGITS} digits")
        self._at = number.end()
        return int(number[0])

    def _takes_comma(self) -> bool:
        self._skip_spaces()
        if not self._take(","):
            return False
        self._skip_spaces()
        return True

    def _skip_spaces(self) -> None:
        self._at = _SPACES.match(self._text, self._at).end()  # type: ignore[union-attr]

    def _sees(self, *characters: str) -> bool:
        return self._text.startswith(characters, self._at)

    def _take(self, character: str) -> bool:
        """Step over the character if it comes next."""
        if not self._sees(character):
            return False
        self._at += 1
        return True

    def _next_of(self, *characters: str) -> str:
        if not self._sees(*characters):
            raise self._wrong(f"{self._next()} where a quoted name should be")
        self._at += 1
        return self._text[self._at - 1]

    def _next(self) -> str:
        """The next character for a message."""
        return self._text[self._at : self._at + 1] or "the end"

    def _wrong(self, what: str) -> UsageError:
        return UsageError(
            f"the path {written(self._text)} has {what} at character {self._at + 1}",
            hint=_SUPPORTED,
        )
