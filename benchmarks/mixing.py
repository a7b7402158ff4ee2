"""What decoding in flight is worth: mixed parameters in one batch, and slots that are refilled.

    python benchmarks/mixing.py [--records 600] [--rounds 3] [--threads N]

The demo model, int8, real texts. Mixed: six sets of parameters, first each for all texts, then all
in turn over the same texts; the cost is the time of the mix over the mean of the six. Refill: half
of the texts may have 4 tokens and half 32, the engine as it is against one that lets each batch of
64 end before it takes the next.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from common import MODEL, PROMPT, alternate, read_records, report
from rivals.own import Own
from tokenizers import Tokenizer

from textmill.core import Params, Request

SETTINGS = (
    Params(max_new_tokens=32),
    Params(max_new_tokens=32, no_repeat_ngram_size=3),
    Params(max_new_tokens=32, repetition_penalty=1.2),
    Params(max_new_tokens=32, do_sample=True, seed=1),
    Params(max_new_tokens=32, do_sample=True, temperature=0.7, top_p=0.9, seed=2),
    Params(max_new_tokens=32, min_new_tokens=8),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    documents = [PROMPT + record["document"] for record in read_records()[: arguments.records]]
    texts = [text.ids for text in tokenizer.encode_batch(documents)]
    with tempfile.TemporaryDirectory() as cache:
        engine = Own("openvino", "int8", MODEL, arguments.threads, Path(cache))
        report(
            "mixing",
            mixed(engine, texts, arguments.rounds) | refilled(engine, texts, arguments.rounds),
        )
        engine.close()


def mixed(engine: Own, texts: list[list[int]], rounds: int) -> dict[str, object]:
    """How much longer six kinds of requests take together than one after the other."""
    uniform = [requests(texts, [params]) for params in SETTINGS]
    together = requests(texts, list(SETTINGS))
    for some in (*uniform, together):
        engine.run(some)
    ratios = []
    for _ in range(rounds):
        alone = statistics.mean(engine.run(some)[1] for some in uniform)
        ratios.append(engine.run(together)[1] / alone)
    return {"mixed over uniform, processor": round(statistics.median(ratios), 3)}


def refilled(engine: Own, texts: list[list[int]], rounds: int) -> dict[str, object]:
    """How many times faster refilled slots are than batches that end together."""
    short, long = (Params(max_new_tokens=n, min_new_tokens=n) for n in (4, 32))
    some = requests(texts, [short, long])
    engine.run(some)
    seconds = alternate(
        {"refill": lambda: engine.run(some), "drain": lambda: engine.run(some, drain=True)}, rounds
    )
    pairs = zip(seconds["drain"], seconds["refill"], strict=True)
    return {"refill, times faster": round(statistics.median(a / b for a, b in pairs), 3)}


def requests(texts: list[list[int]], params: list[Params]) -> list[Request]:
    """The texts, with these parameters in turn."""
    return [Request(n, 0, ids, params[n % len(params)]) for n, ids in enumerate(texts)]


if __name__ == "__main__":
    main()
