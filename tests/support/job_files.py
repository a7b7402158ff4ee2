"""Inputs and outputs of every format, written and read with libraries that are not ours."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

DELIMITERS = {"csv": ",", "tsv": "\t"}
ENDINGS = {"lines": "txt", "openai": "jsonl"}
INPUTS = ("jsonl", "csv", "tsv", "lines", "openai", "parquet")
ROWS = [
    {"id": 1, "title": "One", "text_inputs": "plain"},
    {"id": 2, "title": 'Zwei, "2"', "text_inputs": 'first line\nsecond, "line"\tand a tab'},
    {"id": 3, "title": "", "text_inputs": "ünï 東京 😀"},
]
PLAIN = [{**row, "text_inputs": str(row["text_inputs"]).replace("\n", " ")} for row in ROWS]
"""Rows for formats of one line a text."""

Row = tuple[Any, str | None, list[str]]
"""Of a result: its id, its kept title (None where the format has no room), its texts."""


def write_input(folder: Path, format_: str, rows: Sequence[dict[str, Any]]) -> Path:
    """Rows with `id`, `title`, `text_inputs` as a file of this format."""
    path = folder / f"{format_}-in.{ENDINGS.get(format_, format_)}"
    if format_ == "parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif format_ in DELIMITERS:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=DELIMITERS[format_])
            writer.writeheader()
            writer.writerows(rows)
    elif format_ == "lines":
        path.write_text("".join(f"{row['text_inputs']}\n" for row in rows))
    else:
        lines = map(chat_request, rows) if format_ == "openai" else rows
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def chat_request(row: dict[str, Any], **body: Any) -> dict[str, Any]:
    """A row as one of OpenAI's batch requests."""
    messages = [{"role": "user", "content": row["text_inputs"]}]
    return {
        "custom_id": f"request {row['id']}",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "gpt", "messages": messages, **body},
    }


def stored(path: Path) -> bytes:
    """A file's bytes, decompressed by its name."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    return (
        zstandard.ZstdDecompressor().decompressobj().decompress(data)
        if path.suffix == ".zst"
        else data
    )


def read_output(path: Path, format_: str) -> list[Row]:
    """The results of a file of this format, in order."""
    if format_ == "parquet":
        rows = pq.read_table(path).to_pylist()
        return [(row["id"], row.get("title"), row["generated_texts"]) for row in rows]
    text = stored(path).decode()
    if format_ in DELIMITERS:
        table = csv.DictReader(text.splitlines(keepends=True), delimiter=DELIMITERS[format_])
        return [(row["id"], row.get("title"), table_texts(row)) for row in table]
    rows = [json.loads(line) for line in text.split("\n")[:-1]]
    if format_ == "openai":
        return [(row["custom_id"], None, answers(row)) for row in rows]
    return [(row["id"], row.get("title"), row["generated_texts"]) for row in rows]


def table_texts(row: dict[str, str]) -> list[str]:
    """The texts of a row of CSV, as the docs say to read them."""
    several = row["generated_texts"]
    return json.loads(several) if several else [row["generated_text"]]


def answers(row: dict[str, Any]) -> list[str]:
    """The texts of one of OpenAI's answers."""
    choices = row["response"]["body"]["choices"]
    return [c["message"]["content"] if "message" in c else c["text"] for c in choices]
