"""HTTP/1.1 as uvicorn speaks it, without what it lets pass: slow heads, bodies that are none."""

from __future__ import annotations

import asyncio
import resource
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_OTHER_FILES = 128
"""That a process has open besides connections."""


def connections_within(most: int) -> int:
    """How many of so many connections there can be; this process's own limit of files is raised.

    Over it nobody can connect at all, and each attempt fills the log.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, most):
        return most
    wanted = most + _OTHER_FILES
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(most, soft - _OTHER_FILES))


def patient_protocol(header_seconds: float, most: int) -> type[H11Protocol]:
    """uvicorn's protocol, which hangs up on a client whose head does not come in time.

    most: connections; whoever comes over that takes the place of whoever has asked for nothing for
    the longest. So those who only hold connections keep nobody out.
    """
    idle: dict[H11Protocol, None] = {}

    class Patient(H11Protocol):
        """Hangs up after `header_seconds` without a whole head, and on a body that is no HTTP."""

        late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            idle[self] = None
            if len(self.connections) > most:
                self._hang_up_on_the_oldest()
            self._expect_head()

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before:
                self._head_came()
            elif self.late is None and (before is None or before.response_complete):
                self._expect_head()

        def send_400_response(self, msg: str) -> None:
            """HTTP is broken: say so where nothing was said yet, and work on no call of it."""
            if self.cycle is not None and not self.cycle.response_complete:
                self.cycle.disconnected = True
                self.cycle.message_event.set()
            try:
                super().send_400_response(msg)
            except h11.LocalProtocolError:  # an answer has begun, or may have no body
                self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_came()
            super().connection_lost(exc)

        def on_response_complete(self) -> None:
            if not self.transport.is_closing():
                idle[self] = None
            super().on_response_complete()

        def _expect_head(self) -> None:
            self.late = self.loop.call_later(header_seconds, self.transport.abort)

        def _hang_up_on_the_oldest(self) -> None:
            oldest = next(iter(idle))
            if oldest is self:
                return  # all others are being answered: it will be told that there is no room
            del idle[oldest]
            self.connections.discard(oldest)
            oldest.transport.abort()

        def _head_came(self) -> None:
            idle.pop(self, None)
            if self.late is not None:
                self.late.cancel()
                self.late = None

    return Patient
