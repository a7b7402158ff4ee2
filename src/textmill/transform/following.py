"""A journal that is looked at again and again while it grows."""

from __future__ import annotations

from textmill.errors import InputError
from textmill.storage.base import Log
from textmill.transform.journal import Events, History, HistoryMaker
from textmill.transform.runs import Runs, RunsMaker


class FollowedJournal:
    """Each event is decoded once, however often the journal is read.

    changes: how often a look found something new.
    """

    def __init__(self) -> None:
        self.changes = 0
        self._log: Log | None = None
        self._label = ""
        self._lines = b""
        self._runs, self._past = RunsMaker(), HistoryMaker()

    @property
    def runs(self) -> Runs:
        """The runs that it tells of."""
        return self._runs.so_far()

    @property
    def past(self) -> History:
        """What was tried. Deaths of what is in flight are not among them: its run may live."""
        return self._past.so_far

    def read(self, log: Log, label: str) -> None:
        """Take in what was added since. Raises `InputError` for a damaged line.

        A journal that no longer begins as it did is another one, and is read from its start:
        another job's (`--fresh`), or that of a bucket where a late segment has given way.
        """
        if label != self._label:  # else the log that was read may remember what it has read
            self._log, self._label = log, label
        events = Events(self._log or log, label, after=self._lines)
        if not events.goes_on:
            self._start_over()
        try:
            for event in events:
                self._runs.add(event)
                self._past.add(event)
        except InputError:
            self._start_over()
            raise
        if events.end != len(self._lines):
            self._lines = events.lines
            self.changes += 1

    def _start_over(self) -> None:
        self.changes += 1
        self._lines = b""
        self._runs, self._past = RunsMaker(), HistoryMaker()
