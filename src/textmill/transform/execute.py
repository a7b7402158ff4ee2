"""One job, from opened windows to a committed manifest, on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
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

    seconds, timeline: of this run. resumed: rows that an earlier run finished. history: of all
    runs.
    """

    totals: Totals
    lengths: Lengths
    outputs: list[OutputDigest]
    stats: LoopStats
    seconds: float
    timeline: Timeline
    resumed: int
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
    describe: Callable[[Executed], dict[str, Any]],
) -> Executed:
    """Run or resume the job in `folder`, whose lock the caller holds, to its commit.

    chunks: the input's rows in order. total: how many they are, if that is known.
    describe: makes the manifest.
    Raises `TooManyErrors` when the budget is passed; finished rows stay in the folder.
    """
    started, clock = time.monotonic(), RealClock()
    timeline = Timeline(clock.now())

    def told(progress: Progress) -> None:
        timeline.add(clock.now(), progress.rows - progress.resumed, progress.tokens)
        on_progress(progress)

    journal = JobJournal(*folder.journal(), blame=worker.engine.capabilities.local)
    with closing(journal), folder.hurried_by_interrupts():
        if journal.history.forgetting:
            forget_failures(folder)
            journal.forgotten()
        progress = Progress(total=total)
        ledger = Ledger(folder, journal, budget, progress, on_progress=told, clock=clock)
        stats, rows_in = _compute(spec, worker, chunks, ledger, journal)
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
            history=journal.history,
        )
        write_manifest(folder, describe(executed))
    folder.remove()
    return executed


def _compute(
    spec: JobSpec,
    worker: Worker,
    chunks: Iterable[Rows],
    ledger: Ledger,
    journal: JobJournal,
) -> tuple[LoopStats, int]:
    """Have every row in a part. Returns what was done for it, and how many rows there are."""
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
    )
    ticker = Ticker(ledger.folder.store.sync_seconds, ledger.sync_if_due)
    source.start()
    try:
        ticker.start()
        with ledger.folder.hurried_by_interrupts():
            stats = loop.run()
            ledger.finish()
    finally:
        ticker.stop()
        ledger.close()  # first: rows are safe before the reader is waited for
        source.close()
    return stats, source.rows_read
