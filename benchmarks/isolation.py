"""What it costs that an engine computes in a process of its own.

    python benchmarks/isolation.py [--records 600] [--rounds 5]

The same requests through the same loop, by the ct2 engine in this process and in its own. Loading
is not counted; it is printed, and so is the time in which a killed process is ready again.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from common import DATA, MODEL, PROMPT, alternate, ratio, report

from textmill.batching.loop import Loop
from textmill.batching.scheduler import BatchLimits, Scheduler
from textmill.core import Batch, Outcome, Params, Request
from textmill.engines.base import Engine
from textmill.engines.ct2.engine import load
from textmill.engines.isolated import IsolatedEngine
from textmill.engines.loading import load_model

PARAMS = Params(max_new_tokens=32)


class Job:
    """A source of one window, a sink that counts, and the loop between them."""

    def __init__(self, engine: Engine, inputs: list[list[int]]) -> None:
        self.engine, self.inputs = engine, inputs

    def __call__(self) -> None:
        self.window: list[Request] | None = [
            Request(n, 0, ids, PARAMS) for n, ids in enumerate(self.inputs)
        ]
        self.answered = 0
        limits = BatchLimits(max_batch_tokens=self.engine.capabilities.max_batch_tokens)
        scheduler = Scheduler(limits, self.engine.group, padded=True)
        Loop(self, scheduler, self.engine, self).run()
        assert self.answered == len(self.inputs)

    def take(self, *, wait: bool) -> Sequence[Request] | None:  # noqa: ARG002
        window, self.window = self.window, None
        return window

    def wanted(self, batch: Batch) -> Batch:
        return batch

    def give(self, outcomes: Sequence[Outcome]) -> None:
        self.answered += len(outcomes)


def restart_seconds(engine: IsolatedEngine) -> float:
    """From a kill to the first answer of the new process."""
    os.kill(engine.pid or 0, signal.SIGKILL)
    started = time.perf_counter()
    Job(engine, [[1]])()  # an idle engine learns of it when it is used
    return time.perf_counter() - started


def main() -> None:
    """Run and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with DATA.open(encoding="utf-8") as lines:
        documents = [json.loads(line)["document"] for line in lines][: options.records]
    with tempfile.TemporaryDirectory() as cache:
        load_model(MODEL, cache_dir=Path(cache)).close()  # convert
        started = time.perf_counter()
        loaded = load_model(MODEL, cache_dir=Path(cache))
        load_seconds = time.perf_counter() - started
        engine = loaded.engine
        assert isinstance(engine, IsolatedEngine)
        inside = load(**engine.order.arguments)
        inputs = loaded.tokenizer.encode([PROMPT + document for document in documents])
        own, here = "process of its own", "this process"
        rivals = {own: Job(engine, inputs), here: Job(inside, inputs)}
        alternate(rivals, 1)  # warm up
        seconds = alternate(rivals, options.rounds)
        restart = statistics.median(restart_seconds(engine) for _ in range(5))
        loaded.close()
    report(
        "isolation",
        {
            "records": options.records,
            "seconds": {name: round(statistics.median(s), 3) for name, s in seconds.items()},
            "times_faster_than_in_process": round(ratio(seconds, own, here), 3),
            "load_seconds": round(load_seconds, 3),
            "restart_seconds": round(restart, 3),
        },
    )


if __name__ == "__main__":
    main()
