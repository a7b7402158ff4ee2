"""`textmill status`: where jobs stand."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from textmill.api.status import StatusReader
    from textmill.transform.status import JobStatus

Flag = Parameter(negative=())

LINE_SECONDS = 10.0
"""How often --watch prints where there is no terminal to redraw."""


def status(
    job: str = ".",
    *,
    watch: Annotated[bool, Flag] = False,
    json: Annotated[bool, Flag] = False,
    verify: Annotated[bool, Flag] = False,
    endpoint_url: str | None = None,
) -> int:
    """Show where jobs stand (`textmill.cli.app` holds the text of its page).

    Parameters
    ----------
    job
        A job by its output, its .job folder or its manifest; or a folder, for all jobs in it.
    watch
        Look again every second until no job runs any more; off a terminal, a line every 10 s.
    json
        Print one JSON object a line for each job.
    verify
        Read every file again: digests, checksums, counts. With --watch: at the end.
    endpoint_url
        An S3-compatible server to use instead of the cloud's own.
    """
    from textmill.api.status import StatusReader
    from textmill.errors import ExitCode, UsageError

    reader = StatusReader(job, endpoint_url=endpoint_url)
    if watch:
        try:
            _watch(reader, json=json)
        except KeyboardInterrupt:  # the watch is over, the job goes on: nothing to tell
            return ExitCode.INTERRUPTED
    found = reader.read(verify=verify)
    if not found:
        raise UsageError(f"there is no job in {job}", hint="name a job, or the folder it is in")
    _show(found, json=json)
    return exit_code(found)


def exit_code(found: Sequence[JobStatus]) -> int:
    """70 if anything is damaged, else 3 if a complete job has rows without a result, else 0."""
    from textmill.errors import ExitCode
    from textmill.transform.runs import State

    if not all(job.is_sound for job in found):
        return ExitCode.BROKEN
    complete = [job.counts for job in found if job.state is State.COMPLETE]
    is_whole = all(counts.ok == counts.rows for counts in complete)
    return ExitCode.DONE if is_whole else ExitCode.PARTLY


def _show(found: Sequence[JobStatus], *, json: bool) -> None:
    from textmill.cli import status_view as view
    from textmill.cli.printing import print_table

    if json:
        _print_json(found)
    elif len(found) == 1:
        print(view.block(found[0]))
    else:
        optional = ("VERIFIED", "INVALID", "FAILED", "OK")
        print_table(view.HEADER, [view.table_row(job) for job in found], optional=optional)
        for job in found:
            print(*view.problems(job), sep="\n", end="\n" if view.problems(job) else "")


def _print_json(found: Sequence[JobStatus]) -> None:
    import msgspec

    sys.stdout.writelines(msgspec.json.encode(job).decode() + "\n" for job in found)
    sys.stdout.flush()


def _watch(reader: StatusReader, *, json: bool) -> None:
    """Show jobs as they go on; returns when none runs any more."""
    if not json and sys.stdout.isatty():
        _redraw(reader)
        return
    from textmill.cli.status_view import line

    printed_at = float("-inf")
    while running := _running(reader.read()):
        if time.monotonic() - printed_at >= LINE_SECONDS:
            printed_at = time.monotonic()
            if json:
                _print_json(running)
            else:
                print(*map(line, running), sep="\n", flush=True)
        time.sleep(reader.look_seconds)


def _redraw(reader: StatusReader) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from textmill.cli.status_view import block, line

    with Live(console=Console(), auto_refresh=False, transient=True) as live:
        while running := _running(found := reader.read()):
            shown = block(found[0]) if len(found) == 1 else "\n".join(map(line, running))
            live.update(Text(shown), refresh=True)
            time.sleep(reader.look_seconds)


def _running(found: Sequence[JobStatus]) -> list[JobStatus]:
    from textmill.transform.runs import State

    return [job for job in found if job.state is State.RUNNING]
