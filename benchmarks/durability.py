"""What it costs that a job cannot lose anything.

    python benchmarks/durability.py [--records 600] [--rounds 15] [--seed 0] [--folder .]

The demo job (model `demo`, int8, greedy), by the same engine and the same loop, three ways in turn:

durable: as it is: parts, journal, syncs, merge, renames, on the disk of --folder.
memory:  the same code on a store that keeps everything in memory and syncs nothing.
nothing: no parts, no journal, no merge: rows are kept in a list and written once, without a sync.
    A kill at any moment loses everything.

Loading the model is not counted. Ratios are medians of the rounds' ratios; 1.03 is 3 %. Because
those of a busy machine scatter more than what they measure, the seconds that the job spends in
calls of its store are counted as well: they are the most that durability can cost, for the engine
computes meanwhile.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from common import MODEL, PROMPT, alternate, ratio, report
from offline import read_records

from textmill.batching.loop import Loop
from textmill.batching.scheduler import Scheduler
from textmill.settings import read_settings
from textmill.storage.local import LocalStore
from textmill.transform.ends import JobSink, JobSource
from textmill.transform.job import JobFolder
from textmill.transform.parts import Part, Row
from textmill.transform.plan import window_sizes
from textmill.transform.prepare import Prepared
from textmill.transform.request import JobRequest
from textmill.transform.rows import RowMaker
from textmill.transform.setup import SetupRequest
from textmill.transform.windows import Window, gather, reject_duplicates

TIMED_STORE = {"replace", "create", "remove", "clear", "stat", "read"}
TIMED_FILE = {"append", "sync", "cut", "read", "close", "write", "commit"}


class Timed:
    """Whatever it holds, with the seconds and the number of some of its calls added up."""

    def __init__(self, inner: Any, timed: set[str], label: str, seconds: Counter, calls: Counter):
        self._inner, self._timed, self._label = inner, timed, label
        self._seconds, self._calls = seconds, calls

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if name in {"log", "target"}:
            return lambda at: Timed(value(at), TIMED_FILE, kind(at), self._seconds, self._calls)
        return self._clocked(value, f"{self._label} {name}") if name in self._timed else value

    def _clocked(self, call: Callable[..., Any], label: str) -> Callable[..., Any]:
        def clocked(*args: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*args, **options)
            finally:
                self._seconds[label] += time.perf_counter() - started
                self._calls[label] += 1

        return clocked


def kind(name: str) -> str:
    """What a file of a job is."""
    return "parts" if "/parts/" in name else "journal" if "journal" in name else "output"


class MemoryFile:
    """A log or a target, in memory."""

    def __init__(self) -> None:
        self.data = bytearray()

    def read(self) -> bytes:
        return bytes(self.data)

    def append(self, data: bytes) -> None:
        self.data += data

    write = append

    def cut(self, size: int) -> None:
        del self.data[size:]

    def sync(self) -> None: ...

    close = discard = sync

    def commit(self, *, replace: bool = True) -> bool:  # noqa: ARG002
        return True


class ForgetfulStore:
    """What a job asks of a store, without any of its promises."""

    sync_seconds = 1.0
    writes_late = False

    def __init__(self) -> None:
        self.files: dict[str, MemoryFile] = {}

    def label(self, name: str) -> str:
        return name

    def log(self, name: str) -> MemoryFile:
        return self.files.setdefault(name, MemoryFile())

    def target(self, name: str) -> MemoryFile:
        self.files[name] = MemoryFile()
        return self.files[name]

    def names(self, prefix: str) -> list[str]:
        return [name for name in self.files if name.startswith(prefix)]

    def create(self, name: str, data: bytes) -> bool:
        self.replace(name, data)
        return True

    def replace(self, name: str, data: bytes) -> None:
        self.target(name).append(data)

    def stat(self, name: str) -> None:  # noqa: ARG002
        return None

    def read(self, name: str) -> bytes | None:
        return self.files[name].read() if name in self.files else None

    def hurry(self) -> None:
        pass

    def remove(self, name: str) -> None:
        self.files.pop(name, None)

    def clear(self, prefix: str) -> None:
        for name in self.names(prefix):
            self.remove(name)


class Heap:
    """In place of ledger and folder: rows in a list, nothing on a disk."""

    label = "nothing"
    open_windows = 0

    def __init__(self) -> None:
        self.folder = self
        self.rows: list[Row] = []
        self._windows: dict[int, Window] = {}

    def read_part(self, number: int) -> tuple[Part, int]:  # noqa: ARG002
        return Part([]), 0

    def open(self, window: Window, part: Part, end: int, rejected: Iterable[Row]) -> None:  # noqa: ARG002
        self._windows.update(dict.fromkeys(window.records, window))
        self.rows += rejected

    def is_done(self, ordinal: int) -> bool:  # noqa: ARG002
        return False

    def record(self, ordinal: int) -> Any:
        return self._windows[ordinal].records[ordinal]

    def was_truncated(self, ordinal: int) -> bool:
        return ordinal in self._windows[ordinal].truncated

    def enter(self, rows: Iterable[Row]) -> None:
        self.rows += rows


class Job:
    """One way to run the demo job. `seconds` has the time of each run, without loading."""

    def __init__(self, source: Path, output: Path, execute: Callable[[Prepared], bytes]) -> None:
        self._source, self._output, self._execute = source, output, execute
        self.seconds: list[float] = []
        self.result = b""

    def __call__(self) -> None:
        setup = SetupRequest(
            model=MODEL, prompt=PROMPT + "{document}", precision="int8", home=read_settings().home
        )
        request = JobRequest(inputs=self._source, output=self._output, setup=setup, fresh=True)
        with Prepared(request) as prepared:
            started = time.perf_counter()
            self.result = self._execute(prepared)
            self.seconds.append(time.perf_counter() - started)


def durable(prepared: Prepared, seconds: Counter, calls: Counter) -> bytes:
    """As `textmill.run` does it, with a clock around the store."""
    store = prepared.folder.store
    assert isinstance(store, LocalStore)
    prepared.folder.store = Timed(store, TIMED_STORE, "output", seconds, calls)
    prepared.execute(lambda _: None)
    prepared.folder.store = store
    return Path(prepared.folder.label).read_bytes()


def in_memory(prepared: Prepared) -> bytes:
    """The same on a store of memory."""
    store = ForgetfulStore()
    prepared.folder = JobFolder(store, "out.jsonl")  # type: ignore[arg-type]
    prepared.execute(lambda _: None)
    return store.files["out.jsonl"].read()


def nothing(prepared: Prepared) -> bytes:
    """The same loop without a job around it."""
    model, heap = prepared.setup.model, Heap()
    chunks = prepared.reader.chunks(prepared.spec.inputs)
    windows = reject_duplicates(gather(chunks, window_sizes()))
    maker = RowMaker()
    source = JobSource(windows, prepared.setup.preparer, heap, maker)  # type: ignore[arg-type]
    sink = JobSink(model.tokenizer, heap, source.copier, maker)  # type: ignore[arg-type]
    padded = model.engine.capabilities.padded
    scheduler = Scheduler(prepared.spec.limits, model.engine.group, padded=padded)
    source.start()
    Loop(source, scheduler, model.engine, sink).run()
    source.close()
    heap.rows.sort(key=lambda row: row.n)
    path = Path(prepared.folder.label)
    path.write_bytes(b"".join(bytes(row.ok) + b"\n" for row in heap.rows if not row.code))
    return path.read_bytes()


def main() -> None:
    """Run and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path.cwd())
    options = parser.parse_args()
    store_seconds, calls = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        source, output = Path(folder, "in.jsonl"), Path(folder, "out.jsonl")
        records = read_records(options.records, options.seed)
        source.write_text("".join(json.dumps(record) + "\n" for record in records))
        ways = {"durable": lambda job: durable(job, store_seconds, calls)}
        ways |= {"memory": in_memory, "nothing": nothing}
        jobs = {name: Job(source, output, way) for name, way in ways.items()}
        jobs["durable"]()  # warm up: conversion cache, page cache
        jobs["durable"].seconds.clear()
        store_seconds.clear()
        calls.clear()
        alternate(jobs, options.rounds)
    assert len({job.result for job in jobs.values()}) == 1, "the three ways differ"
    seconds = {name: job.seconds for name, job in jobs.items()}
    report("durability", figures(options, seconds, store_seconds, calls))


def figures(
    options: argparse.Namespace, seconds: dict[str, list[float]], store: Counter, calls: Counter
) -> dict[str, object]:
    """Medians, ratios, and where the store's seconds go."""
    whole = sum(seconds["durable"])
    return {
        "records": options.records,
        "rounds": options.rounds,
        "seed": options.seed,
        "seconds": {name: round(statistics.median(s), 3) for name, s in seconds.items()},
        "durable_to_nothing": round(ratio(seconds, "nothing", "durable"), 4),
        "durable_to_memory": round(ratio(seconds, "memory", "durable"), 4),
        "fastest_durable_to_fastest_nothing": round(
            min(seconds["durable"]) / min(seconds["nothing"]), 4
        ),
        "share_in_store": round(sum(store.values()) / whole, 4),
        "share_in_journal": round(
            sum(s for label, s in store.items() if label.startswith("journal")) / whole, 4
        ),
        "store_ms_per_job": {
            label: [round(s / options.rounds * 1000, 2), round(calls[label] / options.rounds, 1)]
            for label, s in store.most_common()
        },
    }


if __name__ == "__main__":
    main()
