"""A machine that exists in time only: the endpoint's ends and policy against a modelled engine.

Everything of the endpoint is real but the engine, whose batches take what a formula says, and the
clock. A minute of overload takes a second, and comes out the same each time.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count

from msgspec import Struct

from support.serving import Bench
from textmill.batching.scheduler import BatchLimits, numbered
from textmill.core import Batch, Completion, FinishReason, Params, Request
from textmill.core import Sequence as Generated
from textmill.engines.base import Capabilities
from textmill.engines.echo import EchoEngine
from textmill.serving.calls import Call
from textmill.serving.refusals import Refused


class Machine(Struct, frozen=True, kw_only=True):
    """Seconds of a batch; jitter: by how much it varies, as a share."""

    fixed: float = 0.002
    per_token: float = 0.00002
    per_step: float = 0.0004
    per_row_step: float = 0.00006
    parallel: int = 1
    jitter: float = 0.1

    def seconds(self, batch: Batch, steps: list[int], chance: random.Random) -> float:
        padded = len(batch.requests) * max(len(r.ids) for r in batch.requests)
        seconds = (
            self.fixed
            + self.per_token * padded
            + self.per_step * max(steps)
            + self.per_row_step * sum(steps)
        )
        return seconds * (1 + self.jitter * (chance.random() * 2 - 1))


class Simulated(EchoEngine):
    def __init__(self, parallel: int) -> None:
        super().__init__()
        self.capabilities = Capabilities(
            name="simulated", precision="none", padded=True, parallel=parallel
        )


class Seen(Struct):
    """A call: when it came, what became of it. seconds: of its latency, None if refused."""

    at: float
    kind: str
    texts: int
    seconds: float | None
    refused: bool = False


class Simulation:
    """Arrivals against a machine."""

    def __init__(
        self,
        machine: Machine,
        *,
        slo_seconds: float | None = None,
        limits: BatchLimits | None = None,
        seed: int = 0,
    ) -> None:
        self.machine = machine
        self.bench = Bench(
            Simulated(machine.parallel),
            limits=limits or BatchLimits(max_batch_tokens=2048),
            slo_seconds=slo_seconds,
        )
        self.chance = random.Random(seed)
        self.seen: list[Seen] = []
        self.batches: list[tuple[float, int]] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._serials = count()
        self._queue: deque[tuple[Batch, list[int]]] = deque()
        self._computing = 0
        self._open: list[tuple[Seen, Call]] = []

    def request(self, ordinal: int, index: int = 0) -> Request:
        length = min(512, int(self.chance.lognormvariate(4.3, 0.5)))
        return Request(ordinal, index, [1] * max(1, length), Params(max_new_tokens=64))

    def at(self, moment: float, event: Callable[[], None]) -> None:
        heappush(self._events, (moment, next(self._serials), event))

    def users(
        self, rate: float, begin: float, end: float, *, kind: str = "", texts: int = 1
    ) -> None:
        """Calls at random moments."""
        moment = begin + self.chance.expovariate(rate)
        while moment < end:
            self.at(moment, lambda: self.arrive(kind, texts))
            moment += self.chance.expovariate(rate)

    def arrive(self, kind: str = "", texts: int = 1) -> None:
        now = self.bench.clock.now()
        seen = Seen(now, kind, texts, None)
        self.seen.append(seen)
        requests = [self.request(len(self.seen), index) for index in range(texts)]
        try:
            call = self.bench.call(requests)
        except Refused:
            seen.refused = True
            return
        call.done.add_done_callback(lambda _: self._answered(seen))
        self._fill()

    def _answered(self, seen: Seen) -> None:
        seen.seconds = self.bench.clock.now() - seen.at

    def _fill(self) -> None:
        ends = self.bench.ends
        while requests := ends.take(wait=False):
            batch = ends.wanted(numbered(tuple(sorted(requests, key=lambda r: -len(r.ids)))))
            assert batch is not None
            ends.started(batch)
            steps = [max(2, min(64, int(self.chance.gauss(20, 6)))) for _ in batch.requests]
            self._queue.append((batch, steps))
        self._compute()

    def _compute(self) -> None:
        while self._queue and self._computing < self.machine.parallel:
            batch, steps = self._queue.popleft()
            seconds = self.machine.seconds(batch, steps, self.chance)
            self.batches.append((seconds, len(batch.requests)))
            self._computing += 1
            done = self.bench.clock.now() + seconds
            self.at(done, lambda batch=batch, steps=steps: self._done(batch, steps))

    def _done(self, batch: Batch, steps: list[int]) -> None:
        self._computing -= 1
        self._compute()
        self.bench.ends.give(
            [
                Completion(request, (Generated([65] * (n - 1), FinishReason.EOS),))
                for request, n in zip(batch.requests, steps, strict=True)
            ]
        )
        self.bench.ends.done(batch)
        self._fill()

    def run(self) -> None:
        """Until nothing happens any more."""
        clock = self.bench.clock
        while self._events:
            moment, _, event = heappop(self._events)
            clock.advance(max(0.0, moment - clock.now()))
            event()

    def latencies(
        self, kind: str | None = None, begin: float = 0.0, end: float = 1e9
    ) -> list[float]:
        return sorted(
            s.seconds
            for s in self.seen
            if s.seconds is not None and begin <= s.at < end and kind in (None, s.kind)
        )


def percentile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))]
