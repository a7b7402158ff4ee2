"""Engines and their rivals in one run, in turn, over the five shapes of the goal.

    python benchmarks/engines.py [--shapes demo small-800-50 …] [--rounds 3] [--threads N]
                                 [--precisions int8 …] [--rivals ct2 transformers …] [--texts N]

openvino and ct2 run as jobs run them: in a process of their own, driven batch by batch, `--threads`
threads each. ct2 is int8 with one-thread workers at the best of four token budgets, transformers'
`generate` is float32 at batch 4 (in file order, as articles do it) and bfloat16, on CPUs that have
it, at the best of three batches of sorted texts; optimum-intel, where it is installed, the same in
int8. What is best is searched first and printed. transformers and optimum compute an eighth of the
texts, as they are many times slower; figures are of one text.

Reported are wall and processor milliseconds for a text, and how many times faster than each rival
openvino is; on a machine that is busy with other things only the second say something.
FLAN-T5-small and -base have random weights in the published shapes; their texts are random tokens,
of a length that varies by a tenth, and have exactly the given output length. The demo model has its
own texts and ends where it ends.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from common import MODEL, PROMPT, read_records, report
from msgspec import Struct
from rivals.generating import Generating, Optimum, Transformers
from rivals.own import Own

from textmill.core import Params, Request
from textmill.engines.openvino.precision import has_bfloat16

FLAN = {
    "small": {"d_model": 512, "d_kv": 64, "d_ff": 1024, "num_layers": 8, "num_heads": 6},
    "base": {"d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12},
}
RIVALS = ("ct2", "transformers", "optimum")
SLOW = 8
"""So many times fewer texts for rivals that are slow."""


class Shape(Struct, frozen=True):
    """What is computed. count: texts of a round."""

    model: str
    tokens_in: int
    tokens_out: int
    count: int


SHAPES = {
    "demo": Shape("demo", 0, 32, 600),
    "small-800-50": Shape("small", 800, 50, 48),
    "small-30-30": Shape("small", 30, 30, 512),
    "base-800-50": Shape("base", 800, 50, 32),
    "base-30-30": Shape("base", 30, 30, 256),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--precisions", nargs="+", default=["int8"])
    parser.add_argument("--rivals", nargs="+", choices=RIVALS, default=list(RIVALS))
    parser.add_argument("--texts", type=int, help="of each shape, instead of its own number")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.shapes:
            compare(name, SHAPES[name], arguments, Path(folder))


def compare(name: str, shape: Shape, arguments: argparse.Namespace, work: Path) -> None:
    folder = MODEL if shape.model == "demo" else random_flan(shape.model, work)
    count = arguments.texts or shape.count
    requests = (
        demo_requests(shape, count) if shape.model == "demo" else random_requests(shape, count)
    )
    rivals = opened(folder, arguments, work)
    settings = {
        name: rival.search(requests, requests[:: max(1, len(requests) // 64)])
        for name, rival in rivals.items()
    }
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in rivals}
    for number in range(arguments.rounds + 1):
        for rival, engine in rivals.items():
            some = requests[::SLOW] if isinstance(engine, Generating) else requests
            wall, processor = (1000 * seconds / len(some) for seconds in engine.run(some))
            print(
                f"{name:13} {rival:22} {wall:9.2f} ms a text, {processor:9.2f} ms of processor",
                file=sys.stderr,
            )
            if number:  # the first round prepares shapes
                took[rival].append((wall, processor))
    for engine in rivals.values():
        engine.close()
    report("engines", {"shape": name, "settings": settings, **figures(took)})


def opened(folder: Path, arguments: argparse.Namespace, work: Path) -> dict[str, Own | Generating]:
    rivals: dict[str, Own | Generating] = {}
    threads, cache = arguments.threads, work / "cache"
    for precision in arguments.precisions:
        rivals[f"openvino {precision}"] = Own("openvino", precision, folder, threads, cache)
    if "ct2" in arguments.rivals:
        rivals["ct2 int8"] = Own("ct2", "int8", folder, threads, cache)
    if "transformers" in arguments.rivals:
        rivals["transformers float32"] = Transformers(folder, "float32", threads, sizes=(4,))
        if has_bfloat16():
            rivals["transformers bfloat16"] = Transformers(folder, "bfloat16", threads)
    if "optimum" in arguments.rivals and Optimum.is_installed():
        rivals["optimum-intel int8"] = Optimum(folder, threads)
    return rivals


def figures(took: dict[str, list[tuple[float, float]]]) -> dict[str, object]:
    """Medians, and the median of the rounds' ratios: how many times faster each of ours is."""
    found: dict[str, object] = {}
    for n, kind in enumerate(("wall", "processor")):
        for name, rounds in took.items():
            found[f"{name} {kind} ms"] = round(statistics.median(each[n] for each in rounds), 2)
        for ours in (name for name in took if name.startswith("openvino")):
            for theirs in (name for name in took if not name.startswith("openvino")):
                pairs = zip(took[theirs], took[ours], strict=True)
                ratio = statistics.median(other[n] / own[n] for other, own in pairs)
                found[f"{ours} / {theirs} {kind}"] = round(ratio, 2)
    return found


def demo_requests(shape: Shape, count: int) -> list[Request]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    params = Params(max_new_tokens=shape.tokens_out)
    records = read_records()[:count]
    encoded = tokenizer.encode_batch([PROMPT + record["document"] for record in records])
    return [Request(n, 0, text.ids, params) for n, text in enumerate(encoded)]


def random_requests(shape: Shape, count: int) -> list[Request]:
    rng = random.Random(0)
    params = Params(max_new_tokens=shape.tokens_out, min_new_tokens=shape.tokens_out)

    def text() -> list[int]:
        length = max(2, round(rng.gauss(shape.tokens_in, shape.tokens_in / 10)))
        return [*(rng.randrange(3, 8000) for _ in range(length - 1)), 1]

    return [Request(n, 0, text(), params) for n in range(count)]


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
