"""What a journal says of a job's runs: how far, how fast, and whether one is at work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from textmill.transform.journal import Event, Progressed, RunBegan, RunStopped
from textmill.transform.liveness import parse_time

RECENT_SECONDS = 60.0
"""The speed that an estimate is made from is that of the last minute."""

SILENT_AFTER_SECONDS = 300.0
"""A run on another host is taken for alive for so long after its last sign of life."""


class State(StrEnum):
    """What a job is doing."""

    RUNNING = "running"
    """A process works on it."""
    STOPPED = "stopped"
    """The last run ended by itself before the job was done; the same line goes on."""
    DIED = "died"
    """The last run was killed; the same line goes on."""
    SILENT = "silent"
    """The last run was on another host, and has given no sign of life for five minutes."""
    COMPLETE = "complete"
    """The output is there."""
    DAMAGED = "damaged"
    """Files of the job are missing, changed or unreadable."""


class Runs(Struct, frozen=True, kw_only=True):
    """The runs of a job.

    count: how many have begun. unended: how many of them without a word of their end, the last
    one perhaps among them. last: the last one, None if none has begun; progress: its events;
    stopped: when it ended by itself.
    """

    count: int = 0
    unended: int = 0
    last: RunBegan | None = None
    progress: Sequence[Progressed] = ()
    stopped: str | None = None

    @property
    def last_sign(self) -> str | None:
        """When the last run was last heard of."""
        if self.last is None:
            return None
        return self.stopped or (self.progress[-1].at if self.progress else self.last.at)


class Speed(Struct, frozen=True, kw_only=True):
    """Rows a second: of the last minute of the last run, and of all of it. None: not yet known."""

    recent: float | None = None
    run: float | None = None


class RunsMaker:
    """Makes `Runs` of events, one after the other."""

    def __init__(self) -> None:
        self._count = self._ended = 0
        self._last: RunBegan | None = None
        self._progress: list[Progressed] = []
        self._stopped: str | None = None

    def add(self, event: Event) -> None:
        """The next event of the journal."""
        match event:
            case RunBegan():
                self._count, self._last = self._count + 1, event
                self._progress, self._stopped = [], None
            case Progressed():
                self._progress.append(event)
            case RunStopped(at):
                self._ended += self._stopped is None
                self._stopped = at

    def so_far(self) -> Runs:
        """The runs that the events tell of."""
        return Runs(
            count=self._count,
            unended=self._count - self._ended,
            last=self._last,
            progress=tuple(self._progress),
            stopped=self._stopped,
        )


def runs_of(events: Iterable[Event]) -> Runs:
    """The runs that a journal tells of."""
    maker = RunsMaker()
    for event in events:
        maker.add(event)
    return maker.so_far()


def judge(runs: Runs, alive: bool | None, now: datetime) -> tuple[State, str]:
    """What an unfinished job is doing, and a sentence on how that is known.

    alive: whether the last run's process is there; None if it cannot be asked.
    """
    run, sign = runs.last, runs.last_sign
    if run is None or sign is None:
        return State.STOPPED, "no run has begun to compute; one may be loading its model"
    if runs.stopped is not None:
        return State.STOPPED, f"the last run ended by itself at {sign}"
    if alive:
        return State.RUNNING, f"process {run.pid} on {run.host} since {run.at}"
    if alive is not None:
        return State.DIED, f"process {run.pid} is gone; its last sign of life was at {sign}"
    if (now - parse_time(sign)).total_seconds() <= SILENT_AFTER_SECONDS:
        return State.RUNNING, f"process {run.pid} on {run.host} since {run.at}"
    return State.SILENT, f"no sign of life from process {run.pid} on {run.host} since {sign}"


def speed_of(runs: Runs) -> Speed:
    """How fast the last run is, or was."""
    if runs.last is None or not runs.progress:
        return Speed()
    began = parse_time(runs.last.at), 0
    end, recent = _point(runs.progress[-1]), began
    for event in reversed(runs.progress):
        if (end[0] - _point(event)[0]).total_seconds() >= RECENT_SECONDS:
            recent = _point(event)
            break
    return Speed(recent=_rate(recent, end), run=_rate(began, end))


def _point(event: Progressed) -> tuple[datetime, int]:
    """When, and how many rows the run had done by then."""
    return parse_time(event.at), event.rows - event.resumed


def _rate(begin: tuple[datetime, int], end: tuple[datetime, int]) -> float | None:
    seconds = (end[0] - begin[0]).total_seconds()
    return (end[1] - begin[1]) / seconds if seconds > 0 else None
