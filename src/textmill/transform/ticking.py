"""Something done again and again beside the work."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Ticker:
    """Calls a function every so often, in a thread of its own, from `start` to `stop`."""

    def __init__(self, seconds: float, tick: Callable[[], None]) -> None:
        """`tick`: thread-safe, and raises nothing. Never called if `seconds` is 0."""
        self._seconds, self._tick = seconds, tick
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="textmill-tick", daemon=True)

    def start(self) -> None:
        """Begin; the first call comes after the first pause."""
        if self._seconds > 0:
            self._thread.start()

    def stop(self) -> None:
        """End, and wait for a call that is under way."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._tick()
