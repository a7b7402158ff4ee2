"""What `textmill run` shows: a live block on a terminal, a plain line every 10 s elsewhere."""

from __future__ import annotations

import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from textmill.cli.lines import ways_out
from textmill.cli.printing import download_bar, human_bytes
from textmill.cli.runner import printable
from textmill.telemetry import Notes
from textmill.words import counted

if TYPE_CHECKING:
    from rich.live import Live

    from textmill.api.jobs import Job
    from textmill.api.previews import Preview
    from textmill.catalog.fetch import Transfer
    from textmill.transform.ledger import Progress
    from textmill.transform.prepare import Prepared

FIRST_LINE_SECONDS, PLAIN_LINE_SECONDS = 2.0, 10.0
"""Off a terminal: when the first progress line comes, and how often the others."""
_REDRAW_SECONDS = 0.2
_BAR_CELLS = 34


class RunDisplay:
    """Progress of one job on standard error, drawn by a thread of its own.

    So a line comes every ten seconds however long a batch takes. `update` costs nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._terminal = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._quiet = quiet
        self._live: Live | None = None
        self._title = ""
        self._started = time.monotonic()
        self._notes = Notes(self.note)
        self._last: Progress | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="textmill-display", daemon=True)

    def __enter__(self) -> RunDisplay:
        self._notes.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._notes.__exit__()
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._live is not None:
            self._draw()
            self._live.stop()

    def start(self, prepared: Prepared) -> None:
        """The job is ready: name it and begin to count time."""
        self._title = prepared.title
        self._started = time.monotonic()
        if self._quiet:
            return
        if not self._terminal:
            self._print(self._title)
        self._thread.start()

    def update(self, progress: Progress) -> None:
        """How far the job is, to be shown when it is time to."""
        self._last = progress

    def note(self, line: str) -> None:
        """Something happened that the job goes on from: one line, above what is redrawn."""
        if self._quiet:
            return
        if self._live is not None:
            self._live.console.print(printable(f"note: {line}"), markup=False, highlight=False)
        else:
            self._print(f"note: {line}")

    def _run(self) -> None:
        wait = _REDRAW_SECONDS if self._terminal else FIRST_LINE_SECONDS
        while not self._stop.wait(wait):
            self._draw()
            wait = _REDRAW_SECONDS if self._terminal else PLAIN_LINE_SECONDS

    def _draw(self) -> None:
        if self._last is None or self._quiet:
            return
        if not self._terminal:
            self._print("   ".join(facts(self._last, time.monotonic() - self._started)))
            return
        if self._live is None:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False)
            self._live.start()
        self._live.update(self._block(self._last), refresh=True)

    def _print(self, line: str) -> None:
        """A line on standard error; nobody reading it is no reason to stop the job."""
        try:
            print(printable(line), file=sys.stderr, flush=True)
        except (OSError, ValueError, AttributeError):
            self._quiet = True

    def _block(self, progress: Progress) -> str:
        from rich.markup import escape

        done, *rest = facts(progress, time.monotonic() - self._started)
        return "\n".join(
            (
                escape(self._title),
                f"{bar(progress)}  {escape(done)}",
                escape("   ".join(rest)),
                "[dim]Ctrl-C stops safely; the same command continues.[/dim]",
            )
        )


@contextmanager
def downloads(model: str | None, *, quiet: bool) -> Iterator[Callable[[Transfer], None] | None]:
    """A bar for a model's download; it appears with the first bytes, on a terminal only."""
    with ExitStack() as stack:
        update: Callable[[Transfer], None] | None = None

        def show(transfer: Transfer) -> None:
            nonlocal update
            if update is None:
                update = stack.enter_context(download_bar(model or "")) or _ignore
            update(transfer)
            if transfer.done_bytes >= transfer.total_bytes:
                stack.close()

        yield None if quiet else show


def _ignore(transfer: Transfer) -> None:
    """There is no terminal to draw on."""


def bar(progress: Progress) -> str:
    """A bar of fixed width; empty when the total is unknown."""
    filled = int(_BAR_CELLS * share_done(progress))
    return "█" * filled + "░" * (_BAR_CELLS - filled)


def share_done(progress: Progress) -> float:
    """Rows done over rows expected, 0 to 1."""
    return min(1.0, progress.rows / progress.total) if progress.total else 0.0


