"""Predict the first eight words of each document: what a model must beat to be worth running."""

import json
import sys


def main(data: str, predictions: str) -> None:
    """Read records with `id` and `document`; write results as `textmill run` does."""
    with open(data, encoding="utf-8") as records, open(predictions, "w") as results:
        for line in records:
            record = json.loads(line)
            words = " ".join(record["document"].split()[:8])
            results.write(json.dumps({"id": record["id"], "generated_texts": [words]}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
