"""Which rows are done. A row counts as done when its frame is in a part file, never before."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from fractions import Fraction

import msgspec
from msgspec import Struct

from textmill.batching.clock import Clock
from textmill.core import Record
from textmill.errors import InputError, OutputError, TooManyErrors, UsageError
from textmill.transform.job import JobFolder
from textmill.transform.journal import JobJournal, Progressed, now
from textmill.transform.parts import Part, PartWriter, Row
from textmill.transform.windows import Window
from textmill.words import counted

_PERCENTAGE = re.compile(r"[0-9]{1,3}(\.[0-9]{1,9})?%", re.ASCII)


class Progress(Struct):
    """How far a job is.

    rows: done so far, `resumed` of them by an earlier run. total: rows expected, None if unknown.
    tokens: read and written for rows that this run finished.
    begun: rows of all windows that were opened; bad rows of a window are done before its good ones.
    codes: rows without a result, by error code; the engine has `failed` on so many of them.
    example: the error line of the first of them.
    """

    rows: int = 0
    resumed: int = 0
    tokens: int = 0
    begun: int = 0
    total: int | None = None
    ok: int = 0
    failed: int = 0
    codes: Counter[str] = msgspec.field(default_factory=Counter)
    example: str = ""

    @property
    def errors(self) -> int:
        """Rows without a result."""
        return sum(self.codes.values())

    def event(self) -> Progressed:
        """The same, for the journal."""
        return Progressed(
            at=now(),
            rows=self.rows,
            resumed=self.resumed,
            ok=self.ok,
            failed=self.failed,
            total=self.total,
            codes=dict(self.codes),
        )

    def count(self, rows: Iterable[Row], *, resumed: bool = False) -> None:
        """Add finished rows."""
        for row in rows:
            self.rows += 1
            self.resumed += resumed
            self.tokens += 0 if resumed else row.inp + row.out
            if row.code:
                self.codes[row.code] += 1
                self.failed += row.failed
                self.example = self.example or bytes(row.error).decode()
            else:
                self.ok += 1


ENOUGH_ROWS = 1000
"""Rows after which a share of failures says something about those to come."""


class ErrorBudget(Struct, frozen=True):
    """`--max-errors`: how many rows may fail before the job stops. Neither field: any number."""

    rows: int | None = None
    share: Fraction | None = None

    @classmethod
    def parse(cls, text: str | int | None) -> ErrorBudget:
        """From `"20"` or `"1%"`. Raises `UsageError`."""
        try:
            if text is None:
                return cls()
            if isinstance(text, str) and _PERCENTAGE.fullmatch(text):
                budget = cls(share=Fraction(text[:-1]) / 100)
            else:
                budget = cls(rows=int(text) if isinstance(text, int | str) else -1)
        except ValueError:
            budget = cls(rows=-1)
        if (budget.rows or 0) < 0 or not 0 <= (budget.share or 0) <= 1:
            raise UsageError(
                f"--max-errors {text}: neither a number of rows nor a percentage",
                hint="for example --max-errors 20 or --max-errors 1%",
            )
        return budget

    @property
    def is_whole(self) -> bool:
        """Whether every row may fail, and somebody has said so."""
        return self.share == 1

    def check(self, progress: Progress, *, final: bool = False) -> None:
        """Raise `TooManyErrors` as soon as the budget cannot be kept any more.

        A share of an unknown number of rows is taken of those that were begun, once enough are
        done to tell; `final`: they are all there are.
        """
        limit = self.rows
        if self.share is not None:
            if progress.total is None and not final and progress.rows < ENOUGH_ROWS:
                return
            expected = 0 if final else progress.total or 0
            limit = int(self.share * max(expected, progress.begun))
        if limit is None or progress.errors <= limit:
            return
        seen = max(progress.rows, progress.begun)  # bad rows are done before the good ones
        causes = ", ".join(f"{code} {count}" for code, count in progress.codes.most_common())
        raise TooManyErrors(
            f"{progress.errors:,} of the first {counted(seen, 'row')} failed ({causes});"
            f" --max-errors allows {limit}; for example {progress.example}",
            hint="finished rows are kept: the same line with a larger --max-errors goes on; with"
            " a mended input it is another job (--fresh)",
        )


class _Open(Struct):
    """A window in work: its part file, the rows that are done, and how many are left."""

    window: Window
    writer: PartWriter
    done: set[int]
    left: int


class Ledger:
    """Opens windows, enters finished rows, closes windows that are complete.

    Used by one thread, but for `sync_if_due`, which any may call.
    on_progress is called after every frame; it must return at once.
    """

    def __init__(
        self,
        folder: JobFolder,
        journal: JobJournal,
        budget: ErrorBudget,
        progress: Progress,
        *,
        on_progress: Callable[[Progress], None],
        clock: Clock,
    ) -> None:
        self.folder, self._journal, self._budget = folder, journal, budget
        self.progress, self._on_progress = progress, on_progress
        self._clock, self._lock = clock, threading.RLock()
        self._failed_sync: BaseException | None = None
        self._unsynced: set[PartWriter] = set()
        self._complete: list[PartWriter] = []
        self._synced_at = clock.now()
        self._open: dict[int, _Open] = {}
        self._window_of: dict[int, _Open] = {}
        self.windows = 0

    def skip(self, part: Part) -> None:
        """Count a window that an earlier run completed."""
        self.windows += 1
        with self._lock:
            self.progress.begun += len(part.rows)
            self.progress.count(part.rows, resumed=True)
        self._tell()

    def open(self, window: Window, part: Part, end: int, rejected: Iterable[Row]) -> None:
        """Begin a window: what an earlier run finished counts, what was rejected is entered.

        end: where the whole frames of its part file end.
        """
        self.windows += 1
        with self._lock:
            self.progress.begun += window.rows
            self.progress.count(part.rows, resumed=True)
        done = {row.n for row in part.rows}
        writer = PartWriter(self.folder.part(window.number), end=end)
        state = _Open(window, writer, done, window.rows - len(done))
        self._open[window.number] = state
        self._window_of.update(dict.fromkeys(window.records, state))
        self._enter(state, [row for row in rejected if row.n not in done])

    @property
    def open_windows(self) -> int:
        """Windows that lack a row."""
        return len(self._open)

    def is_done(self, ordinal: int) -> bool:
        """Whether the row needs no more work."""
        state = self._window_of.get(ordinal)
        return state is None or ordinal in state.done

    def record(self, ordinal: int) -> Record:
        """The record of a row of an open window."""
        return self._window_of[ordinal].window.records[ordinal]

    def was_truncated(self, ordinal: int) -> bool:
        """Whether the record's input was cut."""
        return ordinal in self._window_of[ordinal].window.truncated

    def enter(self, rows: Iterable[Row]) -> None:
        """Make finished rows safe: one frame for each window they belong to.

        Rows that were done before (a batch repeated after a kill) are passed over.
        """
        by_window: dict[int, list[Row]] = {}
        for row in rows:
            state = self._window_of[row.n]
            if row.n not in state.done:
                by_window.setdefault(state.window.number, []).append(row)
        for number, some in by_window.items():
            self._enter(self._open[number], some)

    def _enter(self, state: _Open, rows: list[Row]) -> None:
        state.left -= len(rows)
        complete = state.left == 0
        with self._lock:
            if rows or complete:
                state.writer.append(rows, window_rows=state.window.rows if complete else None)
            self.progress.count(rows)
            self._unsynced.add(state.writer)
            if complete:
                self._complete.append(state.writer)
        state.done.update(row.n for row in rows)
        if complete:
            self._forget(state)
        if self._is_due():
            self._sync()
        self._tell()

    def _forget(self, state: _Open) -> None:
        del self._open[state.window.number]
        for ordinal in state.window.records:
            del self._window_of[ordinal]

    def sync_if_due(self) -> None:
        """Sync rows that have waited long enough, also while the engine is at work for minutes.

        What goes wrong is raised by the next call of the thread that enters rows: a file whose
        sync has failed once cannot be trusted, though the next sync may succeed.
        """
        with self._lock:
            if self._failed_sync is None and self._unsynced and self._is_due():
                try:
                    self._sync()
                except BaseException as error:  # noqa: BLE001 - raised where rows are entered
                    self._failed_sync = error

    def _is_due(self) -> bool:
        return self._clock.now() - self._synced_at >= self.folder.store.sync_seconds

    def _sync(self) -> None:
        """Sync what was written since the last time; complete windows need their file no more."""
        with self._lock:
            if self._failed_sync is not None:
                raise self._failed_sync
            self.folder.check_lock()
            for writer in self._unsynced:
                writer.sync()
            self._journal.progress(self.progress.event())
            for writer in self._complete:
                writer.close()
            self._unsynced.clear()
            self._complete.clear()
            self._synced_at = self._clock.now()

    def _tell(self) -> None:
        if self._failed_sync is not None:
            raise self._failed_sync
        self._budget.check(self.progress)
        self._on_progress(self.progress)

    def finish(self) -> None:
        """Every row is entered: make all of them safe, so that they can be merged.

        Raises `TooManyErrors` if more rows of the whole job failed than allowed.
        """
        self._sync()
        self._budget.check(self.progress, final=True)

    def close(self) -> None:
        """Give the files back. What was entered is kept, if the store still takes it."""
        try:
            if self._unsynced:
                with suppress(OutputError, InputError):  # the run ends for a reason that is told
                    self._sync()
        finally:
            for writer in (*self._complete, *(state.writer for state in self._open.values())):
                writer.close()
            self._complete.clear()
            self._open.clear()
