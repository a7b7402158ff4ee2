"""Everything but the model: records through the echo engine, in a process of its own.

    python benchmarks/pipeline.py [--records 1000000] [--rounds 3]

Counts a whole job: digests, reading, scheduling, joining, writing, syncing, committing.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from common import report

PROGRAM = """
import sys, textmill
job = textmill.run(sys.argv[1], sys.argv[2], engine="echo", fresh=True)
assert job.counts.ok == int(sys.argv[3])
print(job.manifest["run"]["seconds"], open("/proc/self/status").read())
"""


def main() -> None:
    """Run and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    seconds, peaks = [], []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.jsonl"
        with source.open("w") as file:
            for i in range(options.records):
                file.write(json.dumps({"id": i, "text_inputs": f"short record number {i}"}) + "\n")
        for _ in range(options.rounds):
            command = [sys.executable, "-c", PROGRAM, source, Path(folder) / "out.jsonl"]
            done = subprocess.run(
                [*command, str(options.records)], capture_output=True, text=True, check=True
            )
            seconds.append(float(done.stdout.split()[0]))
            peaks.append(int(re.search(r"VmHWM:\s+(\d+)", done.stdout)[1]) / 1000)
    median = statistics.median(seconds)
    report(
        "pipeline",
        {
            "records": options.records,
            "seconds": median,
            "records_per_second": round(options.records / median),
            "peak_mb": round(max(peaks)),
        },
    )


if __name__ == "__main__":
    main()
