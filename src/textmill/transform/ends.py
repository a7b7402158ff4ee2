"""The two ends of a batch job's loop: rows in, rows out."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from textmill.core import (
    Batch,
    Completion,
    Failure,
    FinishReason,
    Outcome,
    Record,
    Rejected,
    Request,
    Usage,
)
from textmill.core import Sequence as Generated
from textmill.engines.base import Tokenizer
from textmill.errors import ErrorCode, InputError
from textmill.records.results import error_line, result_line
from textmill.transform.duplicates import Copier, Copy, Duplicates
from textmill.transform.job import JobFolder
from textmill.transform.ledger import Ledger
from textmill.transform.parts import Part, Row
from textmill.transform.windows import Preparer, Rows, Window, reject

_READ_AHEAD_WINDOWS = 2


class _Ready(Struct):
    """A window with what an earlier run left of it. `window` is None when nothing is to be done.

    copies: of each record that repeats an earlier one, the ordinal of that.
    """

    part: Part
    end: int
    window: Window | None
    copies: Mapping[int, int]


class JobSource:
    """Windows of requests, read and tokenized ahead of the engine by a thread of their own."""

    def __init__(
        self,
        windows: Iterable[Rows],
        preparer: Preparer,
        ledger: Ledger,
        folder: JobFolder,
        *,
        with_file: bool,
    ) -> None:
        """`with_file`: error lines name the input file."""
        self._with_file = with_file
        self._windows, self._preparer = windows, preparer
        self._ledger, self._folder = ledger, folder
        self._duplicates = Duplicates()
        self.copier = Copier(self._duplicates.remembered)
        self._queue: queue.Queue[_Ready | BaseException | None] = queue.Queue(_READ_AHEAD_WINDOWS)
        self._stop = threading.Event()
        self.rows_read = 0
        """Rows read so far; all of them once `take` has returned None."""
        self._thread = threading.Thread(target=self._read_ahead, name="textmill-read", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading and wait for the thread."""
        self._stop.set()
        while self._thread.is_alive():
            _drain(self._queue)
            self._thread.join(0.01)

    def take(self, *, wait: bool) -> Sequence[Request] | None:
        """The next window that holds work; its rejected rows are entered on the way."""
        while True:
            try:
                ready = self._queue.get(block=wait)
            except queue.Empty:
                return ()
            if ready is None:
                self._queue.put(None)
                return None
            if isinstance(ready, BaseException):
                raise ready
            if requests := self._begin(ready):
                return requests

    def wanted(self, batch: Batch) -> Batch | None:
        """The batch whole if any of its records is not done, so that it computes as planned."""
        done = all(self._ledger.is_done(request.ordinal) for request in batch.requests)
        return None if done else batch

    def _begin(self, ready: _Ready) -> Sequence[Request]:
        window, part = ready.window, ready.part
        self.copier.originals(part.rows)
        if window is None:
            self._ledger.skip(part)
            return ()
        rejected = (rejected_row(row, with_file=self._with_file) for row in window.rejected)
        self._ledger.open(window, part, ready.end, rejected)
        if ready.copies:
            self._begin_copies(window, ready)
        return [request for request in window.requests if request.ordinal not in ready.copies]

    def _begin_copies(self, window: Window, ready: _Ready) -> None:
        done = {row.n: row for row in ready.part.rows}
        copies = [
            Copy(window.records[ordinal], ordinal in window.truncated)
            for ordinal in ready.copies
            if ordinal not in done
        ]
        pairs = self.copier.copies(copies, ready.copies, done)
        self._ledger.enter([copied_row(*pair, with_file=self._with_file) for pair in pairs])

    def _read_ahead(self) -> None:
        try:
            for number, rows in enumerate(self._windows):
                if self._stop.is_set():
                    return
                self.rows_read += len(rows)
                self._queue.put(self._ready(number, rows))
            self._queue.put(None)
        except BaseException as error:  # noqa: BLE001 - handed to the loop's thread, which raises it
            self._queue.put(error)

    def _ready(self, number: int, rows: Rows) -> _Ready:
        part, end = self._folder.read_part(number)
        if not _fits(part, rows):
            raise InputError(
                f"{self._folder.label}.job is damaged: the part of window {number} holds other"
                f" rows than {rows[0].ordinal} to {rows[-1].ordinal}",
                hint="the file was changed after it was written; start over with --fresh",
            )
        if part.complete:
            admitted = _admitted(part, rows)
            self._duplicates.find((r, self._preparer.params_of(r)) for r in admitted)
            return _Ready(part, end, None, {})
        window = self._preparer.prepare(number, rows)
        params = {request.ordinal: request.params for request in window.requests}
        copies = self._duplicates.find(
            (record, params[ordinal]) for ordinal, record in window.records.items()
        )
        return _Ready(part, end, window, copies)


def _admitted(part: Part, rows: Rows) -> Iterator[Record]:
    """The records of a complete window that became requests, in order."""
    invalid = {row.n for row in part.rows if row.is_invalid}
    return (r for r in rows if isinstance(r, Record) and r.ordinal not in invalid)


def _fits(part: Part, rows: Rows) -> bool:
    """Whether the part can be one of this window: some of its rows, or all if it is complete."""
    inside = all(rows[0].ordinal <= row.n <= rows[-1].ordinal for row in part.rows)
    whole = not part.complete or part.window_rows == len(rows) == len(part.rows)
    return inside and whole


