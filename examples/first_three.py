"""Print the first three records of a job: text, prediction, reference."""

import json
import sys
import textwrap
from itertools import islice


def main(data: str, predictions: str) -> None:
    """Pair the two files line by line: results stand in input order."""
    with open(data, encoding="utf-8") as records, open(predictions, encoding="utf-8") as results:
        for record_line, result_line in islice(zip(records, results, strict=False), 3):
            record, result = json.loads(record_line), json.loads(result_line)
            assert record["id"] == result["id"]
            text = textwrap.shorten(record["document"], 100, placeholder=" …")
            print(f"  {record['id']}  text        {text}")
            print(f"     prediction  {result['generated_texts'][0]}")
            print(f"     reference   {record['summary']}")


if __name__ == "__main__":
    main(*sys.argv[1:3])
