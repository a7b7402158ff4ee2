"""Waiting for what others do. How long it takes is no test's business: the machine may be busy."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 120.0
"""After so long something hangs."""


def wait_for(condition: Callable[[], object], *, every: float = 0.01) -> None:
    """Return when the condition is true; fails the test if it never becomes so.

    every: seconds between two looks. A condition may assert that waiting still makes sense.
    """
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"still not so after {PATIENCE_S:.0f} s"
        time.sleep(every)
