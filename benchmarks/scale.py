"""Cost and memory of a job from ten thousand to ten million records: everything but the model.

    python benchmarks/scale.py [--rounds 3] [--ten-million] [--points FILE] [--plot FILE]

Short records through the echo engine, each job in a process of its own: digest of the input,
reading, scheduling, joining, writing, syncing, committing. Ids are whole numbers in order, or
random strings of 32 hexadecimal digits (seed 0), of which 16 bytes each have to be remembered.
Python's start and the imports are not counted: a job of ten records runs first.

Prints one line of JSON with the medians, and draws them. --points: a file that keeps what was
measured, so that the long runs can be made once; the plot shows all that it holds.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from common import report
from plotting import Curve, Panel, draw

SIZES = (10_000, 100_000, 1_000_000)
MOST = 10_000_000
KINDS = {"integers": "whole numbers in order", "hex": "random strings of 32 digits"}
MAX_PEAK_MB = 300
SAMPLE_SECONDS = 0.05

PROGRAM = """
import sys, time, textmill
few, source, output, count = sys.argv[1:]
textmill.run(few, output, engine="echo", fresh=True)
wall, cpu = time.perf_counter(), time.process_time()
job = textmill.run(source, output, engine="echo", fresh=True)
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
assert job.counts.ok == int(count), job.counts
print(wall, cpu)
"""


def write_input(path: Path, kind: str, count: int) -> None:
    """Records of one short text each."""
    rng = random.Random(0)
    with path.open("w") as file:
        for number in range(count):
            id_ = number if kind == "integers" else f"{rng.getrandbits(128):032x}"
            row = {"id": id_, "text_inputs": f"short record number {number}"}
            file.write(json.dumps(row) + "\n")


class MemoryWatch(threading.Thread):
    """The highest sum of the peaks (VmHWM) of a process and all that come from it, while it runs.

    The sum of peaks is no less than the peak of the sum.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._over = pid, threading.Event()
        self.peak_mb = 0.0

    def run(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            total = sum(peak_kb(pid) for pid in family(self._pid))
            self.peak_mb = max(self.peak_mb, total / 1000)

    def stop(self) -> float:
        """No more samples; returns the peak."""
        self._over.set()
        self.join()
        return self.peak_mb


def family(pid: int) -> Iterator[int]:
    """The process and its descendants."""
    yield pid
    try:
        tasks = [
            task.joinpath("children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()
        ]
    except OSError:  # it has ended
        return
    for child in " ".join(tasks).split():
        yield from family(int(child))


def peak_kb(pid: int) -> int:
    """VmHWM of a process; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def measure(few: Path, source: Path, kind: str, count: int) -> dict[str, object]:
    """One job: seconds, processor seconds and peak memory of all its processes."""
    output = source.with_name("out.jsonl")
    command = [sys.executable, "-c", PROGRAM, few, source, output, str(count)]
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE) as process:
        watch = MemoryWatch(process.pid)
        watch.start()
        said, _ = process.communicate()
        peak_mb = watch.stop()
    if process.returncode:
        raise SystemExit(f"the job ended with {process.returncode}")
    wall, cpu = map(float, said.split())
    point = {"ids": kind, "records": count, "seconds": wall, "cpu_seconds": cpu, "peak_mb": peak_mb}
    print(json.dumps(point), file=sys.stderr)
    return point


def measure_all(sizes: list[int], rounds: int, points: Path | None) -> list[dict]:
    """All sizes and kinds of ids in turn, round after round; the largest only once."""
    found = [json.loads(line) for line in points.read_text().splitlines()] if points else []
    with tempfile.TemporaryDirectory() as folder:
        few = Path(folder, "few.jsonl")
        write_input(few, "integers", 10)
        for number in range(rounds):
            for size in sizes if number == 0 else [size for size in sizes if size < MOST]:
                for kind in KINDS:
                    source = Path(folder, "in.jsonl")
                    write_input(source, kind, size)
                    found.append(measure(few, source, kind, size))
                    if points:
                        points.write_text("".join(json.dumps(point) + "\n" for point in found))
    return found


def medians(points: list[dict]) -> dict[str, dict[int, dict[str, float]]]:
    """For each kind of ids and each size: microseconds a record, records a second, megabytes."""
    table: dict[str, dict[int, dict[str, float]]] = {}
    for kind, size in sorted({(point["ids"], point["records"]) for point in points}):
        same = [p for p in points if (p["ids"], p["records"]) == (kind, size)]
        middle = {
            key: statistics.median(p[key] for p in same) for key in ("seconds", "cpu_seconds")
        }
        table.setdefault(kind, {})[size] = {
            "runs": len(same),
            "cpu_us_per_record": round(middle["cpu_seconds"] / size * 1e6, 2),
            "us_per_record": round(middle["seconds"] / size * 1e6, 2),
            "records_per_second": round(size / middle["seconds"]),
            "peak_mb": round(max(p["peak_mb"] for p in same)),
        }
    return table


def plot(table: dict[str, dict[int, dict[str, float]]]) -> str:
    """Two panels: processor time per record, and peak memory."""

    def curves(key: str) -> list[Curve]:
        return [
            Curve(KINDS[kind], [(size, row[key]) for size, row in rows.items()])
            for kind, rows in table.items()
        ]

    return draw(
        "records in the job",
        [
            Panel("processor time per record, µs", curves("cpu_us_per_record"), top=20),
            Panel("peak memory, MB", curves("peak_mb"), top=350, limit=MAX_PEAK_MB),
        ],
    )


def main() -> None:
    """Run, print one line of JSON, draw."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--ten-million", action="store_true")
    parser.add_argument("--points", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    sizes = options.sizes + [MOST] * options.ten_million
    if options.points:
        options.points.touch()
    table = medians(measure_all(sizes, options.rounds, options.points))
    if options.plot:
        options.plot.write_text(plot(table))
    report("scale", {"medians": table})


if __name__ == "__main__":
    main()
