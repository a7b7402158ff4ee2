"""The openvino engine against ct2 in one run, in turn, over the five shapes of the goal.

    python benchmarks/engines.py [--shapes demo small-800-50 …] [--rounds 3] [--threads N]

Both run as jobs run them: in a process of their own, driven batch by batch, `--threads` threads
each. Reported are wall and processor seconds; on a machine that is busy with other things only the
second say something. FLAN-T5-small and -base have random weights in the published shapes; their
texts are random tokens, of a length that varies by a tenth, and have exactly the given output
length. The demo model has its own texts and ends where it ends. ct2 runs in int8 with one-thread
workers at the best of three token budgets, which is searched first.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from common import MODEL, PROMPT, read_records, report
from msgspec import Struct

from textmill.batching.scheduler import BatchLimits, numbered, plan_batches
from textmill.core import Completion, Params, Request
from textmill.engines.isolated import IsolatedEngine
from textmill.engines.loading import load_model

FLAN = {
    "small": {"d_model": 512, "d_kv": 64, "d_ff": 1024, "num_layers": 8, "num_heads": 6},
    "base": {"d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12},
}
CT2_BUDGETS = (1024, 2048, 4096)


class Shape(Struct, frozen=True):
    """What is computed. count: texts of a round."""

    model: str
    tokens_in: int
    tokens_out: int
    count: int


SHAPES = {
    "demo": Shape("demo", 0, 32, 600),
    "small-800-50": Shape("small", 800, 50, 48),
    "small-30-30": Shape("small", 30, 30, 256),
    "base-800-50": Shape("base", 800, 50, 32),
    "base-30-30": Shape("base", 30, 30, 128),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--precisions", nargs="+", default=["int8"])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.shapes:
            compare(name, SHAPES[name], arguments, Path(folder))


def compare(name: str, shape: Shape, arguments: argparse.Namespace, work: Path) -> None:
    folder = MODEL if shape.model == "demo" else random_flan(shape.model, work)
    requests = demo_requests(shape) if shape.model == "demo" else random_requests(shape)
    names = ["ct2:int8", *(f"openvino:{precision}" for precision in arguments.precisions)]
    engines = {name: open_engine(name, folder, arguments.threads, work) for name in names}
    budget = best_budget(engines["ct2:int8"], requests)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for number in range(arguments.rounds + 1):
        for rival, engine in engines.items():
            took = run(engine, requests, budget if rival.startswith("ct2") else None)
            print(
                f"{name} {rival:18} {took[0]:7.2f} s, {took[1]:7.2f} s of processor",
                file=sys.stderr,
            )
            if number:  # the first round prepares shapes
                seconds[rival].append(took)
    for engine in engines.values():
        engine.close()
    report("engines", {"shape": name, "ct2_budget": budget} | figures(seconds, names))


def figures(seconds: dict[str, list[tuple[float, float]]], names: list[str]) -> dict[str, object]:
    """Medians, and how many times faster each is than ct2: medians of the rounds' ratios."""
    found: dict[str, object] = {}
    for name in names:
        for n, kind in enumerate(("wall", "processor")):
            ratios = [a[n] / b[n] for a, b in zip(seconds[names[0]], seconds[name], strict=True)]
            found[f"{name} {kind} seconds"] = round(
                statistics.median(s[n] for s in seconds[name]), 2
            )
            found[f"{name} {kind} ratio"] = round(statistics.median(ratios), 2)
    return found


def open_engine(name: str, folder: Path, threads: int, work: Path) -> IsolatedEngine:
    engine, precision = name.split(":")
    loaded = load_model(
        folder, engine=engine, precision=precision, threads=threads, cache_dir=work / "cache"
    ).engine
    assert isinstance(loaded, IsolatedEngine)
    return loaded


def best_budget(engine: IsolatedEngine, requests: list[Request]) -> int:
    some = requests[:: max(1, len(requests) // 64)]
    return min(CT2_BUDGETS, key=lambda budget: min(run(engine, some, budget)[1] for _ in range(2)))


def run(engine: IsolatedEngine, requests: list[Request], budget: int | None) -> tuple[float, float]:
    """Wall and processor seconds of all requests."""
    able = engine.capabilities
    limits = BatchLimits(
        max_batch_tokens=budget or able.max_batch_tokens, max_batch_rows=able.max_batch_rows
    )
    batches = [
        numbered(batch)
        for batch in plan_batches(list(requests), limits, engine.group, padded=able.padded)
    ]
    left = len(requests)
    wall, processor = time.perf_counter(), processor_seconds(engine)
    while batches or left:
        while batches and engine.room() > 0:
            engine.add(batches.pop(0))
        outcomes = engine.step()
        assert all(isinstance(outcome, Completion) for outcome in outcomes)
        left -= len(outcomes)
    return time.perf_counter() - wall, processor_seconds(engine) - processor


def processor_seconds(engine: IsolatedEngine) -> float:
    """Of the engine's process and of this one."""
    fields = Path(f"/proc/{engine.pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK") + time.process_time()


def demo_requests(shape: Shape) -> list[Request]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    params = Params(max_new_tokens=shape.tokens_out)
    records = read_records()[: shape.count]
    encoded = tokenizer.encode_batch([PROMPT + record["document"] for record in records])
    return [Request(n, 0, text.ids, params) for n, text in enumerate(encoded)]


def random_requests(shape: Shape) -> list[Request]:
    rng = random.Random(0)
    params = Params(max_new_tokens=shape.tokens_out, min_new_tokens=shape.tokens_out)

    def text() -> list[int]:
        length = max(2, round(rng.gauss(shape.tokens_in, shape.tokens_in / 10)))
        return [*(rng.randrange(3, 8000) for _ in range(length - 1)), 1]

    return [Request(n, 0, text(), params) for n in range(shape.count)]


def random_flan(size: str, work: Path) -> Path:
    """A model of that size with random weights; the demo's tokenizer, which is never asked."""
    import torch
    import transformers

    folder = work / size
    if folder.exists():
        return folder
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=32128,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
        **FLAN[size],
    )
    model = transformers.T5ForConditionalGeneration(config)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    model.save_pretrained(folder)
    for path in MODEL.glob("tokenizer*.json"):
        shutil.copy(path, folder)
    return folder


if __name__ == "__main__":
    main()
