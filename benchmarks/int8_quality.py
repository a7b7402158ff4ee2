"""What int8 costs in quality: ROUGE-L of the demo model in float32 and in int8, greedy.

    python benchmarks/int8_quality.py [--records 2000] [--threads N]

Prints F1 with stemming, mean over the records, with a 95 % interval of the paired difference.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

from rouge_score.rouge_scorer import RougeScorer
from tokenizers import Tokenizer

from textmill.core import Batch, Completion, Params, Request
from textmill.engines.loading import load_model

DEMO = Path(__file__).parents[1] / "src" / "textmill" / "assets" / "demo"
PARAMS = Params(max_new_tokens=32)
BATCH_SIZE = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    with (DEMO / "data" / "packages.jsonl").open(encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines][: arguments.records]
    tokenizer = Tokenizer.from_file(str(DEMO / "model" / "tokenizer.json"))
    ids = [tokenizer.encode(f"Briefly summarize this text: {r['document']}").ids for r in records]
    texts, scores = {}, {}
    for precision in ("float32", "int8"):
        start = time.perf_counter()
        texts[precision] = tokenizer.decode_batch(generate(ids, precision, arguments.threads))
        seconds = time.perf_counter() - start
        scores[precision] = rouge_l(texts[precision], [r["summary"] for r in records])
        mean = sum(scores[precision]) / len(records)
        print(f"{precision:8} ROUGE-L {mean:.4f}   {seconds:.1f} s with loading")
    report_difference(scores["int8"], scores["float32"])
    same = sum(a == b for a, b in zip(texts["int8"], texts["float32"], strict=True))
    print(f"{same} of {len(records)} texts are the same")


def generate(inputs: list[list[int]], precision: str, threads: int | None) -> list[list[int]]:
    order = sorted(range(len(inputs)), key=lambda n: -len(inputs[n]))
    requests = [Request(n, 0, inputs[n], PARAMS) for n in order]
    batches = [
        Batch(number, tuple(requests[at : at + BATCH_SIZE]))
        for number, at in enumerate(range(0, len(requests), BATCH_SIZE))
    ]
    outputs: dict[int, list[int]] = {}
    with tempfile.TemporaryDirectory() as cache:
        engine = load_model(
            DEMO / "model", precision=precision, threads=threads, cache_dir=Path(cache)
        ).engine
        while len(outputs) < len(inputs):
            while batches and engine.room():
                engine.add(batches.pop(0))
            for outcome in engine.step():
                assert isinstance(outcome, Completion)
                outputs[outcome.request.ordinal] = outcome.sequences[0].ids
        engine.close()
    return [outputs[n] for n in range(len(inputs))]


def rouge_l(texts: list[str], references: list[str]) -> list[float]:
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    return [
        scorer.score(reference, text)["rougeL"].fmeasure
        for text, reference in zip(texts, references, strict=True)
    ]


def report_difference(ours: list[float], theirs: list[float]) -> None:
    """Paired bootstrap, 1,000 resamples."""
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    rng = random.Random(0)
    means = sorted(sum(rng.choices(differences, k=len(differences))) for _ in range(1000))
    low, high = (means[n] / len(differences) for n in (25, 974))
    mean = sum(differences) / len(differences)
    print(f"int8 minus float32: {mean:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}")


if __name__ == "__main__":
    main()
