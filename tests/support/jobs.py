"""A job in this process: any store, any engine, rows from a list. No files but the store's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from textmill.batching.scheduler import BatchLimits
from textmill.core import Outcome, Record, Rejected
from textmill.engines.base import Engine, Tokenizer
from textmill.engines.echo import EchoEngine, EchoTokenizer
from textmill.errors import ErrorCode
from textmill.params.precedence import Resolver
from textmill.records.writers import JsonlWriter
from textmill.storage.base import Store
from textmill.telemetry import Notes
from textmill.transform.commit import OutputPlan
from textmill.transform.execute import Executed, OnProgress, Worker, execute
from textmill.transform.job import JobFolder
from textmill.transform.ledger import ErrorBudget, Progress
from textmill.transform.manifest import describe
from textmill.transform.plan import JobSpec, ModelIdentity
from textmill.transform.resume import resume
from textmill.transform.rows import RowMaker
from textmill.transform.windows import Preparer

OUTPUT = "out.jsonl"
LIMITS = BatchLimits(max_batch_tokens=40)


def spec(**changed: Any) -> JobSpec:
    """A job's description. It does not look at the rows: those of one test are one input."""
    said: dict[str, Any] = {
        "inputs": (),
        "model": ModelIdentity(name="echo", source="echo"),
        "engine": "echo",
        "precision": "none",
        "prompt": None,
        "id_field": "id",
        "keep": (),
        "parameters": {},
        "record_params": True,
        "seed": 0,
        "sample": None,
        "max_input_tokens": None,
        "truncate": False,
        "limits": LIMITS,
        "output_format": "jsonl",
        "compression": "none",
        "input_filter": None,
        "output_filter": None,
        "join": False,
        "versions": {},
    }
    return JobSpec(**{**said, **changed})


def rows_of(texts: Sequence[str | None]) -> list[Record | Rejected]:
    """A record for each text, an invalid row for each None; ids are ordinals."""
    return [
        Rejected(
            ordinal=n, id=b"%d" % n, file="in", line=n + 1, code=ErrorCode.EMPTY, message="empty"
        )
        if text is None
        else Record(ordinal=n, id=b"%d" % n, texts=(text,), file="in", line=n + 1)
        for n, text in enumerate(texts)
    ]


def run_job(
    store: Store,
    rows: Sequence[Record | Rejected],
    engine: Engine | None = None,
    *,
    job: JobSpec | None = None,
    fresh: bool = False,
    retry_failed: bool = False,
    max_errors: str | None = None,
    total: int | None = None,
    maker: RowMaker | None = None,
    on_progress: OnProgress | None = None,
    tokenizer: Tokenizer | None = None,
) -> dict[str, Any]:
    """Run, resume or retry as `textmill run` does; returns the manifest."""
    job, engine = job or spec(), engine or EchoEngine()
    folder = JobFolder(store, OUTPUT)
    folder.lock()
    try:
        done = resume(
            folder, job, fresh=fresh, retry_failed=retry_failed, chunks=lambda: [list(rows)]
        )
        if done is not None:
            return done
        budget = ErrorBudget.parse(max_errors)
        ends = maker or RowMaker(), on_progress or _silent, tokenizer or EchoTokenizer()
        return _execute(job, folder, rows, engine, budget, total, *ends)
    finally:
        folder.leave()


def _execute(
    job: JobSpec,
    folder: JobFolder,
    rows: Sequence[Record | Rejected],
    engine: Engine,
    budget: ErrorBudget,
    total: int | None,
    maker: RowMaker,
    on_progress: OnProgress,
    tokenizer: Tokenizer,
) -> dict[str, Any]:
    resolver = Resolver([])
    preparer = Preparer(resolver, tokenizer, engine, max_input_tokens=None, truncate=False)
    made: dict[str, Any] = {}
    notes = Notes()

    def manifest(executed: Executed) -> dict[str, Any]:
        made.update(
            describe(
                job,
                executed,
                base=resolver.base,
                capabilities=engine.capabilities,
                command=None,
                notes=(),
                events=notes.counts,
            )
        )
        return made

    with notes:
        execute(
            job,
            folder,
            Worker(engine=engine, tokenizer=tokenizer, preparer=preparer, maker=maker),
            [list(rows)],
            OutputPlan(open_writer=lambda _: JsonlWriter()),
            budget=budget,
            total=total,
            on_progress=on_progress,
            events=notes.counts,
            describe=manifest,
        )
    return json.loads(json.dumps(made, default=lambda value: getattr(value, "name", str(value))))


class Interrupted(EchoEngine):
    """Answers so many batches, then the user presses Ctrl-C."""

    def __init__(self, steps: int = 0) -> None:
        super().__init__()
        self._steps = steps

    def step(self) -> Sequence[Outcome]:
        if not self._steps:
            raise KeyboardInterrupt
        self._steps -= 1
        return super().step()


def _silent(progress: Progress) -> None:
    """Show nothing."""


def lines(store: Store, name: str) -> list[dict[str, Any]]:
    """All rows of a file of the store; none if it is not there."""
    return [json.loads(line) for line in (store.read(name) or b"").splitlines()]


def texts_of(store: Store) -> dict[int, Any]:
    """What the output and error file say: of each id its text, or its error's code."""
    found: dict[int, Any] = {}
    answers: Iterable[dict[str, Any]] = lines(store, OUTPUT)
    for row in answers:
        assert row["id"] not in found
        found[row["id"]] = row["generated_texts"][0]
    for row in lines(store, "out.errors.jsonl"):
        assert row["id"] not in found
        found[row["id"]] = ErrorCode(row["code"])
    return found
