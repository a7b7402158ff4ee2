"""One job, from opened windows to a committed manifest, on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import Any

from msgspec import Struct

from textmill.batching.clock import RealClock
from textmill.batching.loop import Loop, LoopStats
from textmill.batching.scheduler import Scheduler
from textmill.engines.base import Engine, Tokenizer
from textmill.transform.commit import OutputDigest, OutputPlan, Totals, merge, write_manifest
from textmill.transform.ends import JobSink, JobSource
from textmill.transform.job import JobFolder
from textmill.transform.journal import History, JobJournal
from textmill.transform.ledger import ErrorBudget, Ledger, Progress
from textmill.transform.lengths import Lengths
from textmill.transform.plan import JobSpec, window_sizes
from textmill.transform.retry import forget_failures
from textmill.transform.rows import RowMaker
from textmill.transform.ticking import Ticker
from textmill.transform.timeline import Timeline
from textmill.transform.windows import Preparer, Rows, gather, reject_duplicates

OnProgress = Callable[[Progress], None]


class Executed(Struct, frozen=True, kw_only=True):
    """What a finished job amounts to.

    seconds, timeline: of this run. resumed: rows that an earlier run finished. tokens: read and
    written for the others. history: of all runs.
    """

    totals: Totals
    lengths: Lengths
    outputs: list[OutputDigest]
    stats: LoopStats
    seconds: float
    timeline: Timeline
    resumed: int
    tokens: int
    history: History


class Worker(Struct, frozen=True, kw_only=True):
    """What computes: the engine, its tokenizer, how records are made ready, what they become."""

    engine: Engine
    tokenizer: Tokenizer
    preparer: Preparer
    maker: RowMaker


def execute(
    spec: JobSpec,
    folder: JobFolder,
    worker: Worker,
    chunks: Iterable[Rows],
    output: OutputPlan,
    *,
    budget: ErrorBudget,
    total: int | None,
    on_progress: OnProgress,
    events: Mapping[str, int],
    describe: Callable[[Executed], dict[str, Any]],
) -> Executed:
    """Run or resume the job in `folder`, whose lock the caller holds, to its commit.

    chunks: the input's rows in order. total: how many they are, if that is known.
    events: how often each `telemetry.Action` has happened, as that is counted. describe: makes the
    manifest.
    Raises `TooManyErrors` when the budget is passed; finished rows stay in the folder.
    """
    started, clock = time.monotonic(), RealClock()
    timeline, stats = Timeline(clock.now()), LoopStats()

    def told(progress: Progress) -> None:
        timeline.add(clock.now(), _counters(progress, stats, events))
        on_progress(progress)

    journal = JobJournal(*folder.journal(), blame=worker.engine.capabilities.local)
    with closing(journal), folder.hurried_by_interrupts():
        if journal.history.forgetting:
            forget_failures(folder)
            journal.forgotten()
        progress = Progress(total=total)
        ledger = Ledger(folder, journal, budget, progress, on_progress=told, clock=clock)
        rows_in = _compute(spec, worker, chunks, ledger, journal, stats=stats)
        totals, lengths, outputs = merge(
            folder, ledger.windows, rows_in, output, journal.history.carried
        )
        executed = Executed(
            totals=totals,
            lengths=lengths,
            outputs=outputs,
            stats=stats,
            seconds=time.monotonic() - started,
            timeline=timeline,
            resumed=progress.resumed,
            tokens=progress.tokens,
            history=journal.history,
        )
        write_manifest(folder, describe(executed))
    folder.remove()
    return executed


def _counters(progress: Progress, stats: LoopStats, events: Mapping[str, int]) -> dict[str, int]:
    """What the timeline follows: rows and tokens that are finished, batches that were begun with
    the requests in them and their input tokens with padding, and each kind of event."""
    return {
        "rows": progress.rows - progress.resumed,
        "tokens": progress.tokens,
        "batches": stats.batches,
        "requests": stats.requests,
        "padded_tokens": stats.padded_tokens,
        **events,
    }


def _compute(
    spec: JobSpec,
    worker: Worker,
    chunks: Iterable[Rows],
    ledger: Ledger,
    journal: JobJournal,
    *,
    stats: LoopStats,
) -> int:
    """Have every row in a part. Returns how many there are; `stats` counts what is done for it."""
    windows = reject_duplicates(gather(chunks, window_sizes()))
    source = JobSource(windows, worker.preparer, ledger, worker.maker)
    scheduler = Scheduler(
        spec.limits,
        worker.engine.group,
        padded=worker.engine.capabilities.padded,
        memory_tokens=min(journal.history.shrunk, default=None),
    )
    loop = Loop(
        source,
        scheduler,
        worker.engine,
        JobSink(worker.tokenizer, ledger, source.copier, worker.maker),
        journal=journal,
        stats=stats,
    )
    ticker = Ticker(ledger.folder.store.sync_seconds, ledger.sync_if_due)
    source.start()
    try:
        ticker.start()
        with ledger.folder.hurried_by_interrupts():
            loop.run()
            ledger.finish()
    finally:
        ticker.stop()
        ledger.close()  # first: rows are safe before the reader is waited for
        source.close()
    return source.rows_read
