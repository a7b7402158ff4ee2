"""Faults in the log: where they happened and of which kind, never what they were about.

An exception's own message may quote a text of a caller, so it is left out.
"""

from __future__ import annotations

import logging
import traceback

_log = logging.getLogger("textmill.serving")


def log_fault(what: str, error: BaseException) -> None:
    """Log an exception that should not have been: its types and its stack."""
    lines = [what]
    cause: BaseException | None = error
    while cause is not None:
        lines += [line.rstrip() for line in traceback.format_tb(cause.__traceback__)]
        lines.append(f"{type(cause).__module__}.{type(cause).__qualname__}")
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    _log.error("\n".join(lines))
