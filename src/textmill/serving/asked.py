"""What a client asked, whatever the dialect: rows in, results of rows out."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from msgspec import Struct

from textmill.core import Failure, JsonText, Record, Rejected, Request
from textmill.errors import ErrorCode
from textmill.serving.answers import Answer, Generated
from textmill.serving.refusals import Code, Refused, code_of

_log = logging.getLogger("textmill.serving")

RowResult = list[Generated] | Refused
"""What became of one row: of each of its texts, or why there is nothing."""


class Asked(Struct, frozen=True, kw_only=True):
    """A call that was read.

    rows: in the order of the body; a row's ordinal is its place.
    ids: what each row is called by its client, as JSON text; None where it has no name.
    """

    rows: list[Record | Rejected]
    ids: list[JsonText | None] = []


class Reply(Struct, frozen=True, kw_only=True):
    """An answer over HTTP. failed: rows in it that have a code instead of texts."""

    body: bytes
    content_type: str
    status: int = 200
    failed: int = 0


def row_results(
    rows: Sequence[Record | Rejected],
    rejected: Sequence[Rejected],
    requests: Sequence[Request],
    answers: Sequence[Answer],
) -> list[RowResult]:
    """Answers joined to their rows. A row of which one text has failed has failed.

    rejected: rows that were found unfit after they were read. requests, answers: in one order.
    """
    results: list[RowResult] = [[] for _ in rows]
    unread = [row for row in rows if isinstance(row, Rejected)]
    for unfit in (*unread, *rejected):
        results[unfit.ordinal] = Refused(code_of(unfit.code), unfit.message)
    for request, answer in zip(requests, answers, strict=True):
        result = results[request.ordinal]
        if isinstance(result, Refused):
            continue
        if isinstance(answer, Failure):
            row = rows[request.ordinal]
            several = isinstance(row, Record) and len(row.texts) > 1
            results[request.ordinal] = _failed(answer, request.index if several else None)
        else:
            result.append(answer)
    return results


def _failed(failure: Failure, text: int | None) -> Refused:
    """What a client is told. The engine's own words, which may name files, go to the log."""
    _log.warning("a text failed (%s): %s", failure.code, failure.message)
    which = "" if text is None else f"text {text}: "
    return Refused(code_of(failure.code), which + _SAID[failure.code])


_SAID = {
    ErrorCode.OOM: "there is not enough memory for this text",
    ErrorCode.ENGINE_ERROR: "the engine failed on this text",
    ErrorCode.TIMEOUT: "the engine did not finish this text in time",
    ErrorCode.CRASHED: "the engine's process died on this text",
    ErrorCode.TOO_LONG: "the text is longer than the model's input",
    ErrorCode.BAD_PARAMETER: "the engine cannot honour the parameters of this text",
    ErrorCode.BAD_RECORD: "the engine cannot use this text",
    ErrorCode.BAD_JSON: "the engine cannot read this text",
    ErrorCode.MISSING_FIELD: "the engine misses a part of this text",
    ErrorCode.DUPLICATE_ID: "the engine was given this text twice",
    ErrorCode.EMPTY: "there is no text",
}


def only(results: Sequence[RowResult]) -> list[Generated]:
    """The result of a call of one row. Raises `Refused`."""
    (result,) = results
    if isinstance(result, Refused):
        raise result
    return result


def whole(results: Sequence[RowResult]) -> list[Generated]:
    """The results of a call that fails as a whole. Raises the first `Refused`."""
    found: list[Generated] = []
    for place, result in enumerate(results):
        if isinstance(result, Refused):
            where = f"text {place}: " if len(results) > 1 else ""
            raise Refused(result.code, where + result.message)
        found += result
    return found


def unreadable(message: str, code: Code = Code.BAD_RECORD) -> Refused:
    """A body that cannot be read as what it is said to be."""
    return Refused(code, message)
