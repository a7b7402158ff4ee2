"""How long requests are waited for: what may pass is asked again, and Ctrl-C is heard."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from textmill.storage.cloud_errors import is_passing
from textmill.storage.connecting import BACKOFF_SECONDS, Connection

T = TypeVar("T")

HURRY_SECONDS = 1.0
"""How long one request may take once the user wants to stop."""
_LOOK_SECONDS = 0.2
_FIRST_CONTACT_SECONDS = 10.0
"""A store that has never answered is rather misnamed than busy."""


class Patience:
    """That of one user of a connection. Safe from several threads.

    obstore blocks until a request is over and hears no signal meanwhile. So another thread makes
    each request, and the one that wants it only waits: it can stop waiting.
    """

    def __init__(self, connection: Connection, retry_seconds: float) -> None:
        """`retry_seconds`: how long a store that is busy or out of reach is asked again."""
        self._connection, self._retry_seconds = connection, retry_seconds
        self._hurried_at: float | None = None
        self._is_silent = False

    def hurry(self) -> None:
        """The user wants to stop: nothing is asked again, and after one request that takes too
        long no other is made."""
        self._hurried_at = self._hurried_at or time.monotonic()

    def ask(self, attempt: Callable[[], T], also: tuple[type[Exception], ...] = ()) -> T:
        """Call `attempt` until it returns, or raise its error: it will not pass, or time is up.

        also: errors that count as passing.
        """
        seconds = self._retry_seconds
        if not self._connection.has_answered:
            seconds = min(seconds, _FIRST_CONTACT_SECONDS)
        deadline, (pause, longest) = time.monotonic() + seconds, BACKOFF_SECONDS
        while True:
            try:
                result = attempt()
            except Exception as error:
                passing = isinstance(error, also) or is_passing(error)
                if not passing or self._hurried_at or time.monotonic() + pause > deadline:
                    raise
            else:
                self._connection.has_answered = True
                return result
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  spreads, hides nothing
            pause = min(2 * pause, longest)

    def send(self, request: Callable[[], T]) -> T:
        """Make one request. Ctrl-C leaves it a second to end, so that its outcome is known."""
        if self._is_silent:
            raise _silence()
        began, running = time.monotonic(), _in_thread(request)
        try:
            while not _is_over(running, _LOOK_SECONDS):
                latest = None if self._hurried_at is None else max(began, self._hurried_at)
                if latest is not None and time.monotonic() - latest > HURRY_SECONDS:
                    self._is_silent = True
                    raise _silence()
        except KeyboardInterrupt:
            self._is_silent = not _is_over(running, HURRY_SECONDS)
            raise
        return running.result()


def _is_over(running: Future[T], seconds: float) -> bool:
    """Wait for a request for so long at most."""
    return bool(wait([running], seconds).done)


def _in_thread(request: Callable[[], T]) -> Future[T]:
    """Make the request in a thread of its own, which the process does not wait for."""
    running: Future[T] = Future()

    def work() -> None:
        try:
            running.set_result(request())
        except BaseException as error:  # noqa: BLE001 - the caller raises it
            running.set_exception(error)

    threading.Thread(target=work, name="request", daemon=True).start()
    return running


def _silence() -> TimeoutError:
    return TimeoutError("timed out")
