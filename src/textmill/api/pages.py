"""The files of pages: whole or not at all, and never in place of anything but a page."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from textmill.errors import OutputError
from textmill.html.document import HEAD_BYTES, is_ours
from textmill.storage.atomic import AtomicFile, write_atomic
from textmill.storage.base import STANDARD_INPUT, input_errors
from textmill.storage.opening import is_url


def check_page(path: str | Path, others: Iterable[str | Path] = ()) -> None:
    """Raise `OutputError`, before any work, where a page could not be written or would replace
    anything but an earlier page.

    others: names that something else is about to take.
    """
    if is_url(str(path)):
        raise OutputError(f"{path}: a report is written to this machine", hint="name a local file")
    if str(path) in (STANDARD_INPUT, "/dev/stdin"):  # what a lone dash is on the command line
        raise OutputError(
            "a report is a file, and goes to no standard output",
            hint="name it, as in --report report.html",
        )
    AtomicFile(str(path)).discard()
    taken = {os.path.realpath(one) for one in map(str, others) if not is_url(one)}
    if os.path.realpath(path) in taken or not _is_free(Path(path)):
        raise OutputError(
            f"the report would replace {path}, which is no page of textmill's",
            hint="choose another name for --report",
        )


def _is_free(place: Path) -> bool:
    """Whether nothing would be lost."""
    with input_errors(str(place)):
        if not place.exists() or not place.stat().st_size:
            return True
        with place.open("rb") as file:
            return is_ours(file.read(HEAD_BYTES))


def write_page(path: str | Path, page: str) -> None:
    """Write a page, whole or not at all. Raises `OutputError`."""
    write_atomic(str(path), page.encode())
