"""How good synopses are: ROUGE-L and what a reader would mind.

    python evaluate.py [--folder build] [--run run] [--records 300] [--beams 1] [--examples 0]
    python evaluate.py [--folder build] --predictions FILE

The first form generates them for validation texts. The second one reads those that `textmill run`
wrote for the held-out records. Both print the figures, and those of the first eight words.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from batches import LONGEST_INPUT, PROMPT, Names, Pair, encoded, padded, read_pairs
from data import HELD_OUT, read_lines
from export import averaged
from rouge_score.rouge_scorer import RougeScorer
from tokenizers import Tokenizer
from transformers import T5ForConditionalGeneration


def main() -> None:
    """Generate or read, and count."""
    args = _arguments()
    names = Names(read_pairs(args.folder / "train.jsonl"))
    if args.predictions is None:
        pairs = read_pairs(args.folder / "valid.jsonl")[: args.records]
        outputs = _generated(args, [pair.document for pair in pairs])
        needed = [names.shared(pair) for pair in pairs]
    else:
        records = read_lines(HELD_OUT)
        pairs = [Pair(record["document"], record["summary"]) for record in records]
        texts = {row["id"]: row["generated_texts"][0] for row in read_lines(args.predictions)}
        outputs = [texts[record["id"]] for record in records]
        needed = [
            {name for name in names.shared(pair) if is_of_package(name, record["package"])}
            for pair, record in zip(pairs, records, strict=True)
        ]
    baseline = [" ".join(pair.document.split()[:8]) for pair in pairs]
    print(json.dumps({"model": figures(pairs, outputs, needed, names)}))
    print(json.dumps({"first eight words": figures(pairs, baseline, needed, names)}))
    for pair, output in list(zip(pairs, outputs, strict=True))[: args.examples]:
        print(f"\n{pair.document[:160]}\n  = {pair.summary}\n  > {output}")


def is_of_package(name: str, package: str) -> bool:
    """Is it the package's name or a part of it, as "Frob" is of libfrob-dev?"""
    parts = re.findall(r"[a-z0-9]+", package.lower())
    plain = "".join(re.findall(r"[a-z0-9]+", name.lower()))
    stems = {re.sub(r"^(lib|python3?|r|php|ruby)", "", part) for part in parts}
    return plain in {*parts, *stems, "".join(parts)}


def _generated(args: argparse.Namespace, documents: list[str]) -> list[str]:
    tokenizer = Tokenizer.from_file(str(args.folder / "tokenizer/tokenizer.json"))
    model = averaged(args.folder / args.run / args.checkpoint)
    return generate(model, tokenizer, documents, args.beams)


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
            no_repeat_ngram_size=3,
            do_sample=False,
        )
        texts = tokenizer.decode_batch(made.tolist(), skip_special_tokens=True)
        found |= dict(zip(rows, texts, strict=True))
    return [found[index] for index in range(len(documents))]


def figures(
    pairs: list[Pair], outputs: list[str], needed: list[set[str]], names: Names
) -> dict[str, float]:
    """ROUGE-L and shares, each from 0 to 1.

    spoilt: empty, or repetitive. kept: of the outputs that need a name (`needed`: those that the
    reference takes from the description), those that have one of them. true: of the outputs that
    have an unusual word, those that have no such word that is not in the description. Upper and
    lower case are the same.
    """
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    both = list(zip(pairs, outputs, strict=True))
    scores = [scorer.score(pair.summary, output)["rougeL"].fmeasure for pair, output in both]
    kept = [
        bool(_lower(wanted) & _lower(names.words(output)))
        for wanted, output in zip(needed, outputs, strict=True)
        if wanted
    ]
    written = [(_lower(names.unusual(output)), pair) for pair, output in both]
    true = [words <= _lower(names.words(pair.document)) for words, pair in written if words]
    return {
        "rougeL": mean(scores),
        "spoilt": mean(map(spoilt, outputs)),
        "kept": mean(kept),
        "of": len(kept),
        "true": mean(true),
        "of outputs": len(true),
    }


def _lower(words: set[str]) -> set[str]:
    return {word.lower() for word in words}


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
    parser.add_argument("--predictions", type=Path, help="of the held-out records")
    return parser.parse_args()


if __name__ == "__main__":
    main()
