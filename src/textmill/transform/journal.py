"""`OUT.job/journal.jsonl`: what was tried, written before it is tried.

    {"event":"run","at":"2026-11-22T20:00:00+00:00","host":"box","pid":4711}
    {"event":"start","n":285212672,"k":31}          a batch, by its number and size
    {"event":"done","n":285212672,"k":31}           it was computed, or has failed
    {"event":"split","n":285212672,"k":31}          computed as two halves from now on
    {"event":"shrink","tokens":1024}                memory ran out: larger batches are split
    {"event":"progress","at":"…","rows":256,"ok":250,"failed":0,"codes":{"empty":6},"total":9000,…}
    {"event":"stop","at":"…"}                       the run ended by itself
    {"event":"retry","forgotten":false}             failed rows are being forgotten (--retry-failed)
    {"event":"retry","forgotten":true}              they are, and nothing is blamed any more

A batch that was started and not done when its run died was in flight. Once is
chance; again and again means that something in it ends the process (a container that is killed
whole when memory runs out), so it is split until the culprit stands alone, and that one given up.
"""

from __future__ import annotations

import os
import socket
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from textmill.batching.loop import Verdict
from textmill.batching.scheduler import halves
from textmill.core import Batch
from textmill.errors import InputError, OutputError
from textmill.storage.base import Log
from textmill.transform.parts import HOLE

SPLIT_AFTER, PIECE_AFTER, GIVE_UP_AFTER = 5, 2, 5
"""In how many runs that died a batch must have been in flight until it is split, until a piece of
a split one is, and until a request that stands alone is given up."""

_Name = tuple[int, int]


class RunBegan(Struct, frozen=True, tag_field="event", tag="run"):
    """A process began to work on the job."""

    at: str
    host: str
    pid: int


class BatchStarted(Struct, frozen=True, tag_field="event", tag="start"):
    """A batch, by its number and its size, went to the engine."""

    n: int
    k: int


class BatchDone(Struct, frozen=True, tag_field="event", tag="done"):
    """The outcomes of all its requests are there."""

    n: int
    k: int


class BatchSplit(Struct, frozen=True, tag_field="event", tag="split"):
    """A batch was replaced by its two halves."""

    n: int
    k: int


class BudgetShrunk(Struct, frozen=True, tag_field="event", tag="shrink"):
    """Memory ran out; batches of more than `tokens` are split."""

    tokens: int


class Progressed(Struct, frozen=True, kw_only=True, tag_field="event", tag="progress"):
    """How far the job was. `rows` done so far, `resumed` of them before this run; the engine has
    `failed` on so many of them, and `codes` counts all that have no result."""

    at: str
    rows: int
    resumed: int
    ok: int
    failed: int
    total: int | None
    codes: dict[str, int]


class RunStopped(Struct, frozen=True, tag_field="event", tag="stop"):
    """The process ended by itself: done, interrupted, or with an error it could report."""

    at: str


class Retried(Struct, frozen=True, tag_field="event", tag="retry"):
    """Failed rows are to be computed again: what was blamed has another chance.

    forgotten: whether all of them are out of the parts by now.
    """

    forgotten: bool


class Carried(Struct, frozen=True, kw_only=True, tag_field="event", tag="carry"):
    """Counts of rows whose results were taken over from a finished output (`--retry-failed`)."""

    copied: int = 0
    truncated: int = 0
    hit_length_limit: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


Event = (
    Carried
    | Retried
    | RunBegan
    | BatchStarted
    | BatchDone
    | BatchSplit
    | BudgetShrunk
    | Progressed
    | RunStopped
)

_DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_encode = msgspec.json.Encoder().encode


def event_line(event: Event) -> bytes:
    """An event as it stands in the journal."""
    return _encode(event) + b"\n"


class Events:
    """The whole lines of a journal, one at a time: it may hold millions.

    end: the byte where the lines end that were read. What follows the last whole line, or holds
    bytes that were never written (a power cut), is a torn tail.
    goes_on: whether the journal begins with `after`, behind which its events are then told.
    """

    def __init__(self, log: Log, label: str, *, after: bytes = b"") -> None:
        """`after`: whole lines that were read at an earlier look."""
        self._data, self._label = log.read(), label
        self.goes_on = self._data.startswith(after)
        self._start = self.end = len(after) if self.goes_on else 0

    @property
    def lines(self) -> bytes:
        """The whole lines up to `end`."""
        return self._data[: self.end]

    def __iter__(self) -> Iterator[Event]:
        """Raises `InputError` for a damaged line."""
        self.end = self._start
        while at := self._data.find(b"\n", self.end) + 1:
            line = self._data[self.end : at - 1]
            if HOLE in line:
                return
            yield self._decode(line)
            self.end = at

    def _decode(self, line: bytes) -> Event:
        try:
            return _DECODER.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise InputError(
                f"{self._label} is damaged: {error}",
                hint="the file was changed after it was written; start over with --fresh",
            ) from error


class EarlierRun(Struct):
    """From when to when a run was at work, UTC, and how many rows were done when it ended, those
    counted that failed and were forgotten since."""

    began: str
    ended: str
    rows: int


MAX_EARLIER = 50
"""Runs that are remembered, the last."""


