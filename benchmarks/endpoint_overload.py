"""The endpoint at several times what it can do, and after: who is let in, and when.

    python benchmarks/endpoint_overload.py [--target 1.0] [--times 3] [--seconds 60] [--records 600]

Calls with one text each come at random (Poisson) at a multiple of what the endpoint answers when
64 clients ask without a pause; the demo model in int8. Client and server share the machine, so
`late_p99_ms` tells how late the client itself was: that much of every latency is its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import time
from pathlib import Path

from common import report
from endpoint import TOGETHER, bodies, over_http, records
from msgspec import Struct

from textmill.serving.load.arrivals import poisson
from textmill.serving.load.process import served
from textmill.serving.load.wire import Client, Target

_RECOVERED_CALLS = 3


class Called(Struct, frozen=True):
    """One call: when it was due, made and answered, in seconds; 0 is the status of a failure."""

    due: float
    made: float
    answered: float
    status: int


async def load(client: Client, rate: float, seconds: float, calls: list[bytes]) -> list[Called]:
    """Calls at a rate, whether or not they are answered."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def one(due: float, body: bytes) -> Called:
        made, status = loop.time(), 0
        with contextlib.suppress(OSError, EOFError):
            status = (await client.post(body)).status
        return Called(due, made, loop.time(), status)

    tasks = []
    for n, moment in enumerate(poisson(rate, seconds, 1)):
        await asyncio.sleep(max(0.0, began + moment - loop.time()))
        tasks.append(asyncio.create_task(one(began + moment, calls[n % len(calls)])))
    return await asyncio.gather(*tasks)


async def recovery(client: Client, target_s: float, body: bytes) -> float:
    """Seconds until calls, one after the other, are let in and answered in time again."""
    began = time.perf_counter()
    kept = 0
    while True:
        made = time.perf_counter()
        answer = await client.post(body)
        done = time.perf_counter()
        kept = kept + 1 if answer.status == 200 and done - made <= target_s else 0
        if kept == 1:
            recovered = made - began
        if kept == _RECOVERED_CALLS:
            return recovered
        await asyncio.sleep(0.02)


def resident_mb(pid: int) -> float:
    """Of a process and of its children."""
    found = 0.0
    for one in (pid, *children(pid)):
        status = Path(f"/proc/{one}/status").read_text()
        found += int(status.split("VmRSS:")[1].split()[0]) / 1024
    return round(found, 1)


def children(pid: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def share(values: list[float], of: float) -> float | None:
    """A percentile."""
    return round(sorted(values)[int(of * len(values))], 4) if values else None


def figures_of(found: list[Called], seconds: float, target_s: float) -> dict[str, object]:
    taken = [one for one in found if one.status == 200]
    from_due = [one.answered - one.due for one in taken]
    refused = [1000 * (one.answered - one.made) for one in found if one.status == 429]
    return {
        "sent": len(found),
        "ok_per_s": round(len(taken) / seconds, 1),
        "in_time_share": round(sum(s <= target_s for s in from_due) / max(1, len(taken)), 4),
        "accepted_p50_s": share(from_due, 0.5),
        "accepted_p99_s": share(from_due, 0.99),
        "accepted_p99_since_made_s": share([one.answered - one.made for one in taken], 0.99),
        "refused": len(refused),
        "refusal_p50_ms": share(refused, 0.5),
        "refusal_p99_ms": share(refused, 0.99),
        "failed": len(found) - len(taken) - len(refused),
        "late_p99_ms": share([1000 * (one.made - one.due) for one in found], 0.99),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", type=float, default=1.0)
    parser.add_argument("--times", type=float, default=3.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--records", type=int, default=600)
    asked = parser.parse_args()
    calls = bodies(records(asked.records))
    with served("demo", None) as url:
        over_http(url, calls[:100], TOGETHER)
        elapsed, _ = over_http(url, calls, TOGETHER)
    most = len(calls) / elapsed

    async def run(url: str, pid: int) -> dict[str, object]:
        client = Client(Target.of(url, path="/invocations"))
        await load(client, most, min(5.0, asked.seconds), calls)
        await load(client, asked.times * most, min(5.0, asked.seconds), calls)
        before = resident_mb(pid)
        found = await load(client, asked.times * most, asked.seconds, calls)
        recovered = await recovery(client, asked.target, calls[0])
        after = resident_mb(pid)
        await client.close()
        return {
            **figures_of(found, asked.seconds, asked.target),
            "recovery_s": round(recovered, 3),
            "resident_mb": [before, after],
        }

    with served("demo", asked.target) as url:
        found = asyncio.run(run(url, children(os.getpid())[-1]))
    rate = {"target_s": asked.target, "most_per_s": round(most, 1), "times": asked.times}
    report("endpoint_overload", {**rate, **found})


if __name__ == "__main__":
    main()
