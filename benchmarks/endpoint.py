"""The endpoint against the same model without it: what HTTP and sharing batches cost and win.

    python benchmarks/endpoint.py [--records 600] [--rounds 3]

Three ratios, each within one run, the demo model in int8:
- alone: one call at a time over HTTP against `load(model).generate([text])`, medians
- together: 64 clients with one text each against one such client, throughput
- saturation: JSON Lines of 50 records from 8 clients against `textmill.run` on the same records
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from common import DATA, PROMPT, report

import textmill
from textmill.serving.load.process import served
from textmill.serving.load.wire import Client, Target

LENGTH = {"max_new_tokens": 24}
TOGETHER = 64


def records(count: int) -> list[dict[str, object]]:
    with DATA.open(encoding="utf-8") as lines:
        rows = [json.loads(next(lines)) for _ in range(count)]
    return [{"id": n, "text_inputs": PROMPT + r["document"], **LENGTH} for n, r in enumerate(rows)]


def bodies(rows: Sequence[dict[str, object]]) -> list[bytes]:
    return [json.dumps(row).encode() for row in rows]


async def closed_loop(client: Client, calls: Sequence[bytes], clients: int) -> list[float]:
    """Latencies of calls by clients that wait for each answer."""
    waiting, seconds = list(calls), []

    async def one() -> None:
        while waiting:
            body = waiting.pop()
            began = time.perf_counter()
            answer = await client.post(body)
            seconds.append(time.perf_counter() - began)
            assert answer.status == 200, answer.body[:200]

    await asyncio.gather(*(one() for _ in range(clients)))
    return seconds


def over_http(
    url: str, calls: Sequence[bytes], clients: int, *, kind: str = "json"
) -> tuple[float, list[float]]:
    """Seconds of all, and of each."""

    async def main() -> tuple[float, list[float]]:
        target = Target.of(url, path="/invocations")
        if kind == "jsonlines":
            headers = target.headers.replace("application/json", "application/jsonlines")
            target = Target(host=target.host, port=target.port, path=target.path, headers=headers)
        client = Client(target)
        began = time.perf_counter()
        each = await closed_loop(client, calls, clients)
        elapsed = time.perf_counter() - began
        await client.close()
        return elapsed, each

    return asyncio.run(main())


def alone(url: str, rows: Sequence[dict[str, object]]) -> tuple[float, float]:
    """Median seconds of a call: bare, and over HTTP, in turn."""
    bare, http = [], []
    with textmill.load("demo") as model:
        for row in rows:
            began = time.perf_counter()
            model.generate([str(row["text_inputs"])], **LENGTH)
            bare.append(time.perf_counter() - began)
            _, (seconds,) = over_http(url, bodies([row]), 1)
            http.append(seconds)
    return statistics.median(bare), statistics.median(http)


def run_job(rows: Sequence[dict[str, object]]) -> float:
    """Seconds that `textmill run` takes, without the loading of the model."""
    with tempfile.TemporaryDirectory() as folder:
        job = textmill.run(rows, Path(folder) / "out.jsonl", model="demo")
        return float(job.manifest["run"]["seconds"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rows = records(arguments.records)
    calls = bodies(rows)
    lines = [b"\n".join(calls[n : n + 50]) for n in range(0, len(calls), 50)]
    ratios: dict[str, list[float]] = {"added_ms": [], "together": [], "p95_s": [], "saturation": []}
    with served("demo", None) as url:
        for number in range(arguments.rounds):
            bare, http = alone(url, rows[:60])
            some = calls[:100]
            one, _ = over_http(url, some, 1)
            many, each = over_http(url, calls, TOGETHER)
            saturated, _ = over_http(url, lines, 8, kind="jsonlines")
            job = run_job(rows)
            ratios["added_ms"].append(1000 * (http - bare))
            ratios["together"].append((len(calls) / many) / (len(some) / one))
            ratios["p95_s"].append(sorted(each)[int(0.95 * len(each))])
            ratios["saturation"].append(job / saturated)
            shown = {name: round(values[-1], 3) for name, values in ratios.items()}
            print(f"round {number + 1}  {shown}", file=sys.stderr)
    figures: dict[str, object] = {n: round(statistics.median(v), 3) for n, v in ratios.items()}
    report("endpoint", figures)


if __name__ == "__main__":
    main()
