"""Files that are read as a format that they surely are not, told by their first bytes."""

from __future__ import annotations

import re

from textmill.errors import InputError
from textmill.records.delimited import other_mark
from textmill.records.formats import BOM, DELIMITED, Format, is_request
from textmill.records.kinds import PARQUET_MARKS
from textmill.records.shape import TEXT_FIELD
from textmill.records.strict import parse_object
from textmill.records.unfit import Unfit, quoted

AS_LINES = "make a line of each item: jq -c '.[]'"
AS_LINE = "make a line of each object: jq -c ."

_KEY = re.compile(rb'\{[ \t\r]*"[^"]*"[ \t\r]*:')
_ARRAY = re.compile(rb"\[\s*\{")
_NAMES = {"csv": "CSV", "tsv": "TSV", "lines": "plain lines"}
_READ_AS = "read it as such (--input-format {})"


def check_content(name: str, format_: Format, head: bytes, *, said: bool) -> None:
    """Raise `InputError` for a file that is of another format than the one it would be read as.

    head: its first bytes, decompressed. said: whether the user named the format; a text per line
    may be anything then. What looks damaged only is let through: its rows tell.
    """
    other = _other_format(format_, head, said=said)
    if other is not None:
        what, hint = other
        raise InputError(f"{name} is {what}", hint=hint)


def _other_format(format_: Format, head: bytes, *, said: bool) -> tuple[str, str] | None:
    """What it is instead, and what to do."""
    if (format_ == "parquet") != head.startswith(PARQUET_MARKS):
        return _about_parquet(format_, head)
    text = head.removeprefix(BOM).lstrip()
    if format_ == "openai":
        return _no_requests(text) if said else None
    if format_ in DELIMITED or (format_ == "lines" and not said):
        found = _json(text) or (_table(text) if format_ == "lines" else None)
        return None if found is None else (f"{found[0]}, not {_NAMES[format_]}", found[1])
    return None


def _about_parquet(format_: Format, head: bytes) -> tuple[str, str] | None:
    if format_ != "parquet":
        return "a Parquet file", _READ_AS.format("parquet")
    if not head:
        return "empty: not even a Parquet file of no rows", "write it again"
    begins = quoted(head.partition(b"\n")[0][:40].decode(errors="replace"))
    hint = "say what it is (--input-format), or write it again"
    return f"no Parquet file: it begins with {begins}", hint


def _json(text: bytes) -> tuple[str, str] | None:
    line, ended, _ = text.partition(b"\n")
    if _ARRAY.match(text):
        return "one JSON array", AS_LINES
    if line.rstrip() == b"{":
        return "JSON over several lines", AS_LINE
    if is_request(text):
        return "a file of OpenAI's batch requests", _READ_AS.format("openai")
    if _is_object(line) if ended else _KEY.match(line):
        return "JSON Lines", _READ_AS.format("jsonl")
    return None


def _table(text: bytes) -> tuple[str, str] | None:
    """A header in the place of the first text: nobody writes that but for a table."""
    line = text.partition(b"\n")[0].decode(errors="replace").rstrip()
    mark = other_mark(line, {TEXT_FIELD})
    if mark is None:
        return None
    return f"a table whose header is {quoted(line)}", f"{mark[1]}; or --input-format lines"


def _no_requests(text: bytes) -> tuple[str, str] | None:
    """None of the first lines need be a good one, but one has to be a request."""
    lines = text.splitlines()
    if not lines or any(is_request(line + b"\n") for line in lines[:-1]) or is_request(lines[-1]):
        return None
    return (
        "no file of OpenAI's batch requests: no line has a custom_id and a body",
        "leave --input-format out",
    )


def _is_object(line: bytes) -> bool:
    try:
        parse_object(line)
    except Unfit:
        return False
    return True
