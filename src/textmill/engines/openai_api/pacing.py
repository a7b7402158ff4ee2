"""Who may send now: so many at once, first come, first served, nobody while a hold lasts.

All of it lives in one event loop, so nothing here is locked against threads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from textmill.engines.openai_api.waiting import MAX_ASKED_S, Retries
from textmill.errors import EngineUnavailable
from textmill.telemetry import Action, note

_WORTH_A_NOTE_S = 1.0
_RESUMABLE = "finished rows are kept: the same line goes on where this one stopped"


class Gate:
    """Lets requests through, and keeps them back when the server is busy or away.

    After a hold a single request goes first, and every answer lets one more go at once, up to
    `concurrency`: a server that comes back, or a rate limit that is refilled, is not run over.
    """

    def __init__(self, concurrency: int, retries: Retries) -> None:
        self._concurrency, self._retries = concurrency, retries
        self._allowed, self._sending = concurrency, 0
        self._first = asyncio.Lock()  # fair: those who wait for it get it in order
        self._changed = asyncio.Event()
        self._held_until = 0.0
        self._holds = 0
        self._silent_since: float | None = None

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for one's turn and hold a place while sending."""
        async with self._first:
            await self._opening()
            self._sending += 1
        try:
            yield
        finally:
            self._sending -= 1
            self._changed.set()

    async def _opening(self) -> None:
        while True:
            wait_s = self._held_until - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            elif self._sending >= self._allowed:
                self._changed.clear()
                await self._changed.wait()
            else:
                return

    def answered(self) -> None:
        """The server answered a request, well or ill: it is there."""
        self._holds, self._silent_since = 0, None
        self._allowed = min(self._allowed + 1, self._concurrency)
        self._changed.set()

    def rest(self, seconds: float) -> None:
        """Send nothing for so long: a rate limit is used up."""
        if seconds >= _WORTH_A_NOTE_S and time.monotonic() >= self._held_until:
            note(Action.WAITED, f"the server's rate limit is used up: waiting {seconds:,.0f} s")
        self._held_until = max(self._held_until, time.monotonic() + min(seconds, MAX_ASKED_S))

    def hold(self, asked_s: float | None, why: str) -> None:
        """The server is busy or away: send nothing for as long as it asked, or for a while.

        Raises `EngineUnavailable` when it asks for too long, or has been like this for too long;
        `why` then says what happened last.
        """
        now = time.monotonic()
        begins = now >= self._held_until
        if (asked_s or 0) > MAX_ASKED_S:
            raise EngineUnavailable(f"{why} (it asks to wait {asked_s:,.0f} s)", hint=_RESUMABLE)
        self._check_patience(now, why)
        if begins:  # else it failed together with the one that began the hold
            self._holds += 1
        self._allowed = 1
        if asked_s is None:
            asked_s = self._retries.delay_s(max(self._holds, 1))
        elif self._silent_since is not None:
            # The silence that the server asked for is not held against it.
            self._silent_since = max(self._silent_since, now + asked_s)
        if begins:
            note(Action.WAITED, f"{why}: waiting {asked_s:,.1f} s")
        self._held_until = max(self._held_until, now + asked_s)

    def _check_patience(self, now: float, why: str) -> None:
        if self._silent_since is None:
            self._silent_since = now
        elif now - self._silent_since > self._retries.patience_s:
            silent_s = self._retries.patience_s
            raise EngineUnavailable(f"{why}; nothing else for {silent_s:,.0f} s", hint=_RESUMABLE)
