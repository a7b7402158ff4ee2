"""What reduced precision costs in quality: ROUGE-L of the demo model against its float32.

    python benchmarks/quality.py [--engine ct2] [--beams 1] [--records 2000] [--threads N]

Prints F1 with stemming, mean over the records, and for each precision the paired difference with a
95 % interval.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path

from common import MODEL, PROMPT, read_records
from rouge_score.rouge_scorer import RougeScorer
from tokenizers import Tokenizer

from textmill.core import Batch, Completion, Params, Request
from textmill.engines.loading import load_model

BATCH_SIZE = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="ct2")
    parser.add_argument("--precisions", nargs="+", default=["float32", "int8"])
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--records", type=int, default=2000)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    records = read_records()[: arguments.records]
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    ids = [tokenizer.encode(PROMPT + record["document"]).ids for record in records]
    texts, scores = {}, {}
    for precision in arguments.precisions:
        start = time.perf_counter()
        texts[precision] = tokenizer.decode_batch(generate(ids, precision, arguments))
        seconds = time.perf_counter() - start
        scores[precision] = rouge_l(texts[precision], [r["summary"] for r in records])
        mean = sum(scores[precision]) / len(records)
        print(f"{precision:8} ROUGE-L {mean:.4f}   {seconds:.1f} s with loading", flush=True)
    exact, *reduced = arguments.precisions
    for precision in reduced:
        same = sum(a == b for a, b in zip(texts[precision], texts[exact], strict=True))
        print(f"{precision} minus {exact}: {difference(scores[precision], scores[exact])}")
        print(f"{same} of {len(records)} texts are the same")


def generate(
    inputs: list[list[int]], precision: str, arguments: argparse.Namespace
) -> list[list[int]]:
    params = Params(max_new_tokens=32, num_beams=arguments.beams)
    order = sorted(range(len(inputs)), key=lambda n: -len(inputs[n]))
    requests = [Request(n, 0, inputs[n], params) for n in order]
    batches = [
        Batch(number, tuple(requests[at : at + BATCH_SIZE]))
        for number, at in enumerate(range(0, len(requests), BATCH_SIZE))
    ]
    outputs: dict[int, list[int]] = {}
    with tempfile.TemporaryDirectory() as cache:
        engine = load_model(
            MODEL,
            engine=arguments.engine,
            precision=precision,
            threads=arguments.threads,
            cache_dir=Path(cache),
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


def difference(ours: list[float], theirs: list[float]) -> str:
    """Paired bootstrap, 1,000 resamples."""
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    rng = random.Random(0)
    means = sorted(sum(rng.choices(differences, k=len(differences))) for _ in range(1000))
    low, high = (means[n] / len(differences) for n in (25, 974))
    mean = sum(differences) / len(differences)
    return f"{mean:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"


if __name__ == "__main__":
    main()
