"""What every benchmark needs: the machine's facts, rounds in turn, medians, one JSON line out."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

ASSETS = Path(__file__).parents[1] / "src" / "textmill" / "assets"
DATA = ASSETS / "demo" / "data" / "packages.jsonl"
MODEL = ASSETS / "demo" / "model"
PROMPT = "Briefly summarize this text: "


def machine() -> dict[str, object]:
    """Processor, cores and versions: a figure without them says nothing."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
    }


def alternate(rivals: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each rival in each round, the rivals in turn so that drift hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for number in range(rounds):
        for name, call in rivals.items():
            started = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - started)
            print(f"round {number + 1}  {name:<28} {seconds[name][-1]:8.2f} s", file=sys.stderr)
    return seconds


def ratio(seconds: dict[str, list[float]], ours: str, theirs: str) -> float:
    """How many times faster `ours` is: the median of the rounds' ratios."""
    pairs = zip(seconds[theirs], seconds[ours], strict=True)
    return statistics.median(other / own for other, own in pairs)


def report(name: str, figures: dict[str, object]) -> None:
    """One line of JSON."""
    print(json.dumps({"benchmark": name, **machine(), **figures}))


def read_records() -> list[dict]:
    """All demo records."""
    return [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]