def _drain(waiting: queue.Queue[_Ready | BaseException | None]) -> None:
    try:
        while True:
            waiting.get_nowait()
    except queue.Empty:
        return


class _Piece(Struct, frozen=True):
    """What became of one text of a record."""

    outcome: Outcome
    texts: tuple[str, ...]

    @property
    def sequences(self) -> tuple[Generated, ...]:
        """What was generated; nothing where the engine failed."""
        return self.outcome.sequences if isinstance(self.outcome, Completion) else ()

    @property
    def usage(self) -> Usage:
        """Tokens of a completion: counted here, unless the engine's are not the model's own."""
        if isinstance(self.outcome, Completion) and self.outcome.usage is not None:
            return self.outcome.usage
        output = sum(len(sequence.ids) for sequence in self.sequences)
        return Usage(len(self.outcome.request.ids), output)


class _Pieces(Struct):
    """A record with several texts, of which some are still to come."""

    pieces: list[_Piece | None]
    left: int


class JobSink:
    """Outcomes decoded, joined to their records, and entered in the ledger."""

    def __init__(
        self, tokenizer: Tokenizer, ledger: Ledger, copier: Copier, *, with_file: bool
    ) -> None:
        """`with_file`: error lines name the input file."""
        self._tokenizer, self._ledger, self._with_file = tokenizer, ledger, with_file
        self._copier = copier
        self._waiting: dict[int, _Pieces] = {}

    def give(self, outcomes: Sequence[Outcome]) -> None:
        """Enter every record whose last text is among these outcomes."""
        rows = []
        for outcome, texts in zip(outcomes, self._texts(outcomes), strict=True):
            record = self._ledger.record(outcome.request.ordinal)
            pieces = self._join(record, _Piece(outcome, texts))
            if pieces:
                rows.append(self._row(record, pieces))
        pairs = self._copier.originals(rows)
        rows += [copied_row(*pair, with_file=self._with_file) for pair in pairs]
        self._ledger.enter(rows)

    def _texts(self, outcomes: Sequence[Outcome]) -> Iterator[tuple[str, ...]]:
        """Generated texts of each outcome; one tokenizer call for all of them."""
        sequences = [
            [s.ids for s in outcome.sequences] if isinstance(outcome, Completion) else []
            for outcome in outcomes
        ]
        texts = iter(self._tokenizer.decode([ids for some in sequences for ids in some]))
        return (tuple(islice(texts, len(some))) for some in sequences)

    def _join(self, record: Record, piece: _Piece) -> Sequence[_Piece]:
        """All pieces of the record, in the order of its texts, once the last is here."""
        if len(record.texts) == 1:
            return (piece,)
        count = len(record.texts)
        waiting = self._waiting.get(record.ordinal)
        if waiting is None:
            waiting = self._waiting[record.ordinal] = _Pieces([None] * count, count)
        waiting.pieces[piece.outcome.request.index] = piece
        waiting.left -= 1
        if waiting.left:
            return ()
        del self._waiting[record.ordinal]
        return [piece for piece in waiting.pieces if piece is not None]

    def _row(self, record: Record, pieces: Sequence[_Piece]) -> Row:
        for piece in pieces:
            if isinstance(piece.outcome, Failure):
                return rejected_row(rejection(record, piece.outcome), with_file=self._with_file)
        return result_row(record, pieces, truncated=self._ledger.was_truncated(record.ordinal))


def result_row(record: Record, pieces: Sequence[_Piece], *, truncated: bool) -> Row:
    """A record's answers as a row of a part file. All of the pieces are completions."""
    inp = out = 0
    limit = False
    for piece in pieces:
        usage = piece.usage
        inp += usage.input_tokens
        out += usage.output_tokens
        limit = limit or any(s.finish is FinishReason.LENGTH for s in piece.sequences)
    texts = [text for piece in pieces for text in piece.texts]
    line = Raw(result_line(record, texts)[:-1])
    return Row(record.ordinal, ok=line, inp=inp, out=out, cut=truncated, limit=limit)


class _Made(Struct):
    """What the engine made of a row, read back from its output or error line."""

    generated_texts: list[str] = []
    message: str = ""


_decode_made = msgspec.json.Decoder(_Made).decode


def copied_row(copy: Copy, original: Row, *, with_file: bool) -> Row:
    """The row of a record that repeats another: the same texts, or the same failure."""
    record = copy.record
    if original.code:
        message = _decode_made(original.error).message
        rejected = reject(record, ErrorCode(original.code), message)
        return replace(rejected_row(rejected, with_file=with_file), copied=True)
    line = Raw(result_line(record, _decode_made(original.ok).generated_texts)[:-1])
    return replace(original, n=record.ordinal, ok=line, cut=copy.truncated, copied=True)


def rejection(record: Record, failure: Failure) -> Rejected:
    """A record that the engine could not answer; with several texts, says which one it was."""
    which = f"text {failure.request.index}: " if len(record.texts) > 1 else ""
    return reject(record, failure.code, which + failure.message)


def rejected_row(rejected: Rejected, *, with_file: bool) -> Row:
    """A row without a result, as its error line."""
    line = Raw(error_line(rejected, with_file=with_file)[:-1])
    return Row(rejected.ordinal, error=line, code=rejected.code)