def facts(progress: Progress, elapsed: float) -> list[str]:
    """How far, how fast, how long still, what failed and why: each a few words."""
    speed = (progress.rows - progress.resumed) / elapsed if elapsed > 0 else 0.0
    done = counted(progress.rows, "row")
    if progress.total:
        done = f"{progress.rows:,} / {counted(progress.total, 'row')}  {share_done(progress):.0%}"
    found = [done, f"{speed:,.1f} rows/s"]
    if progress.total and speed:
        found.append(f"ETA {duration((progress.total - progress.rows) / speed)}")
    found.append(f"ok {progress.ok:,}")
    if progress.errors:
        codes = Counter(progress.codes.copy())  # the job counts on while this is drawn
        causes = ", ".join(f"{code} {count:,}" for code, count in codes.most_common())
        found.append(f"errors {progress.errors:,} ({causes})")
    if progress.resumed:
        found.append(f"resumed from {progress.resumed:,}")
    return found


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 2 min 10 s, 3 h 5 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def summary(job: Job) -> None:
    """The end of a job: the identity of counts, where the files are, what to look at."""
    counts = job.counts
    state = "already complete" if job.already_done else "done"
    print(
        f"{state}: rows {counts.rows:,} = ok {counts.ok:,} + failed {counts.failed:,}"
        f" + invalid {counts.invalid:,}"
    )
    if not job.already_done:
        print(_speed(job.manifest))
    for warning in job.manifest["warnings"]:
        print(f"note: {printable(warning)}")
    print(f"results   {job.output}")
    first = next(job.failures, None) if counts.failed or counts.invalid else None
    if first is not None:
        causes = ", ".join(f"{code} {count:,}" for code, count in counts.codes.items())
        print(f"errors    {job.errors_output}   ({causes})")
        place = f"{first.file}, line {first.line}" if first.file else f"line {first.line}"
        print(f"          for example {place}, {first.code}: {printable(first.message)}")
    if counts.failed:
        way, *others = ways_out(job.manifest, counts.codes)
        print(printable(f"retry     {way}"))
        for line in others:
            print(f"          {line}")
    print(f"manifest  {job.manifest_path}")


def _speed(manifest: dict[str, Any]) -> str:
    run = manifest["run"]
    return (
        f"{run['seconds']:.1f} s   {run['rows_per_second']:,.1f} rows/s  "
        f" {run['tokens_per_second']:,.0f} tokens/s   padding {run['padding_share']:.0%}"
    )


def preview(found: Preview) -> None:
    """A dry run: prompts, lengths, what would fail, how long it would take."""
    print(f"{found.model}   {found.engine} {found.precision}   {_rows(found)}\n")
    for identifier, text in found.prompts:
        print(f"id {identifier}\n{textwrap.indent(_excerpt(text), '    ')}\n")
    print(f"input tokens of the first {counted(found.examined, 'row')}")
    for line in histogram(found.input_tokens):
        print(f"  {line}")
    if found.limit is not None:
        fate = "cut (--truncate)" if found.truncate else "refused (too_long)"
        longer = counted(found.over_limit, "text is longer", "texts are longer")
        print(f"  limit {found.limit:,}: {longer} and would be {fate}")
    for code, count in found.rejected.items():
        message = printable(found.messages[code])
        print(f"  {counted(count, 'row')} would fail with {code}, for example: {message}")
    print("\nparameters")
    for name, (value, origin) in found.parameters.items():
        print(f"  {name} = {msgspec.json.encode(value).decode()}   ({origin})")
    print()
    for line in _memory(found):
        print(line)
    if found.eta_seconds is None:
        print("no estimate: none of these rows can be computed or counted")
    else:
        print(
            f"about {duration(found.eta_seconds)} for {_rows(found)}"
            f" ({found.probe_records} computed in {found.probe_seconds:.2f} s)"
        )
    print("nothing was written")


def _memory(found: Preview) -> Iterator[str]:
    plan = found.memory
    if plan is None:
        return
    free = "" if plan.free_bytes is None else f"   ({human_bytes(plan.free_bytes)} free)"
    weights, caches = human_bytes(plan.weight_bytes), human_bytes(plan.cache_bytes)
    yield f"memory\n  weights {weights}, caches up to {caches}{free}"
    if found.slots is not None:
        yield f"  {counted(found.slots, 'text')} of median length decoded at once"
    yield ""


def _rows(found: Preview) -> str:
    return "an unknown number of rows" if found.rows is None else counted(found.rows, "row")


def histogram(lengths: list[int], *, bins: int = 8, cells: int = 40) -> list[str]:
    """Text lengths as bars, in bins of equal width."""
    if not lengths:
        return ["no texts"]
    low, high = min(lengths), max(lengths)
    width = max(1, -(-(high - low + 1) // bins))
    counts = [0] * (1 + (high - low) // width)
    for length in lengths:
        counts[(length - low) // width] += 1
    top = max(counts)
    return [
        f"{low + i * width:>7,} – {low + (i + 1) * width - 1:<7,} {'█' * (count * cells // top)} "
        f"{count:,}"
        for i, count in enumerate(counts)
    ]


def _excerpt(text: str, limit: int = 400) -> str:
    shown = printable(text)
    return shown if len(shown) <= limit else f"{shown[:limit]} … ({len(text):,} characters)"
