"""How good a checkpoint's synopses are on validation texts: ROUGE-L and what a reader would mind.

    python evaluate.py [--folder build] [--run run] [--records 300] [--beams 1]

Prints the figures, those of copying the first eight words, and some examples. The held-out records
are not read: their figures come from `textmill run` and `textmill score`, see README.md.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from batches import LONGEST_INPUT, PROMPT, Names, Pair, encoded, padded, read_pairs
from export import averaged
from rouge_score.rouge_scorer import RougeScorer
from tokenizers import Tokenizer
from transformers import T5ForConditionalGeneration


def main() -> None:
    """Generate and count."""
    args = _arguments()
    tokenizer = Tokenizer.from_file(str(args.folder / "tokenizer/tokenizer.json"))
    model = averaged(args.folder / args.run / args.checkpoint)
    names = Names(read_pairs(args.folder / "train.jsonl"))
    pairs = read_pairs(args.folder / "valid.jsonl")[: args.records]
    outputs = generate(model, tokenizer, [pair.document for pair in pairs], args.beams)
    baseline = [" ".join(pair.document.split()[:8]) for pair in pairs]
    print(json.dumps({"model": figures(pairs, outputs, names), "beams": args.beams}))
    print(json.dumps({"first eight words": figures(pairs, baseline, names)}))
    for pair, output in list(zip(pairs, outputs, strict=True))[: args.examples]:
        print(f"\n{pair.document[:160]}\n  = {pair.summary}\n  > {output}")


@torch.no_grad()
def generate(
    model: T5ForConditionalGeneration, tokenizer: Tokenizer, documents: list[str], beams: int
) -> list[str]:
    """One synopsis for each document, in their order."""
    ids = encoded(tokenizer, (PROMPT + document for document in documents), LONGEST_INPUT)
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    found = {}
    for start in range(0, len(order), 32):
        rows = order[start : start + 32]
        batch = padded([ids[row] for row in rows], 0)
        made = model.generate(
            input_ids=batch,
            attention_mask=(batch != 0).long(),
            num_beams=beams,
            max_new_tokens=32,
            do_sample=False,
        )
        texts = tokenizer.decode_batch(made.tolist(), skip_special_tokens=True)
        found |= dict(zip(rows, texts, strict=True))
    return [found[index] for index in range(len(documents))]


def figures(pairs: list[Pair], outputs: list[str], names: Names) -> dict[str, float]:
    """ROUGE-L and shares, each from 0 to 1.

    spoilt: empty, or repetitive. named: of the outputs whose reference has a name from the
    description, those that have one of these names too.
    """
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    both = list(zip(pairs, outputs, strict=True))
    scores = [scorer.score(pair.summary, output)["rougeL"].fmeasure for pair, output in both]
    needed = [(names.shared(pair), output) for pair, output in both]
    named = [bool(wanted & names.words(output)) for wanted, output in needed if wanted]
    return {
        "rougeL": mean(scores),
        "spoilt": mean(map(spoilt, outputs)),
        "named": mean(named),
        "need a name": len(named),
    }


def spoilt(output: str) -> bool:
    """Empty, or one word three times in a row, or three words twice in a row."""
    words = re.findall(r"\w+", output.lower())
    thrice = any(words[i] == words[i + 1] == words[i + 2] for i in range(len(words) - 2))
    twice = any(words[i : i + 3] == words[i + 3 : i + 6] for i in range(len(words) - 5))
    return not words or thrice or twice


def mean(values: Iterable[float]) -> float:
    """The mean, rounded to four places; 0 of nothing."""
    found = [float(value) for value in values]
    return round(sum(found) / len(found), 4) if found else 0.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build"))
    parser.add_argument("--run", default="run")
    parser.add_argument("--checkpoint", default="checkpoint.pt")
    parser.add_argument("--records", type=int, default=300)
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--examples", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
