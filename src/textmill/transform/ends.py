"""The two ends of a batch job's loop: rows in, rows out."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from msgspec import Struct

from textmill.core import (
    Batch,
    Outcome,
    Record,
    Request,
)
from textmill.engines.base import Tokenizer
from textmill.engines.outcomes import generated_texts
from textmill.errors import InputError
from textmill.transform.duplicates import Copier, Copy, Duplicates
from textmill.transform.ledger import Ledger
from textmill.transform.parts import Part
from textmill.transform.rows import Piece, RowMaker
from textmill.transform.windows import Preparer, Rows, Window

_READ_AHEAD_WINDOWS = 2
_LOOK_SECONDS = 0.05
_LAST_READ_SECONDS = 0.5
"""How long the end of a run waits for what is just being read."""
_MAX_OPEN_WINDOWS = 16
"""A window stays open, with its records in memory, while one of its rows is missing."""


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
        maker: RowMaker,
    ) -> None:
        self._maker = maker
        self._windows, self._preparer = windows, preparer
        self._ledger, self._folder = ledger, ledger.folder
        self._duplicates = Duplicates()
        self.copier = Copier(self._duplicates.remembered, opaque=maker.opaque)
        self._queue: queue.Queue[_Ready | BaseException | None] = queue.Queue(_READ_AHEAD_WINDOWS)
        self._stop = threading.Event()
        self.rows_read = 0
        """Rows read so far; all of them once `take` has returned None."""
        self._thread = threading.Thread(target=self._read_ahead, name="textmill-read", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def close(self) -> None:
        """Stop reading and wait for the thread, but not for an input that does not answer: the
        thread only reads, and ends by itself."""
        self._stop.set()
        self._thread.join(_LAST_READ_SECONDS)

    def take(self, *, wait: bool) -> Sequence[Request] | None:
        """The next window that holds work; its rejected rows are entered on the way.

        None is had while too many are open: rows that are in the engine come first.
        """
        while wait or self._ledger.open_windows < _MAX_OPEN_WINDOWS:
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
        return ()

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
        rejected = (self._maker.rejected(row) for row in window.rejected)
        self._ledger.open(window, part, ready.end, rejected)
        copies = self._begin_copies(window, ready)
        return [request for request in window.requests if request.ordinal not in copies]

    def _begin_copies(self, window: Window, ready: _Ready) -> Mapping[int, int]:
        """Pair the window's copies with their originals. Returns those that are not computed."""
        if not ready.copies:
            return ready.copies
        done = {row.n: row for row in ready.part.rows}
        originals = {
            copy: original
            for copy, original in ready.copies.items()
            if not self.copier.is_mute(original, done)
        }
        copies = [
            Copy(window.records[ordinal], ordinal in window.truncated)
            for ordinal in originals
            if ordinal not in done
        ]
        pairs = self.copier.copies(copies, originals, done)
        self._ledger.enter([self._maker.copied(*pair) for pair in pairs])
        return originals

    def _read_ahead(self) -> None:
        try:
            for number, rows in enumerate(self._windows):
                if self._stop.is_set():
                    return
                self.rows_read += len(rows)
                self._put(self._ready(number, rows))
            self._put(None)
        except BaseException as error:  # noqa: BLE001 - handed to the loop's thread, which raises it
            self._put(error)

    def _put(self, item: _Ready | BaseException | None) -> None:
        """Wait for room in the queue, unless nobody takes from it any more."""
        while not self._stop.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=_LOOK_SECONDS)
                return

    def _ready(self, number: int, rows: Rows) -> _Ready:
        part, end = self._folder.read_part(number)
        if not _fits(part, rows):
            raise InputError(
                f"{self._folder.label}.job is damaged: the part of window {number} holds other"
                f" rows than {rows[0].ordinal} to {rows[-1].ordinal}",
                hint=self._folder.mending(number),
            )
        if part.complete:
            admitted = _admitted(part, rows)
            self._duplicates.find((r, self._preparer.params_of(r)) for r in admitted)
            return _Ready(part, end, None, {})
        window = self._preparer.prepare(number, rows)
        copies = self._duplicates.find(
            (window.records[request.ordinal], request.params) for request in window.requests
        )
        return _Ready(part, end, window, copies)


def _admitted(part: Part, rows: Rows) -> Iterator[Record]:
    """The records of a complete window that became requests, in order."""
    invalid = {row.n for row in part.rows if row.is_invalid and not bytes(row.made)}
    return (r for r in rows if isinstance(r, Record) and r.ordinal not in invalid)


def _fits(part: Part, rows: Rows) -> bool:
    """Whether the part can be one of this window: some of its rows, or all if it is complete."""
    inside = all(rows[0].ordinal <= row.n <= rows[-1].ordinal for row in part.rows)
    whole = not part.complete or part.window_rows == len(rows) == len(part.rows)
    return inside and whole


class _Pieces(Struct):
    """A record with several texts, of which some are still to come."""

    pieces: list[Piece | None]
    left: int


class JobSink:
    """Outcomes decoded, joined to their records, and entered in the ledger."""

    def __init__(
        self, tokenizer: Tokenizer, ledger: Ledger, copier: Copier, maker: RowMaker
    ) -> None:
        self._tokenizer, self._ledger = tokenizer, ledger
        self._copier, self._maker = copier, maker
        self._waiting: dict[int, _Pieces] = {}

    def give(self, outcomes: Sequence[Outcome]) -> None:
        """Enter every record whose last text is among these outcomes."""
        rows = []
        generated = generated_texts(self._tokenizer, outcomes)
        for outcome, texts in zip(outcomes, generated, strict=True):
            if self._ledger.is_done(outcome.request.ordinal):
                continue  # of a batch that was computed again whole, for those that were not done
            record = self._ledger.record(outcome.request.ordinal)
            pieces = self._join(record, Piece(outcome, texts))
            if pieces:
                truncated = self._ledger.was_truncated(record.ordinal)
                rows.append(self._maker.answered(record, pieces, truncated=truncated))
        pairs = self._copier.originals(rows)
        rows += [self._maker.copied(*pair) for pair in pairs]
        self._ledger.enter(rows)

    def _join(self, record: Record, piece: Piece) -> Sequence[Piece]:
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
