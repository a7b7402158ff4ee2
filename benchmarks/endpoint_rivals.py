"""Goodput of the endpoint against LitServe and BentoML around the same engine, at the same load.

    python benchmarks/endpoint_rivals.py --python RIVALS [--target 0.5] [--seconds 15] [--rounds 3]
                                         [--multiples 0.5 1 …] [--records 600]

RIVALS is an interpreter that has litserve, bentoml and what textmill needs; a rival that it lacks
is left out, which is said. Calls with one text each come at random (Poisson) at given multiples of
what the engine bears; an answer counts if its status is 200 and it comes within the target. The
rivals' settings are searched first, at the rate at which the engine is just full, and the best of
each are taken. Servers take turns; medians.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from common import report
from endpoint import bodies, over_http, records

from textmill.serving.load.arrivals import poisson
from textmill.serving.load.process import served
from textmill.serving.load.wire import Client, Target

HERE = Path(__file__).parent
MULTIPLES = (0.5, 0.8, 1.0, 1.5)
LITSERVE = [(1, 16), (1, 64), (2, 16), (2, 32)]
BENTOML = [(1, 16), (1, 64), (2, 16), (2, 32)]
_START_S = 90.0

Server = Callable[[], AbstractContextManager[str]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def process(command: list[str], env: dict[str, str], port: int, body: bytes) -> Iterator[str]:
    """A server that answers `body`, and its end with all its children."""
    url = f"http://127.0.0.1:{port}"
    running = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(HERE.parent / "src"), **env},
        cwd=HERE / "rivals",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + _START_S
        while not _answers(url, body):
            assert running.poll() is None, f"ended: {command}"
            assert time.monotonic() < deadline, f"no answer: {command}"
            time.sleep(0.5)
        yield url
    finally:
        os.killpg(running.pid, 15)
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, 9)
            running.wait()


def _answers(url: str, body: bytes) -> bool:
    try:
        over_http(url, [body], 1)
    except (OSError, EOFError, AssertionError):
        return False
    return True


def litserve(python: str, workers: int, rows: int, body: bytes) -> Server:
    def start() -> AbstractContextManager[str]:
        port = free_port()
        command = [python, "litserve_app.py", str(port), str(workers), str(rows)]
        return process(command, {}, port, body)

    return start


def bentoml(python: str, workers: int, rows: int, target_s: float, body: bytes) -> Server:
    def start() -> AbstractContextManager[str]:
        port = free_port()
        command = [
            *(python, "-m", "bentoml", "serve", "bentoml_app:Summaries"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ]
        env = {
            "BENTO_ROWS": str(rows),
            "BENTO_WORKERS": str(workers),
            "BENTO_TARGET_MS": str(int(1000 * target_s)),
            "BENTOML_DO_NOT_TRACK": "True",
        }
        return process(command, env, port, body)

    return start


def is_installed(package: str, python: str) -> bool:
    """Whether the interpreter has it; says so where it has not."""
    found = subprocess.run([python, "-c", f"import {package}"], capture_output=True, check=False)
    if found.returncode:
        print(f"{package} is not installed for {python}: left out", file=sys.stderr)
    return not found.returncode


def goodput(
    url: str, rate: float, seconds: float, target_s: float, calls: list[bytes], seed: int
) -> float:
    """Answers within the target, a second."""
    latencies: list[float] = []

    async def main() -> None:
        client = Client(Target.of(url, path="/invocations"))
        loop = asyncio.get_running_loop()
        began = loop.time()

        async def one(due: float, body: bytes) -> None:
            try:
                answer = await client.post(body)
            except (OSError, EOFError):
                return
            if answer.status == 200:
                latencies.append(loop.time() - due)

        tasks = []
        for n, moment in enumerate(poisson(rate, seconds, seed)):
            await asyncio.sleep(max(0.0, began + moment - loop.time()))
            tasks.append(asyncio.create_task(one(began + moment, calls[n % len(calls)])))
        await asyncio.gather(*tasks)
        await client.close()

    asyncio.run(main())
    return sum(seconds <= target_s for seconds in latencies) / seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--target", type=float, default=0.5)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--multiples", type=float, nargs="*", default=MULTIPLES)
    parser.add_argument("--records", type=int, default=600)
    asked = parser.parse_args()
    rows = records(asked.records)
    ours = bodies(rows)
    lists = bodies([{"text_inputs": [row["text_inputs"]]} for row in rows])
    calls = {"textmill": ours, "litserve": ours, "bentoml": lists}

    with served("demo", None) as url:
        over_http(url, ours[:100], 64)
        elapsed, _ = over_http(url, ours, 64)
    full = len(ours) / elapsed

    def measure(name: str, server: Server, rate: float, seed: int) -> float:
        with server() as url:
            over_http(url, calls[name][:64], 16)  # batching that adapts has to see some load
            found = goodput(url, rate, asked.seconds, asked.target, calls[name], seed)
        print(f"{name:<10} {rate:6.0f}/s offered  {found:6.1f}/s in time", file=sys.stderr)
        return found

    def best(name: str, servers: dict[tuple[int, int], Server]) -> Server:
        found = {key: measure(name, server, full, 0) for key, server in servers.items()}
        settings[name] = max(found, key=lambda key: found[key])
        return servers[settings[name]]

    settings: dict[str, tuple[int, int]] = {}
    python, target = asked.python, asked.target
    rivals: dict[str, Server] = {"textmill": lambda: served("demo", target)}
    if is_installed("litserve", python):
        servers = {k: litserve(python, *k, ours[0]) for k in LITSERVE}
        rivals["litserve"] = best("litserve", servers)
    if is_installed("bentoml", python):
        servers = {k: bentoml(python, *k, target, lists[0]) for k in BENTOML}
        rivals["bentoml"] = best("bentoml", servers)
    figures: dict[str, object] = {
        "target_s": target,
        "engine_full_per_s": round(full, 1),
        "settings (workers, rows)": settings,
    }
    for multiple in asked.multiples:
        found: dict[str, list[float]] = {name: [] for name in rivals}
        for number in range(asked.rounds):
            for name, server in rivals.items():
                found[name].append(measure(name, server, multiple * full, number + 1))
        medians = {name: statistics.median(each) for name, each in found.items()}
        figures[f"goodput_at_{multiple:g}"] = {n: round(each, 1) for n, each in medians.items()}
        ours_s = medians.pop("textmill")
        figures[f"ratios_at_{multiple:g}"] = {
            name: round(ours_s / each, 2) if each else None for name, each in medians.items()
        }
    report("endpoint_rivals", figures)


if __name__ == "__main__":
    main()
