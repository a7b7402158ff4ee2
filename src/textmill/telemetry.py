"""Versions of what computed, and notes of what happened to a run: both go into its manifest.

Notes go through the standard library's logging, logger `textmill`, as warnings whose `action` says
what happened; so whoever embeds textmill sees them where all logs go.
"""

from __future__ import annotations

import logging
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from typing import Self

_LIBRARIES = (
    "ctranslate2",
    "huggingface_hub",
    "msgspec",
    "numpy",
    "openvino",
    "pyarrow",
    "tokenizers",
    "zstandard",
)


def versions() -> dict[str, str]:
    """Versions of textmill, Python, the platform and the libraries a result may depend on."""
    found = {"textmill": _version("textmill"), "python": platform.python_version()}
    found |= {name: _version(name) for name in _LIBRARIES}
    found["platform"] = f"{sys.platform} {platform.machine()}"
    return found


def versions_of(*packages: str) -> dict[str, str]:
    """Versions of some packages."""
    return {package: _version(package) for package in packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        from textmill import __version__

        return __version__ if package == "textmill" else "not installed"


class Action(StrEnum):
    """What can happen to a run that it goes on from."""

    RESTARTED = "restarted"
    """The engine's process has ended and is started again."""
    SHRUNK = "shrunk"
    """Memory ran out, and batches are smaller from then on."""
    WAITED = "waited"
    """The server is busy or away, and nothing is sent to it for a while."""


NOTE_SECONDS = 5.0
"""A note of the same action is told so often at most; all are counted."""

_log = logging.getLogger("textmill")


def note(action: Action, message: str) -> None:
    """Say that something happened, as it happens. Never blocks; callable from any thread."""
    _log.warning("%s", message, extra={"action": action})


class Notes(logging.Handler):
    """Counts notes while it is entered, and tells some of them.

    tell: called with a line, from the thread in which it happened.
    """

    def __init__(
        self,
        tell: Callable[[str], None] | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(logging.WARNING)
        self.counts: Counter[str] = Counter()
        self._tell, self._now = tell, now
        self._told: dict[str, float] = {}
        self._untold: Counter[str] = Counter()

    def __enter__(self) -> Self:
        _log.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        _log.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Count one, and tell it unless another of its action was told a moment ago."""
        action = getattr(record, "action", None)
        if not isinstance(action, Action):
            return
        self.counts[action] += 1
        if self._tell is None:
            return
        now = self._now()
        if now - self._told.get(action, -NOTE_SECONDS) < NOTE_SECONDS:
            self._untold[action] += 1
            return
        more = self._untold.pop(action, 0)
        self._told[action] = now
        self._tell(record.getMessage() + (f" (and {more:,} more like it before)" if more else ""))
