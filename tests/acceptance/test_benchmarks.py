"""Every benchmark runs, in its smallest size, and prints its figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.command import environment

FOLDER = Path(__file__).parents[2] / "benchmarks"
LIBRARIES = {"common.py", "plotting.py"}
SMALLEST = {
    "durability.py": "--records 8 --rounds 1 --folder .",
    "endpoint.py": "--records 60 --rounds 1",
    "endpoint_overload.py": "--records 60 --seconds 1",
    "endpoint_rivals.py": "--records 64 --rounds 1 --seconds 1 --multiples 0.5",
    "engines.py": "--shapes demo --texts 16 --rounds 1",
    "formats.py": "200",
    "isolation.py": "--records 8 --rounds 1",
    "mixing.py": "--records 8 --rounds 1",
    "offline.py": "--records 8 --rounds 1",
    "pipeline.py": "--records 100 --rounds 1",
    "quality.py": "--records 4",
    "rouge.py": "--pairs 40 --rival-pairs 10 --rounds 1",
    "scale.py": "--sizes 100 300 --rounds 1 --points points.jsonl --plot plot.svg",
}
FIGURES = {
    "durability.py": "durable_to_nothing",
    "endpoint.py": "saturation",
    "endpoint_overload.py": "ok_per_s",
    "endpoint_rivals.py": "goodput_at_0.5",
    "engines.py": "openvino int8 / ct2 int8 processor",
    "isolation.py": "restart_seconds",
    "mixing.py": "refill, times faster",
    "offline.py": "times_faster_than",
    "pipeline.py": "records_per_second",
    "rouge.py": "with_baseline_from_files_s",
    "scale.py": "medians",
}
"""What is among the figures of those that print JSON."""
LINES = {"formats.py": ("µs per record", 22), "quality.py": ("ROUGE-L 0.", 2)}
"""What stands in how many lines of the others, at least."""


def test_every_benchmark_is_run_here():
    assert {path.name for path in FOLDER.glob("*.py")} - LIBRARIES == SMALLEST.keys()
    assert FIGURES.keys() | LINES.keys() == SMALLEST.keys()


@pytest.mark.full
@pytest.mark.parametrize("name", SMALLEST)
def test_a_benchmark_prints_its_figures(name, tmp_path):
    if name in {"engines.py", "offline.py"}:
        pytest.importorskip("transformers", reason="a rival that is not installed")
    command = [sys.executable, FOLDER / name, *SMALLEST[name].split()]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(PYTHONWARNINGS="default"),
        capture_output=True,
        timeout=300,
        check=False,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == 0, err
    if name in LINES:
        text, count = LINES[name]
        assert len([line for line in out.splitlines() if text in line]) >= count
    else:
        found = json.loads(out if name == "rouge.py" else out.splitlines()[-1])
        assert found[FIGURES[name]] not in (None, {}, [])
    if name == "endpoint_rivals.py":
        for rival in ("litserve", "bentoml"):
            assert (rival in found["goodput_at_0.5"]) != (f"{rival} is not installed" in err)


@pytest.mark.full
def test_a_job_ten_times_as_large_costs_no_more_for_each_record_and_little_more_memory(tmp_path):
    """The ten million of `docs/performance.md` take minutes; a slope would show here already.

    Of random ids 16 bytes each are remembered: 160 MB of ten million.
    """
    sizes = ("40000", "400000")
    command = [sys.executable, FOLDER / "scale.py", "--rounds", "1", "--sizes", *sizes]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    for kind, rows in json.loads(done.stdout.splitlines()[-1])["medians"].items():
        few, many = (rows[size] for size in sizes)
        assert many["cpu_us_per_record"] < 1.3 * few["cpu_us_per_record"], kind
        assert many["peak_mb"] < 140, kind


@pytest.mark.full
@pytest.mark.parametrize("stemmer", [[], ["--stemmer"]])
def test_rouge_is_ten_times_as_fast_as_rouge_score_in_the_same_run(stemmer):
    """On texts of CNN/DailyMail's size, all four types; the ratio of the medians of three."""
    size = ["--pairs", "500", "--rival-pairs", "500", "--rounds", "3"]
    done = subprocess.run(
        [sys.executable, FOLDER / "rouge.py", *size, *stemmer],
        env=environment(),
        capture_output=True,
        timeout=300,
        check=True,
    )
    assert json.loads(done.stdout)["ratio"] >= 10