class History(Struct):
    """What earlier runs tried.

    runs: how many there were; earlier: the last of them. deaths: how often a batch was in flight
    when a run died. forgetting: a run that was to forget the failed rows has not come to its end.
    """

    splits: set[_Name]
    deaths: Counter[_Name]
    shrunk: list[int]
    runs: int = 0
    earlier: deque[EarlierRun] = msgspec.field(default_factory=lambda: deque(maxlen=MAX_EARLIER))
    carried: Carried = Carried()
    forgetting: bool = False


class HistoryMaker:
    """Makes a `History` of events, one after the other."""

    def __init__(self) -> None:
        self.so_far = History(set(), Counter(), [])
        """But for the deaths of what the last run has in flight, as long as it may live."""
        self._flying: set[_Name] = set()

    def add(self, event: Event) -> None:
        """The next event of the journal."""
        found, flying = self.so_far, self._flying
        match event:
            case BatchStarted(n, k):
                flying.add((n, k))
            case BatchDone(n, k):
                flying.discard((n, k))
            case BatchSplit(n, k):
                found.splits.add((n, k))
                flying.discard((n, k))
            case RunBegan(at):
                found.deaths.update(flying)
                flying.clear()
                found.runs += 1
                rows = found.earlier[-1].rows if found.earlier else 0
                found.earlier.append(EarlierRun(at, at, rows))
            case BudgetShrunk(tokens):
                found.shrunk.append(tokens)
            case Progressed(at=at, rows=rows) if found.earlier:
                found.earlier[-1].ended = at
                found.earlier[-1].rows = max(found.earlier[-1].rows, rows)
            case RunStopped(at):
                flying.clear()
                if found.earlier:
                    found.earlier[-1].ended = at
            case Retried(forgotten):
                found.forgetting = not forgotten
                found.deaths.clear()
                flying.clear()
            case Carried():
                found.carried = event

    def end(self) -> History:
        """All of it: there is no event more, so what is in flight has died with its run."""
        self.so_far.deaths.update(self._flying)
        self._flying.clear()
        return self.so_far


def history(events: Iterable[Event]) -> History:
    """What matters of a journal to the next run."""
    maker = HistoryMaker()
    for event in events:
        maker.add(event)
    return maker.end()


class JobJournal:
    """Implements `batching.loop.Journal` on a log. Used by the Loop's thread, but for `progress`,
    which any may call."""

    def __init__(self, log: Log, label: str, *, blame: bool = True) -> None:
        """Read what earlier runs tried and begin a new one. Raises `InputError`, `OutputError`.

        That a run has begun is synced before it writes anything else: on an object store its
        number as a writer is taken by that, should a replaced run still have something on its way.

        blame: whether a batch can be what a run died of.
        """
        self._log, self._lock = log, threading.Lock()
        events = Events(log, label)
        self.history = history(events)
        log.cut(events.end)
        if not blame:
            self.history.deaths.clear()
        self._pieces: set[_Name] = set()
        self._whole = True
        self._write(RunBegan(at=now(), host=socket.gethostname(), pid=os.getpid()))
        self._log.sync()

    def verdict(self, batch: Batch) -> Verdict:
        """Replay a split; split, and in the end give up, what has ended runs."""
        name = _name(batch)
        if name in self.history.splits:
            return Verdict.SPLIT
        deaths = self.history.deaths[name]
        if len(batch.requests) == 1:
            return Verdict.GIVE_UP if deaths >= GIVE_UP_AFTER else Verdict.RUN
        if deaths >= (PIECE_AFTER if name in self._pieces else SPLIT_AFTER):
            return Verdict.SPLIT
        return Verdict.AGAIN if deaths else Verdict.RUN

    def started(self, batch: Batch) -> None:
        """Write that the batch is in flight. Not synced: a power cut is nobody's fault."""
        self._write(BatchStarted(*_name(batch)))

    def done(self, batch: Batch) -> None:
        """Write that nobody has to look for the batch if this run dies."""
        self._write(BatchDone(*_name(batch)))

    def split(self, batch: Batch) -> None:
        """Write that the batch is two from now on, and sync it: its texts may depend on it."""
        name = _name(batch)
        self._pieces.update(map(_name, halves(batch)))
        if name not in self.history.splits:
            self.history.splits.add(name)
            self._write(BatchSplit(*name), sync=True)

    def shrunk(self, tokens: int) -> None:
        """Write what memory allowed."""
        self.history.shrunk.append(tokens)
        self._write(BudgetShrunk(tokens))

    def forgotten(self) -> None:
        """Write that no failed row is left of those that were to be done again."""
        self._write(Retried(forgotten=True), sync=True)

    def progress(self, event: Progressed) -> None:
        """Write how far the job is, for whoever asks for its status."""
        self._write(event, sync=True)

    def close(self) -> None:
        """Write that the run ended by itself, if that can be written (a disk may be full)."""
        with suppress(OutputError, InputError):
            # Ctrl-C comes between any two steps, so an append that was broken off may be whole.
            self._whole = self._whole or self._log.read().endswith(b"\n")
            self._write(RunStopped(at=now()), sync=True)
        self._log.close()

    def _write(self, event: Event, *, sync: bool = False) -> None:
        """Append an event. One that failed may stand there by half, so nothing follows it."""
        with self._lock:
            if not self._whole:
                raise OutputError("the job's journal could not be written, so the run has ended")
            self._whole = False
            self._log.append(event_line(event))
            if sync:
                self._log.sync()
            self._whole = True


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _name(batch: Batch) -> _Name:
    return batch.number, len(batch.requests)
