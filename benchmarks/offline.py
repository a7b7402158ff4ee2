"""A whole job against its rivals, on the same texts in the same run.

    python benchmarks/offline.py [--records 400] [--rounds 3] [--seed 0]

textmill: `textmill.run` on the demo model, int8: reading, tokenizing, generating, joining, writing,
    syncing and committing. Loading is not counted, for nobody.
CTranslate2 bare: `translate_batch` on the very model that textmill built, texts to texts, two
    one-thread workers; its batch size is searched first, and the best is taken.
transformers: `generate` in float32 at batch 4, the setting of the article textmill grew from.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
from pathlib import Path

from common import DATA, MODEL, PROMPT, alternate, ratio, report

import textmill
from textmill.engines.allocator import keep_freed_memory
from textmill.engines.loading import load_model

MAX_NEW_TOKENS = 32
TOKEN_BATCHES = (1024, 2048, 4096, 8192, 16384)


def read_records(count: int, seed: int) -> list[dict]:
    """A seeded sample of the demo records."""
    records = [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]
    return random.Random(seed).sample(records, min(count, len(records)))


class Textmill:
    """The whole job; its own clock starts when the model is loaded."""

    def __init__(self, records: list[dict], folder: Path, precision: str) -> None:
        self.source = folder / "in.jsonl"
        self.source.write_text("".join(json.dumps(record) + "\n" for record in records))
        self.output, self.precision = folder / "out.jsonl", precision
        self.runs: list[dict] = []

    def __call__(self) -> None:
        job = textmill.run(
            self.source,
            self.output,
            model=MODEL,
            prompt=PROMPT + "{document}",
            precision=self.precision,
            fresh=True,
        )
        self.runs.append(job.manifest["run"])


class Bare:
    """CTranslate2 as somebody who knows it well would call it."""

    def __init__(self, texts: list[str], cache: Path, precision: str) -> None:
        import ctranslate2

        keep_freed_memory()  # the rival has what our engine sets in its own process
        loaded = load_model(MODEL, engine="ct2", precision=precision, cache_dir=cache)
        self.tokenizer = loaded.tokenizer
        folder = next(path.parent for path in cache.rglob("model.bin"))
        loaded.close()
        self.texts = texts
        self.translator = ctranslate2.Translator(
            str(folder), device="cpu", compute_type=precision, inter_threads=2, intra_threads=1
        )
        self.batch_tokens = 4096

    def __call__(self) -> None:
        source = [[str(i) for i in ids] for ids in self.tokenizer.encode(self.texts)]
        results = self.translator.translate_batch(
            source,
            max_batch_size=self.batch_tokens,
            batch_type="tokens",
            beam_size=1,
            max_input_length=0,
            max_decoding_length=MAX_NEW_TOKENS,
            target_prefix=[["0"]] * len(source),
        )
        self.tokenizer.decode([[int(t) for t in r.hypotheses[0]] for r in results])


class Transformers:
    """The article's setting: float32, batch 4, in the order of the file."""

    def __init__(self, texts: list[str]) -> None:
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        self.texts = texts
        self.tokenizer = AutoTokenizer.from_pretrained(MODEL)
        self.model = AutoModelForSeq2SeqLM.from_pretrained(MODEL, dtype="float32").eval()

    def __call__(self) -> None:
        import torch

        with torch.inference_mode():
            for start in range(0, len(self.texts), 4):
                batch = self.tokenizer(
                    self.texts[start : start + 4], return_tensors="pt", padding=True
                )
                ids = self.model.generate(**batch, max_new_tokens=MAX_NEW_TOKENS, num_beams=1)
                self.tokenizer.batch_decode(ids, skip_special_tokens=True)


def search_batch(bare: Bare) -> dict[int, float]:
    """Median seconds of each token batch; leaves the best one set."""
    found = {}
    for tokens in TOKEN_BATCHES:
        bare.batch_tokens = tokens
        found[tokens] = statistics.median(alternate({f"bare {tokens}": bare}, 3)[f"bare {tokens}"])
    bare.batch_tokens = min(found, key=found.__getitem__)
    return found


def main() -> None:
    """Run and print one line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--precision", default="int8")
    parser.add_argument("--no-transformers", action="store_true")
    options = parser.parse_args()
    records = read_records(options.records, options.seed)
    texts = [PROMPT + record["document"] for record in records]
    with tempfile.TemporaryDirectory() as folder:
        ours = Textmill(records, Path(folder), options.precision)
        bare = Bare(texts, Path(folder) / "cache", options.precision)
        ours()  # warm up: conversion cache, page cache
        swept = search_batch(bare)
        rivals = {"textmill with loading": ours, "ctranslate2 bare": bare}
        if not options.no_transformers:
            rivals["transformers fp32 b4"] = Transformers(texts)
        ours.runs.clear()
        seconds = alternate(rivals, options.rounds)
        seconds["textmill"] = [run["seconds"] for run in ours.runs]
    report("offline", figures(options, seconds, swept, ours, bare))


def figures(
    options: argparse.Namespace,
    seconds: dict[str, list[float]],
    swept: dict[int, float],
    ours: Textmill,
    bare: Bare,
) -> dict[str, object]:
    """Medians and ratios."""
    return {
        "records": options.records,
        "rounds": options.rounds,
        "seed": options.seed,
        "precision": options.precision,
        "seconds": {name: round(statistics.median(s), 3) for name, s in seconds.items()},
        "times_faster_than": {
            name: round(ratio(seconds, "textmill", name), 2)
            for name in seconds
            if not name.startswith("textmill")
        },
        "bare_batch_tokens": bare.batch_tokens,
        "bare_sweep_seconds": {str(k): round(v, 3) for k, v in swept.items()},
        **{
            key: statistics.median(run[key] for run in ours.runs)
            for key in (
                "rows_per_second",
                "tokens_per_second",
                "padding_share",
                "outside_engine_share",
            )
        },
    }


if __name__ == "__main__":
    main()
