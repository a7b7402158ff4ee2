"""Results to JSON Lines: strict JSON in UTF-8, one line per record whatever its text holds.

Result line: `{"id": …, <kept columns, in the order asked for>, "generated_texts": […]}`.
A job that joins writes the row as it was read, with `{"generated_texts": […]}` in it; an output
filter writes whatever JSON it selects.
Error line: `{"id": …, "file": …, "line": …, "code": …, "message": …}`; `file` only where a job has
several, and `id` is null where it could not be read.

A result line gets `"finish_reasons"`, `"input_tokens"` and `"output_tokens"` at its end when the
output format tells about them (`records.formats.needs_details`).

The id and the kept columns are the bytes that the input had.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from textmill.core import FinishReason, JsonText, Record, Rejected
from textmill.records.filters import filter_output, join
from textmill.records.jsonpath import Path

_encode = msgspec.json.Encoder().encode

_LINE_ENDS = (
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
    (b"\xc2\x85", b"\\u0085"),
)
"""Characters beyond ASCII that some readers, Python's `splitlines` among them, end a line at."""


class Details(Struct, frozen=True):
    """What some output formats tell about a record besides its texts.

    finish_reasons: why each text ended. input_tokens, output_tokens: of all its texts together.
    """

    finish_reasons: tuple[FinishReason, ...]
    input_tokens: int
    output_tokens: int

    def members(self) -> bytes:
        """As further members of a JSON object."""
        reasons = b", ".join([b'"%b"' % reason.encode() for reason in self.finish_reasons])
        return b', "finish_reasons": [%b], "input_tokens": %d, "output_tokens": %d' % (
            reasons,
            self.input_tokens,
            self.output_tokens,
        )


def result_line(
    record: Record,
    texts: Sequence[str],
    *,
    details: Details | None = None,
    output_filter: Path | None = None,
) -> bytes:
    """The line of a record that has its texts, in the order they are given.

    Raises `Unfit` where the result does not have what the output filter asks for.
    """
    generated = b", ".join([json_string(text) for text in texts])
    more = details.members() if details else b""
    if record.source is not None:
        line = join(record.source, b'{"generated_texts": [%b]%b}' % (generated, more))
    elif record.kept:
        kept = b"".join([b"%b: %b, " % column for column in record.kept])
        line = b'{"id": %b, %b"generated_texts": [%b]%b}' % (record.id, kept, generated, more)
    else:
        line = b'{"id": %b, "generated_texts": [%b]%b}' % (record.id, generated, more)
    return (line if output_filter is None else filter_output(output_filter, line)) + b"\n"


def error_line(rejected: Rejected, *, with_file: bool = False, attempts: int = 0) -> bytes:
    """The line of a record that has no result.

    with_file: name the input it came from. attempts: how often the engine tried it alone; 0 for a
    record that never came to it.
    """
    file = b'"file": %b, ' % json_string(rejected.file) if with_file else b""
    return b'{"id": %b, %b"line": %d, "code": "%b", "message": %b, "attempts": %d}\n' % (
        rejected.id or b"null",
        file,
        rejected.line,
        rejected.code.encode(),
        json_string(rejected.message),
        attempts,
    )


def json_string(text: str) -> JsonText:
    """`text` as a JSON string on one line.

    Half a surrogate pair, which is no character and cannot be written in UTF-8, becomes U+FFFD.
    """
    if text.isascii():
        return _encode(text)
    try:
        encoded = _encode(text)
    except UnicodeEncodeError:
        encoded = _encode(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    for character, escape in _LINE_ENDS:
        if character in encoded:
            encoded = encoded.replace(character, escape)
    return encoded
