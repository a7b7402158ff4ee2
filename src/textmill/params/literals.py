"""Reading a dict that someone wrote as JSON or as Python (`str(a_dict)`), without running it.

JSON is tried first, then a Python literal. A lexer looks at the text before either parser does:
it admits only the tokens that such a dict can hold and bounds their nesting, so nothing but
plain data ever reaches a parser and its own limits are never met.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from textmill.words import written

MAX_CHARS = 10_240
"""SageMaker's limit for one value of a job's environment."""

MAX_DEPTH = 8


class Unreadable(Exception):
    """The text is not such a dict. The message says why, and quotes the place."""


_ESCAPE = r"""\\(?:[\\'"/abfnrtv]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U00[01][0-9a-fA-F]{5})"""
_TOKEN = re.compile(
    rf"""(?P<space>\s+)
    | (?P<open>[{{\[(]) | (?P<close>[}}\])]) | (?P<mark>[,:])
    | (?P<string>'(?:[^'\\\n]|{_ESCAPE})*' | "(?:[^"\\\n]|{_ESCAPE})*")
    | (?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
    | (?P<word>[^\W\d]\w*)
    """,
    re.VERBOSE | re.ASCII,
)
_JSON_ONLY_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\/")
_WORDS = {"true", "false", "null", "NaN", "Infinity", "True", "False", "None"}


def read_dict(text: str) -> dict[str, Any]:
    """The dict that `text` holds. Raises `Unreadable`."""
    if len(text) > MAX_CHARS:
        raise Unreadable(f"is {len(text)} characters long, at most {MAX_CHARS} are read")
    _check_tokens(text)
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except ValueError as error:
        value = _read_python(text, error)
    if not isinstance(value, dict):
        raise Unreadable("must be a dict of parameters")
    for key in value:
        if not isinstance(key, str):
            raise Unreadable(f"has the key {written(key)}; keys must be strings")
    return value


def _check_tokens(text: str) -> None:
    depth, place, last = 0, 0, ""
    while place < len(text):
        token = _TOKEN.match(text, place)
        kind = token.lastgroup if token else None
        if token is None or kind is None:
            what = "a string that does not end or has a wrong escape"
            found = what if text[place] in "'\"" else f"unexpected {written(text[place])}"
            raise Unreadable(f"{found}{_at(text, place)}")
        if kind == "word" and token.group() not in _WORDS:
            raise Unreadable(f"unexpected {written(token.group()[:40])}{_at(text, place)}")
        if kind == last == "number":
            raise Unreadable(f"two numbers in a row{_at(text, place)}")
        depth += (kind == "open") - (kind == "close")
        if depth > MAX_DEPTH:
            raise Unreadable(f"is nested more than {MAX_DEPTH} deep{_at(text, place)}")
        if kind != "space":
            last = kind
        place = token.end()


def _read_python(text: str, json_error: ValueError) -> Any:
    """A Python literal; when that fails too, the error of the language the text looks like."""
    if slash := _JSON_ONLY_ESCAPE.search(text):
        raise Unreadable(f"a JSON escape in a Python text{_at(text, slash.end() - 1)}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
        _check_unique_keys(tree)
        return ast.literal_eval(tree)
    except SyntaxError as error:
        if isinstance(json_error, json.JSONDecodeError) and "'" not in text:
            raise Unreadable(f"{json_error.msg}{_at(text, json_error.pos)}") from None
        lead = len(text) - len(text.lstrip())
        raise Unreadable(f"{error.msg}{_at(text, lead + _offset(text.strip(), error))}") from None
    except (ValueError, TypeError, MemoryError, RecursionError) as error:
        raise Unreadable(f"is neither JSON nor a Python dict of plain values: {error}") from None


def _offset(text: str, error: SyntaxError) -> int:
    lines = text.splitlines(keepends=True)[: (error.lineno or 1) - 1]
    return sum(map(len, lines)) + max((error.offset or 1) - 1, 0)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Unreadable(f"has the key {written(key)} twice")
        found[key] = value
    return found


def _check_unique_keys(tree: ast.Expression) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            _unique([(key, None) for key in keys if isinstance(key, str)])


def _at(text: str, place: int) -> str:
    """Where it went wrong: the character's number and what stands around it."""
    start, end = max(place - 20, 0), place + 20
    around = ("…" if start else "") + text[start:end] + ("…" if end < len(text) else "")
    shown = around if around and around.isprintable() else written(around)
    return f" at character {place + 1}: {shown}"
