"""Processor time per record for reading and writing every text format, per id for finding repeats.

    python benchmarks/formats.py [RECORDS]

Repeats are sought among five times as many ids.
"""

from __future__ import annotations

import csv
import io
import json
import random
import sys
import time
from collections.abc import Callable
from functools import partial

from textmill.records.builder import RecordBuilder
from textmill.records.formats import Format, open_reader, open_writer
from textmill.records.ids import SeenIds
from textmill.records.jsonl import JsonlReader
from textmill.records.prompt import parse_prompt
from textmill.records.results import result_line
from textmill.records.shape import Shape

PARAMETERS = frozenset({"max_length", "max_new_tokens", "num_beams", "temperature", "seed"})
WORDS = ("the", "package", "holds", "headers", "for", "programs", "that", "read", "text", "again")


def words(count: int, rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=count))


def lines(count: int, **extra: object) -> bytes:
    rng = random.Random(0)
    rows = ({"id": at, "text_inputs": words(10, rng), **extra} for at in range(count))
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def table(count: int, delimiter: str = ",", mark: str = "", **extra: str) -> bytes:
    """Rows as the `csv` module writes them; a `mark` of a comma makes every text a quoted one."""
    rng = random.Random(0)
    text = io.StringIO()
    rows = ([at, words(10, rng).replace(" ", mark + " "), *extra.values()] for at in range(count))
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(["id", "text_inputs", *extra])
    writer.writerows(rows)
    return text.getvalue().encode()


def requests(count: int) -> bytes:
    rng = random.Random(0)
    return "".join(
        json.dumps(
            {
                "custom_id": f"request-{at}",
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {
                    "model": "m",
                    "messages": [{"role": "user", "content": words(10, rng)}],
                    "temperature": 0,
                },
            }
        )
        + "\n"
        for at in range(count)
    ).encode()


def measure(name: str, count: int, work: Callable[[], object], unit: str = "record") -> None:
    seconds = min(timed(work) for _ in range(3))
    print(f"{name:<44} {seconds / count * 1e6:7.2f} µs per {unit}")


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def read(data: bytes, shape: Shape, format_: Format = "jsonl") -> int:
    reader = open_reader(format_, RecordBuilder(shape))
    return sum(len(rows) for rows in reader.read(io.BytesIO(data), "benchmark"))


def count_rows(data: bytes) -> int:
    return open_reader("csv", RecordBuilder(Shape())).count(io.BytesIO(data))


def find_repeats(ids: list[bytes], chunk: int) -> None:
    seen = SeenIds()
    for start in range(0, len(ids), chunk):
        seen.add(ids[start : start + chunk])


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    plain = Shape(parameters=PARAMETERS)
    prompt = Shape(prompt=parse_prompt("Summarize: {text_inputs}"), keep=("title",))
    cases = [
        ("read, short text", lines(count), plain),
        ("read, one parameter", lines(count, max_length=50), plain),
        ("read, prompt and a kept column", lines(count, title="a title"), prompt),
        ("read, text with a spaced colon", lines(count, note="a : b"), plain),
        ("read, nested column (exact key check)", lines(count, meta={"a": 1, "b": [1]}), plain),
        ("read, not ASCII", lines(count, title="Zürich 東京"), plain),
    ]
    for name, data, shape in cases:
        measure(name, count, partial(read, data, shape))
    others: list[tuple[str, Format, bytes, Shape]] = [
        ("csv, short text", "csv", table(count), plain),
        ("csv, quoted text", "csv", table(count, mark=","), plain),
        ("csv, one parameter", "csv", table(count, max_length="50"), plain),
        ("csv, prompt and a kept column", "csv", table(count, title="a title"), prompt),
        ("csv, the same quoted", "csv", table(count, mark=",", title="a, b"), prompt),
        ("csv, not ASCII", "csv", table(count, title="Zürich 東京"), plain),
        ("tsv, short text", "tsv", table(count, "\t"), plain),
        ("lines", "lines", lines(count), plain),
        ("openai, one message", "openai", requests(count), plain),
    ]
    for name, format_, data, shape in others:
        measure(f"read {name}", count, partial(read, data, shape, format_))
    for name, data in [("csv, short text", table(count)), ("csv, quoted", table(count, mark=","))]:
        measure(f"count {name}", count, partial(count_rows, data))
    records = [
        row
        for rows in JsonlReader(RecordBuilder(plain)).read(io.BytesIO(lines(count)), "b")
        for row in rows
    ]
    text = [words(10, random.Random(1))]
    measure("write, one short text", count, lambda: [result_line(row, text) for row in records])
    unicode = ["Zürich " + text[0]]
    measure("write, not ASCII", count, lambda: [result_line(row, unicode) for row in records])
    results = [result_line(row, text)[:-1] for row in records]
    formats: list[Format] = ["csv", "tsv", "openai"]
    for format_ in formats:
        measure(
            f"write {format_}", count, partial(open_writer(format_, (), model="m").encode, results)
        )
    many = 5 * count
    kinds = {
        "numbers in order": [b"%d" % at for at in range(many)],
        "numbers shuffled": [b"%d" % at for at in random.Random(0).sample(range(many), many)],
        "strings": [b'"record-%d"' % at for at in range(many)],
    }
    for name, ids in kinds.items():
        for chunk in (200, 5000):
            work = partial(find_repeats, ids, chunk)
            measure(f"repeats, {name}, {chunk} at once", many, work, "id")


if __name__ == "__main__":
    main()
