"""ROUGE-1, -2, -L and -Lsum on texts of CNN/DailyMail size: textmill against `rouge_score`.

    python benchmarks/rouge.py [--pairs 11490] [--rival-pairs 1000] [--rounds 5] [--stemmer]

The texts are cut from the demo data: 45 to 65 words in 3 to 5 lines, half of them shared. In each
round both score the same `--rival-pairs` pairs, one after the other, each with a fresh scorer;
the ratio is of the medians. textmill then scores all `--pairs` once: ROUGE from memory; ROUGE from
files; all that `textmill score` gives by default, with intervals and slices; and the same against
a baseline, with both tests.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from rouge_score.rouge_scorer import RougeScorer

from support.evaluation import cnn_dailymail_like, write_rows
from textmill import score
from textmill.evaluation.base import ROUGE_TYPES
from textmill.evaluation.rouge import Rouge


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def rival(predictions: list[str], references: list[str], *, stemmer: bool) -> None:
    scorer = RougeScorer(list(ROUGE_TYPES), use_stemmer=stemmer)
    for prediction, reference in zip(predictions, references, strict=True):
        scorer.score(reference, prediction)


def from_files(predictions: list[str], references: list[str], *, stemmer: bool) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        found, other = (
            write_rows(
                Path(folder, f"{name}.jsonl"),
                ({"id": i, "generated_texts": [text]} for i, text in enumerate(texts)),
            )
            for name, texts in (("predict", predictions), ("other", predictions[::-1]))
        )
        wanted = write_rows(
            Path(folder, "highlights.jsonl"),
            ({"id": i, "highlights": text} for i, text in enumerate(references)),
        )
        score(found, wanted, metrics=["rouge1"], samples=0)  # imports
        return {
            "rouge_from_files_s": seconds(
                lambda: score(found, wanted, metrics=ROUGE_TYPES, stemmer=stemmer, samples=0)
            ),
            "default_from_files_s": seconds(lambda: score(found, wanted, stemmer=stemmer)),
            "with_baseline_from_files_s": seconds(
                lambda: score(found, wanted, stemmer=stemmer, baseline=other)
            ),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=11_490)
    parser.add_argument("--rival-pairs", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stemmer", action="store_true")
    args = parser.parse_args()
    predictions, references = cnn_dailymail_like(args.pairs)
    few = (predictions[: args.rival_pairs], references[: args.rival_pairs])
    theirs, ours = [], []
    for _ in range(args.rounds):
        theirs.append(seconds(lambda: rival(*few, stemmer=args.stemmer)))
        ours.append(seconds(lambda: Rouge(stemmer=args.stemmer).score(*few)))
    their, our = statistics.median(theirs), statistics.median(ours)
    whole = seconds(lambda: Rouge(stemmer=args.stemmer).score(predictions, references))
    report = {
        "pairs": args.rival_pairs,
        "rouge_score_pairs_per_s": round(args.rival_pairs / their),
        "textmill_pairs_per_s": round(args.rival_pairs / our),
        "ratio": round(their / our, 1),
        "all_pairs": args.pairs,
        "all_pairs_s": round(whole, 2),
        **{
            name: round(time_s, 2)
            for name, time_s in from_files(predictions, references, stemmer=args.stemmer).items()
        },
        "stemmer": args.stemmer,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
