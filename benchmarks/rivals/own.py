"""textmill's engines, as jobs run them: in a process of their own, driven batch by batch."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from textmill.batching.scheduler import BatchLimits, numbered, plan_batches
from textmill.core import Completion, Request
from textmill.engines.isolated import IsolatedEngine
from textmill.engines.loading import load_model

CT2_BUDGETS = (512, 1024, 2048, 4096)


class Own:
    """An engine in a precision. ct2 pads, so its budget of tokens is searched."""

    def __init__(
        self, engine: str, precision: str, folder: Path, threads: int, cache_dir: Path
    ) -> None:
        loaded = load_model(
            folder, engine=engine, precision=precision, threads=threads, cache_dir=cache_dir
        ).engine
        assert isinstance(loaded, IsolatedEngine)
        self.engine = loaded
        self._budget = loaded.capabilities.max_batch_tokens

    def search(self, requests: Sequence[Request], some: Sequence[Request]) -> int:
        """The best budget of tokens, by processor time for some of the requests.

        Of those that give each worker two batches of all requests: fewer leave one idle.
        """
        able = self.engine.capabilities
        if able.padded:
            tokens = sum(len(request.ids) for request in requests)
            fair = [b for b in CT2_BUDGETS if 2 * able.parallel * b <= tokens] or CT2_BUDGETS[:1]
            self._budget = min(fair, key=lambda budget: self._best(some, budget))
        return self._budget

    def _best(self, some: Sequence[Request], budget: int) -> float:
        self._budget = budget
        return min(self.run(some)[1] for _ in range(2))

    def run(self, requests: Sequence[Request], *, drain: bool = False) -> tuple[float, float]:
        """Wall and processor seconds of all requests. drain: let each batch end before the next."""
        able = self.engine.capabilities
        limits = BatchLimits(max_batch_tokens=self._budget, max_batch_rows=able.max_batch_rows)
        planned = plan_batches(list(requests), limits, self.engine.group, padded=able.padded)
        batches = [numbered(batch) for batch in planned]
        left = len(requests)
        flying = 0
        wall, processor = time.perf_counter(), self._processor_seconds()
        while batches or left:
            while batches and self.engine.room() > 0 and not (drain and flying):
                flying += len(batches[0].requests)
                self.engine.add(batches.pop(0))
            outcomes = self.engine.step()
            assert all(isinstance(outcome, Completion) for outcome in outcomes)
            left, flying = left - len(outcomes), flying - len(outcomes)
        return time.perf_counter() - wall, self._processor_seconds() - processor

    def _processor_seconds(self) -> float:
        """Of the engine's process and of this one."""
        fields = Path(f"/proc/{self.engine.pid}/stat").read_text().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK") + time.process_time()

    def close(self) -> None:
        """End the process."""
        self.engine.close()
