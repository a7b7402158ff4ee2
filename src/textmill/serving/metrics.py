"""What the endpoint counts: for Prometheus since its start, for its page over the last minutes.

Nothing here holds a text, a key or an address of a client.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate

from msgspec import Struct

from textmill.batching.clock import Clock
from textmill.serving.calls import Timings

WINDOW_SECONDS = 300

_SECONDS = tuple(round(0.001 * 1.3**n, 6) for n in range(48))
"""Upper bounds of latencies, 1 ms to about 5 minutes, 30 % apart."""

_PROMETHEUS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_PROMETHEUS_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class BatchSeen(Struct, frozen=True, kw_only=True):
    """A batch that was computed."""

    rows: int
    input_tokens: int
    padded_tokens: int
    seconds: float


class Histogram:
    """Counts by upper bound, the last one infinite; and the sum."""

    def __init__(self, bounds: Iterable[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def total(self) -> int:
        """Values counted."""
        return sum(self.counts)


def quantile(bounds: tuple[float, ...], counts: list[int], share: float) -> float | None:
    """The upper bound under which this share of the values lies; None where there are none."""
    total = sum(counts)
    if not total:
        return None
    for bound, below in zip((*bounds, bounds[-1]), accumulate(counts), strict=True):
        if below >= share * total:
            return bound
    return bounds[-1]


class _Second:
    """What happened within one second."""

    def __init__(self, second: int) -> None:
        self.second = second
        self.calls = self.texts = self.refused = self.failed = self.tokens = 0
        self.batches = self.rows = 0
        self.latency = [0] * (len(_SECONDS) + 1)


class Metrics:
    """All counters of one endpoint. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._seconds: dict[int, _Second] = {}
        self._calls: dict[tuple[str, int], int] = {}
        self._refusals: dict[str, int] = {}
        self._counts = dict.fromkeys(_COUNTERS, 0.0)
        self._latency = Histogram(_PROMETHEUS_SECONDS)
        self._wait = Histogram(_PROMETHEUS_SECONDS)
        self._execution = Histogram(_PROMETHEUS_SECONDS)
        self._rows = Histogram(_PROMETHEUS_ROWS)

    def answered(self, route: str, status: int, timings: Timings | None, seconds: float) -> None:
        """A call over HTTP has its answer. timings: of one that reached the engine."""
        with self._lock:
            key = (route, status)
            self._calls[key] = self._calls.get(key, 0) + 1
            now = self._now()
            now.calls += 1
            now.failed += status >= 500
            if timings is None:
                return
            self._latency.observe(seconds)
            now.latency[bisect_left(_SECONDS, seconds)] += 1
            now.texts += timings.texts
            now.tokens += timings.output_tokens
            self._counts["texts"] += timings.texts
            self._counts["input_tokens"] += timings.input_tokens
            self._counts["output_tokens"] += timings.output_tokens

    def refused(self, code: str) -> None:
        """A call got a code instead of an answer."""
        with self._lock:
            self._refusals[code] = self._refusals.get(code, 0) + 1
            self._now().refused += 1

    def waited(self, seconds: float) -> None:
        """A request waited so long for its batch."""
        with self._lock:
            self._wait.observe(seconds)

    def batch(self, seen: BatchSeen) -> None:
        """A batch was computed."""
        with self._lock:
            self._execution.observe(seen.seconds)
            self._rows.observe(seen.rows)
            self._counts["batch_input_tokens"] += seen.input_tokens
            self._counts["batch_padded_tokens"] += seen.padded_tokens
            now = self._now()
            now.batches += 1
            now.rows += seen.rows

    def split(self) -> None:
        """A batch failed and was split."""
        with self._lock:
            self._counts["splits"] += 1

    def departed(self, requests: int) -> None:
        """So many requests were dropped before they were computed: nobody waits for them."""
        with self._lock:
            self._counts["departed"] += requests

    def broke(self) -> None:
        """The loop broke and was started again."""
        with self._lock:
            self._counts["restarts"] += 1

    def prometheus(self, gauges: Mapping[str, float]) -> str:
        """All of it in Prometheus' text format. gauges: what stands now, by name."""
        with self._lock:
            lines = [*_counter("calls", "HTTP calls by route and status", self._labelled_calls())]
            refusals = {f'{{code="{code}"}}': n for code, n in sorted(self._refusals.items())}
            lines += _counter("refusals", "calls without an answer by code", refusals)
            for name, text in _COUNTERS.items():
                lines += _counter(name, text, {"": self._counts[name]})
            lines += _histogram("call_seconds", "from arrival to answer", self._latency)
            lines += _histogram("wait_seconds", "of a text, before its batch", self._wait)
            lines += _histogram("batch_seconds", "of the engine, for one batch", self._execution)
            lines += _histogram("batch_rows", "texts in one batch", self._rows)
        for name, value in gauges.items():
            lines += [f"# TYPE textmill_{name} gauge", f"textmill_{name} {value:g}"]
        return "\n".join(lines) + "\n"

    def window(self) -> dict[str, list[float | None]]:
        """The last minutes, second by second, oldest first: for the page."""
        with self._lock:
            now = int(self._clock.now())
            span = range(now - WINDOW_SECONDS + 1, now + 1)
            empty = _Second(0)
            seconds = [self._seconds.get(second, empty) for second in span]
            return {
                "texts": [float(s.texts) for s in seconds],
                "tokens": [float(s.tokens) for s in seconds],
                "refused": [float(s.refused) for s in seconds],
                "batch_rows": [s.rows / s.batches if s.batches else None for s in seconds],
                "p50": [quantile(_SECONDS, s.latency, 0.5) for s in seconds],
                "p95": [quantile(_SECONDS, s.latency, 0.95) for s in seconds],
            }

    def lately(self, seconds: int = 60) -> dict[str, float | None]:
        """Figures over the last seconds together."""
        with self._lock:
            first = int(self._clock.now()) - seconds
            some = [s for second, s in self._seconds.items() if second > first]
            latency = [sum(counts) for counts in zip(*(s.latency for s in some), strict=True)]
            batches = sum(s.batches for s in some)
            return {
                "texts_per_second": sum(s.texts for s in some) / seconds,
                "tokens_per_second": sum(s.tokens for s in some) / seconds,
                "refused": float(sum(s.refused for s in some)),
                "failed": float(sum(s.failed for s in some)),
                "batch_rows": sum(s.rows for s in some) / batches if batches else None,
                "p50": quantile(_SECONDS, latency, 0.5) if latency else None,
                "p95": quantile(_SECONDS, latency, 0.95) if latency else None,
            }

    def _labelled_calls(self) -> dict[str, float]:
        return {
            f'{{route="{route}",status="{status}"}}': n
            for (route, status), n in sorted(self._calls.items())
        }

    def _now(self) -> _Second:
        second = int(self._clock.now())
        found = self._seconds.get(second)
        if found is None:
            found = self._seconds[second] = _Second(second)
            for old in [s for s in self._seconds if s <= second - WINDOW_SECONDS]:
                del self._seconds[old]
        return found


_COUNTERS = {
    "texts": "texts answered or failed",
    "input_tokens": "tokens read",
    "output_tokens": "tokens written",
    "batch_input_tokens": "tokens handed to the engine",
    "batch_padded_tokens": "the same with padding",
    "splits": "batches that failed and were split",
    "departed": "texts that were dropped before they were computed, their clients gone",
    "restarts": "times the loop broke and was started again",
}


def _counter(name: str, text: str, values: Mapping[str, float]) -> list[str]:
    metric = f"textmill_{name}_total"
    head = [f"# HELP {metric} {text}", f"# TYPE {metric} counter"]
    return head + [f"{metric}{labels} {value:g}" for labels, value in values.items()]


def _histogram(name: str, text: str, histogram: Histogram) -> list[str]:
    metric = f"textmill_{name}"
    lines = [f"# HELP {metric} {text}", f"# TYPE {metric} histogram"]
    bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
    for bound, below in zip(bounds, accumulate(histogram.counts), strict=True):
        lines.append(f'{metric}_bucket{{le="{bound}"}} {below}')
    return [*lines, f"{metric}_sum {histogram.sum:.6f}", f"{metric}_count {histogram.total}"]
