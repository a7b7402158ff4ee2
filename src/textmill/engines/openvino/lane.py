"""A decoder on a thread of its own, and the desk it shares with the others."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from textmill.core import Outcome, Request
from textmill.engines.inflight.decoder import Decoder

Results = SimpleQueue[list[Outcome] | Exception | None]
"""None interrupts who waits for results."""


class Desk:
    """Requests that wait for a lane, and what lanes have to say."""

    def __init__(self) -> None:
        self.waiting: deque[Request] = deque()
        self.results: Results = SimpleQueue()
        self._news = threading.Condition()
        self._closed = False
        self._round = 0

    def hand_in(self, requests: tuple[Request, ...]) -> None:
        """More requests, for whichever lane is free first."""
        with self._news:
            self.waiting.extend(requests)
            self._news.notify_all()

    def clear(self) -> None:
        """Forget all requests, those that lanes have included."""
        with self._news:
            self.waiting.clear()
            self._round += 1

    def close(self) -> None:
        """Let the lanes end."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    def wait(self, *, idle: bool) -> int | None:
        """Return the number of the round, when `idle` not before there is work; None at the end."""
        with self._news:
            while idle and not self.waiting and not self._closed:
                self._news.wait()
            return None if self._closed else self._round


class Lane(threading.Thread):
    """Steps a decoder until the desk closes."""

    def __init__(self, desk: Desk, open_decoder: Callable[[], Decoder]) -> None:
        super().__init__(daemon=True)
        self._desk, self._open_decoder = desk, open_decoder

    def run(self) -> None:
        """Until the desk closes, or the decoder raises, which is told in its results."""
        try:
            self._work(self._open_decoder())
        except Exception as error:  # noqa: BLE001  raised again where results are read
            self._desk.results.put(error)

    def _work(self, decoder: Decoder) -> None:
        last = 0
        while (now := self._desk.wait(idle=decoder.idle)) is not None:
            if now != last:
                decoder.clear()
                last = now
            outcomes = decoder.step()
            if outcomes:
                self._desk.results.put(outcomes)
