"""One line of bytes to one JSON object, strictly.

The line must be one object of RFC 8259 in valid UTF-8: no NaN, no lone surrogate, no key twice,
nothing after it, nesting of at most `MAX_NESTING` levels. Values stay as they were written, so
whatever is copied to the output comes back byte for byte.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import msgspec
from msgspec import Raw

from textmill.core import JsonText
from textmill.errors import ErrorCode
from textmill.records.unfit import Unfit, not_utf8

MAX_NESTING = 100
"""Levels of arrays and objects, the line's own included. A fixed number, because the decoder's own
limit depends on how deep the caller's stack happens to be."""

Fields = Mapping[str, Raw] | Mapping[str, JsonText]
"""A record's columns: decoded names, values as JSON text."""

Decoded = TypeVar("Decoded")

_WHITE = b" \t\r"
_LONG_BYTES = 65536
_VALUE_STARTS = frozenset(bytes([byte]) for byte in b'["-0123456789tfn')
_decode_value = msgspec.json.Decoder(Raw).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
decode_string = msgspec.json.Decoder(str).decode

_pairs = re.compile(rb'"[ \t\r]*+:').findall
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}:]', re.DOTALL)
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair: one character
    rb"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"  # half a pair
    rb"|\\.",
    re.DOTALL,
)
_MAY_BE_HUGE = re.compile(rb"[eE]\+?[0-9]{3}|[0-9]{200}").search  # with two digits, e99 at most
_NUMBER_OR_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|(-?[0-9][0-9.eE+-]*+)', re.DOTALL)
_KINDS = {"str": "string", "int": "number", "float": "number", "bool": "boolean"}
_POSITION = re.compile(r"JSON is malformed: (.*) \(byte (\d+)\)")
_NOT_JSON = re.compile(rb"NaN|-?Infinity|None|True|False|undefined")


def is_blank(line: bytes) -> bool:
    """Whether a line holds white space only."""
    return line[:1] in _WHITE and not line.strip(_WHITE)


def parse_object(line: bytes) -> dict[str, Raw]:
    """The line's columns. Raises `Unfit` (bad_json) when it is not one strict JSON object.

    A key that appears twice is not noticed here: see `repeated_key`.
    """
    return _strictly(_decode_fields, line)


def parse_row(line: bytes) -> dict[str, Raw]:
    """The columns of a line that may be any JSON value: none where it is not an object.

    Raises `Unfit` (bad_json) when it is not strict JSON.
    """
    if line.lstrip(_WHITE)[:1] not in _VALUE_STARTS:
        return parse_object(line)
    _strictly(_decode_value, line)
    return {}


def _strictly(decode: Callable[[bytes], Decoded], line: bytes) -> Decoded:
    try:
        if not line.isascii():
            line.decode()
        if len(line) > MAX_NESTING:
            _check_nesting(line)
        return decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unfit(ErrorCode.BAD_JSON, _explain(line, error)) from error


def huge_number(value: bytes) -> str | None:
    """The first number of a JSON value that is infinite as a float64, or None.

    RFC 8259 allows such numbers, and hardly a reader takes them; some make them infinite.
    """
    if value[:1] == b'"' or not _MAY_BE_HUGE(value):
        return None
    for match in _NUMBER_OR_STRING.finditer(value):
        if match[1] and math.isinf(float(match[1])):
            return match[1].decode()
    return None


def repeated_key(line: bytes, fields: Fields) -> str | None:
    """The first key that `line` has twice at its top level, or None.

    Objects inside columns are not looked into: their values are copied, not interpreted.
    `fields` is what `parse_object` made of `line`.
    """
    if not may_repeat_keys(line, fields):
        return None
    seen: set[str] = set()
    for key in _keys(line):
        if key in seen:
            return key
        seen.add(key)
    return None


def may_repeat_keys(line: bytes, fields: Fields) -> bool:
    """A cheap test without false negatives: False means that no key is repeated.

    Each member of an object has a quote and then a colon between its key and its value. So a line
    has at least one such pair for every member, and besides them those within the values. With a
    repeated key there are more pairs than the distinct keys and their values account for.
    """
    unaccounted = _count_pairs(line) - len(fields)
    if unaccounted:
        unaccounted -= sum(_count_pairs(bytes(value)) for value in fields.values())
    return unaccounted != 0


def _count_pairs(text: bytes) -> int:
    """How many quotes are followed by a colon, with white space between them or not."""
    if len(text) > _LONG_BYTES:  # slower, but makes no list of what it finds
        return text.translate(None, _WHITE).count(b'":')
    return len(_pairs(text))


def _keys(line: bytes) -> Iterator[str]:
    """The keys of the top level, in order, decoded. `line` is known to be valid."""
    depth, text = 0, b""
    for match in _TOKEN.finditer(line):
        token = match[0]
        if token == b":":
            if depth == 1:
                yield decode_string(text)
        elif token in b"{[":
            depth += 1
        elif token in b"}]":
            depth -= 1
        else:
            text = token


def _check_nesting(line: bytes) -> None:
    """Raise what the decoder raises, but always at the same depth."""
    if is_deeper(line, MAX_NESTING):
        raise RecursionError


def is_deeper(text: bytes, levels: int) -> bool:
    """Whether JSON, valid or not, has arrays and objects in more than so many levels."""
    if text.count(b"[") + text.count(b"{") <= levels:
        return False
    depth = 0
    for match in _TOKEN.finditer(text):
        if match[0] in b"{[":
            depth += 1
            if depth > levels:
                return True
        elif match[0] in b"}]":
            depth -= 1
    return False


def _explain(line: bytes, error: Exception) -> str:
    """Why the line was refused, with the position as a 1-based byte of the line."""
    if isinstance(error, UnicodeDecodeError):
        return not_utf8(line, error.start, "line")
    if isinstance(error, RecursionError):
        return f"nested deeper than {MAX_NESTING} levels"
    if line.strip(_WHITE) in {b"[", b"{"}:
        return "not JSON Lines: each line must hold one whole JSON object (try jq -c)"
    if isinstance(error, msgspec.ValidationError):
        kind = str(error).rpartition("got ")[2].strip("`")
        return f"the line is a JSON {_KINDS.get(kind, kind)}, not an object"
    for match in _ESCAPE.finditer(line):
        if match[1]:
            return f"{match[1].decode()} at byte {match.start() + 1} is half a surrogate pair"
    return _explain_syntax(line, str(error))


def _explain_syntax(line: bytes, message: str) -> str:
    if line.strip(_WHITE).startswith(b"{'"):
        return "not JSON: single quotes, as Python prints a dict; write it with json.dumps"
    found = _POSITION.fullmatch(message)
    if found is None:
        return f"not JSON: the line ends in the middle, after byte {len(line)}"
    what, at = found[1], int(found[2])
    if what == "trailing characters":
        what, at = "something follows the object", at - 1  # msgspec counts this one from 1
    start = at - (line[at - 1 : at] == b"-")
    if word := _NOT_JSON.match(line, start):
        what = f"{word[0].decode()} is not a JSON value"
    return f"not JSON: {what} at byte {at + 1}"
