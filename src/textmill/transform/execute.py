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
from textmill.transform.commit import OutputDigest, Totals, merge, write_manifest
from textmill.transform.ends import JobSink, JobSource
from textmill.transform.job import JobFolder
from textmill.transform.journal import History, JobJournal
from textmill.transform.ledger import ErrorBudget, Ledger, Progress
from textmill.transform.plan import JobSpec, window_sizes
from textmill.transform.windows import Preparer, Rows, gather, reject_duplicates

OnProgress = Callable[[Progress], None]


class Executed(Struct, frozen=True, kw_only=True):
    """What a finished job amounts to.

    seconds: of this run. resumed: rows that an earlier run finished. history: of all runs.
    """

    totals: Totals
    outputs: list[OutputDigest]
    stats: LoopStats
    seconds: float
    resumed: int
    history: History


class Worker(Struct, frozen=True, kw_only=True):
    """What computes: the engine, its tokenizer, and how records are made ready for them."""

    engine: Engine
    tokenizer: Tokenizer
    preparer: Preparer


def execute(
    spec: JobSpec,
    folder: JobFolder,
    worker: Worker,
    chunks: Iterable[Rows],
    *,
    budget: ErrorBudget,
    total: int | None,
    several_inputs: bool,
    on_progress: OnProgress,
    describe: Callable[[Executed], dict[str, Any]],
) -> Executed:
    """Run or resume the job in `folder`, whose lock the caller holds, to its commit.

    chunks: the input's rows in order. several_inputs: error lines name the file.
    describe: makes the manifest.
    Raises `TooManyErrors` when the budget is passed; finished rows stay in the folder.
    """
    started = time.monotonic()
    progress = Progress(total=total)
    journal = JobJournal(*folder.journal())
    ledger = Ledger(folder, journal, budget, progress, on_progress=on_progress, clock=RealClock())
    windows = reject_duplicates(gather(chunks, window_sizes()))
    source = JobSource(windows, worker.preparer, ledger, folder, with_file=several_inputs)
    capabilities = worker.engine.capabilities
    scheduler = Scheduler(spec.limits, worker.engine.group, padded=capabilities.padded)
    loop = Loop(
        source,
        scheduler,
        worker.engine,
        JobSink(worker.tokenizer, ledger, source.copier, with_file=several_inputs),
        journal=journal,
    )
    source.start()
    with closing(journal):  # to the commit: a run that merges has not stopped
        try:
            stats = loop.run()
            ledger.check_budget()
        finally:
            source.close()
            ledger.close()
        totals, outputs = merge(folder, ledger.windows, source.rows_read, journal.history.carried)
        executed = Executed(
            totals=totals,
            outputs=outputs,
            stats=stats,
            seconds=time.monotonic() - started,
            resumed=progress.resumed,
            history=journal.history,
        )
        write_manifest(folder, describe(executed))
    folder.remove()
    return executed
