"""Ends for a Loop that tests can look into."""

from __future__ import annotations

from textmill.core import Params, Request

PARAMS = Params()


class ListSource:
    """Windows from a list; some are not ready at once."""

    def __init__(self, windows):
        self.windows = list(windows)
        self.late = True

    def take(self, *, wait):
        self.late = not self.late
        if self.late and not wait:
            return ()
        return self.windows.pop(0) if self.windows else None

    def wanted(self, batch):
        return batch


class ListSink:
    def __init__(self):
        self.outcomes = []

    def give(self, outcomes):
        self.outcomes += outcomes


def windows_of(lengths):
    ordinal = 0
    for window in lengths:
        yield [Request(ordinal + i, 0, [i % 256] * n, PARAMS) for i, n in enumerate(window)]
        ordinal += len(window)
