"""How long requests are waited for: what may pass is asked again, and Ctrl-C is heard."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from textmill.storage.cloud_errors import is_passing
from textmill.storage.connect import BACKOFF_SECONDS, Connection

T = TypeVar("T")

HURRY_SECONDS = 1.0
"""How long one request may take once the user wants to stop."""
_FIRST_CONTACT_SECONDS = 10.0
"""A store that has never answered is rather misnamed than busy."""


class Patience:
    """That of one user of a connection. Safe from several threads.

    obstore blocks until a request is over and hears no signal meanwhile. So the main thread, which
    gets the signals, has another thread make the request, and waits for that.
    """

    def __init__(self, connection: Connection, retry_seconds: float) -> None:
        """`retry_seconds`: how long a store that is busy or out of reach is asked again."""
        self._connection, self._retry_seconds = connection, retry_seconds
        self._longest: float | None = None
        """Seconds that a request may still take; None: as long as the connection lets it."""

    def hurry(self) -> None:
        """The user wants to stop: nothing is asked again, and after one request that takes too
        long no other is made."""
        if self._longest is None:
            self._longest = HURRY_SECONDS

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
                passing = self._longest is None and (isinstance(error, also) or is_passing(error))
                if not passing or time.monotonic() + pause > deadline:
                    raise
            else:
                self._connection.has_answered = True
                return result
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  spreads, hides nothing
            pause = min(2 * pause, longest)

    def send(self, request: Callable[[], T]) -> T:
        """Make one request. Ctrl-C leaves it a second to end, so that its outcome is known; if it
        does not, no other is made."""
        if self._longest == 0:
            raise _silent()
        if threading.current_thread() is not threading.main_thread():
            return request()
        running = _in_thread(request)
        try:
            return running.result(self._longest)
        except KeyboardInterrupt:
            with suppress(Exception):
                running.result(HURRY_SECONDS)
            if not running.done():
                self._longest = 0.0
            raise
        except TimeoutError:
            if running.done():
                raise
            self._longest = 0.0
            raise _silent() from None


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


def _silent() -> TimeoutError:
    return TimeoutError("timed out")
