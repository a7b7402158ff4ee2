"""What becomes of a record as a row of a part: its output line, or its error line."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from textmill.core import Failure, FinishReason, Outcome, Record, Rejected
from textmill.engines.outcomes import usage_of
from textmill.errors import ErrorCode
from textmill.records.jsonpath import Path
from textmill.records.results import Details, error_line, result_line
from textmill.records.unfit import Unfit
from textmill.transform.duplicates import Copy
from textmill.transform.parts import Row
from textmill.transform.windows import reject


class Piece(Struct, frozen=True, gc=False):
    """What became of one text of a record."""

    outcome: Outcome
    texts: tuple[str, ...]


class _Made(Struct, gc=False):
    """What the engine made of a row, read back from its line."""

    generated_texts: list[str]
    finish_reasons: tuple[FinishReason, ...] = ()


def hides_texts(keep: Collection[str]) -> bool:
    """Whether columns that a job keeps stand where its result lines tell what the engine made."""
    return any(name in keep for name in _Made.__struct_fields__)


class _Error(Struct):
    message: str
    attempts: int


_decode_made = msgspec.json.Decoder(_Made).decode
_decode_error = msgspec.json.Decoder(_Error).decode
_encode = msgspec.json.Encoder().encode


class RowMaker(Struct, frozen=True, kw_only=True):
    """Makes rows as one job wants them.

    with_file: error lines name the input file.
    with_details: result lines tell what the output format needs besides the texts.
    output_filter: what of a result is written.
    opaque: output lines do not show the texts plainly, so rows hold them as well, for copies.
    """

    with_file: bool = False
    with_details: bool = False
    output_filter: Path | None = None
    opaque: bool = False

    def rejected(self, rejected: Rejected, *, attempts: int = 0) -> Row:
        """A row without a result. attempts: of the engine, which are what it has failed by."""
        line = error_line(rejected, with_file=self.with_file, attempts=attempts)
        row = Row(rejected.ordinal, error=Raw(line[:-1]), code=rejected.code)
        row.failed = attempts > 0
        return row

    def answered(self, record: Record, pieces: Sequence[Piece], *, truncated: bool) -> Row:
        """A record whose texts all have their outcome, in their order."""
        texts: list[str] = []
        reasons: list[FinishReason] = []
        row = Row(record.ordinal, cut=truncated)
        for piece in pieces:
            outcome = piece.outcome
            if isinstance(outcome, Failure):
                return self._failed(record, outcome)
            usage = usage_of(outcome)
            row.inp += usage.input_tokens
            row.out += usage.output_tokens
            texts += piece.texts
            reasons += [sequence.finish for sequence in outcome.sequences]
        row.limit = FinishReason.LENGTH in reasons
        return self._with_line(row, record, _Made(texts, tuple(reasons)))

    def copied(self, copy: Copy, original: Row) -> Row:
        """The row of a record that repeats another: the same texts, or the same failure."""
        record = copy.record
        if original.failed:
            error = _decode_error(original.error)
            failed = reject(record, ErrorCode(original.code), error.message)
            return replace(self.rejected(failed, attempts=error.attempts), copied=True)
        row = Row(
            record.ordinal,
            inp=original.inp,
            out=original.out,
            cut=copy.truncated,
            limit=original.limit,
        )
        made = _decode_made(original.made if bytes(original.made) else original.ok)
        return replace(self._with_line(row, record, made), copied=True)

    def _failed(self, record: Record, failure: Failure) -> Row:
        """A record that the engine could not answer; with several texts, says which one it was."""
        which = f"text {failure.request.index}: " if len(record.texts) > 1 else ""
        rejected = reject(record, failure.code, which + failure.message)
        return self.rejected(rejected, attempts=failure.attempts)

    def _with_line(self, row: Row, record: Record, made: _Made) -> Row:
        """The row with its output line, or with its error line if the filter finds nothing."""
        details = Details(made.finish_reasons, row.inp, row.out) if self.with_details else None
        if self.opaque:
            row.made = Raw(_encode(made))
        try:
            line = result_line(
                record, made.generated_texts, details=details, output_filter=self.output_filter
            )
        except Unfit as error:
            rejected = self.rejected(reject(record, error.code, error.message))
            return replace(rejected, made=row.made, inp=row.inp, out=row.out)
        row.ok = Raw(line[:-1])
        return row
