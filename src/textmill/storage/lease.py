"""A lock on an object store: an object that its holder keeps changing, for as long as it lives.

No clocks are compared. Who wants the lock watches the object on a clock of its own: if it changes,
its holder is alive; if it does not for `seconds`, the holder has died or cannot reach the store,
and the watcher puts its own content there, on condition that the object still is what it watched.
The holder renews every third of `seconds`. After three quarters without a confirmed renewal,
measured from before the request was sent, somebody may soon take over: from then on it writes
nothing, until a renewal succeeds after all, or it has waited for long enough.

No store that obstore knows removes an object on a condition. So the holder renews before it lets
go, which gives a watcher `seconds` more to watch, and reads the object before every try to remove
it: that a removal failed may mean that it was done, and that the object now is another run's.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import msgspec
from msgspec import Struct

from textmill.errors import InputError, OutputError
from textmill.storage.bucket import Found, Version

_RENEWALS = 3
_WATCHES = 20
_GRACE = 0.75
_REMOVAL = 0.5
"""Of `seconds`: how old the last renewal may be when the removal is sent."""
_HURRY_SECONDS = 0.3
"""How long a renewal under way is waited for once the user wants to stop."""


class Cell(Protocol):
    """What a lease needs of a `Bucket`."""

    def head(self, key: str) -> Found | None:
        """The object, or None."""

    def get(self, key: str) -> bytes | None:
        """Its content, or None."""

    def create(self, key: str, data: bytes) -> Version | None:
        """Write it if it is not there, else None."""

    def update(self, key: str, data: bytes, version: Version) -> Version | None:
        """Write it if it still is in that state, else None."""

    def delete(self, *keys: str, guard: Callable[[], None]) -> None:
        """Remove it. `guard` is called before each try, and may raise."""


class Clock(Protocol):
    """Time as a value that tests can set."""

    def now(self) -> float:
        """Seconds that pass while this machine sleeps as well."""

    def sleep(self, seconds: float) -> None:
        """Let time pass."""

    def wait(self, event: threading.Event, seconds: float) -> bool:
        """Let time pass until the event is set; whether it is."""


class _MachineClock:
    def now(self) -> float:
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def wait(self, event: threading.Event, seconds: float) -> bool:
        return event.wait(seconds)


class _Holder(Struct):
    """The object's content. `renewal` makes each one differ from the last."""

    owner: str
    host: str
    process: int
    renewal: int


class Lease:
    """A held lock. A thread renews it until `release`."""

    def __init__(
        self,
        cell: Cell,
        quick: Cell,
        key: str,
        label: str,
        *,
        seconds: float,
        patience: float,
        clock: Clock | None = None,
    ) -> None:
        """Take it: at once if it is free, else after `seconds` in which its holder was silent.

        quick: the same cell, whose calls give up well within `seconds`; for renewals.
        patience: for how many seconds more `check` waits when it is not known who has it.
        Raises `OutputError` if the holder shows life, or the store cannot be reached.
        """
        self._cell, self._quick, self._key = cell, quick, key
        self._clock: Clock = clock or _MachineClock()
        self._label, self._seconds, self._patience = label, seconds, patience
        self._holder = _Holder(
            owner=uuid.uuid4().hex, host=socket.gethostname(), process=os.getpid(), renewal=0
        )
        self._lost = self._hurries = False
        self._confirmed = self._clock.now()
        try:
            self._version = self._take()
        except InputError as error:
            raise OutputError(error.message, hint=error.hint) from error
        if self._clock.now() > self._confirmed + seconds / _RENEWALS:  # it took many tries
            self._tried()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Return while no other run can have the lock; wait while one may have it.

        Raises `OutputError` if another run has it, or that cannot be known for too long.
        """
        while True:
            if self._lost:
                raise OutputError(
                    f"{self._label}: another run has taken this output over",
                    hint="let it finish; this run was silent for too long",
                )
            silent = self._clock.now() - self._confirmed - _GRACE * self._seconds
            if silent <= 0:
                return
            if silent > self._patience:
                raise OutputError(
                    f"{self._label}: the store did not answer for so long that another run may"
                    " have taken this output over",
                    hint="run the same line again when the store can be reached",
                )
            self._clock.sleep(self._seconds / _WATCHES)

    def hurry(self) -> None:
        """The user wants to stop: `check` and `release` wait for nothing any more."""
        self._hurries, self._patience = True, 0.0

    def release(self) -> None:
        """Let another run have it at once. Idempotent; never raises."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join(_HURRY_SECONDS if self._hurries else None)
        with suppress(OutputError, InputError):
            if not self._lost and self._renewed():
                self._quick.delete(self._key, guard=self._check_removal)

    def _check_removal(self) -> None:
        """Raise unless the object is ours, and stays so while the removal is on its way."""
        found = self._quick.head(self._key)
        age = self._clock.now() - self._confirmed
        if found is None or found.version != self._version or age > _REMOVAL * self._seconds:
            raise OutputError(f"{self._label}: it cannot be told whether this is another run's")

    def _take(self) -> Version:
        while True:
            self._confirmed = self._clock.now()
            if version := self._cell.create(self._key, self._content()):
                return version
            found = self._watched()
            self._confirmed = self._clock.now()
            if found and (version := self._cell.update(self._key, self._content(), found.version)):
                return version

    def _watched(self) -> Found | None:
        """The object after a silence of `seconds`; None if it goes away. Raises if it changes."""
        first = self._cell.head(self._key)
        end = self._clock.now() + self._seconds
        while first and self._clock.now() < end:
            self._clock.sleep(self._seconds / _WATCHES)
            found = self._cell.head(self._key)
            if found and found.version != first.version:
                raise OutputError(
                    f"{self._label}: another run is working on this output{self._whose()}",
                    hint="wait for it to end, or choose another output",
                )
            first = found and first
        return first

    def _whose(self) -> str:
        holder = self._read_holder(self._cell)
        return f" (process {holder.process} on {holder.host})" if holder else ""

    def _read_holder(self, cell: Cell) -> _Holder | None:
        with suppress(msgspec.MsgspecError):
            return msgspec.json.decode(cell.get(self._key) or b"", type=_Holder)
        return None

    def _renew(self) -> None:
        pause = self._seconds / _RENEWALS
        while not self._lost and not self._clock.wait(self._ended, pause):
            pause = self._seconds / (_RENEWALS if self._tried() else _WATCHES)

    def _tried(self) -> bool:
        with suppress(OutputError, InputError):  # out of reach: `check` knows for how long
            return self._renewed()
        return False

    def _renewed(self) -> bool:
        self._holder.renewal += 1
        started = self._clock.now()
        version = self._quick.update(self._key, self._content(), self._version)
        if version is None:
            unheard = self._own_version()
            self._lost, self._version = unheard is None, unheard or self._version
            return False
        self._version, self._confirmed = version, started
        return True

    def _own_version(self) -> Version | None:
        """The object's, if a renewal of ours was applied unheard; None if it is not ours."""
        found = self._quick.head(self._key)
        # Asked after its version: what was another's once is never ours again.
        holder = self._read_holder(self._quick)
        return found.version if found and holder and holder.owner == self._holder.owner else None

    def _content(self) -> bytes:
        return msgspec.json.encode(self._holder)
