"""Fifty short texts, `textmill run` over them on the echo engine, and what comes out."""

from __future__ import annotations

from support.command import textmill

ARTICLES = [{"id": i, "text_inputs": f"text number {i}"} for i in range(50)]


def echo(source, tmp_path, *flags, **kwargs):
    return textmill(
        "run", source, "-o", tmp_path / "out.jsonl", "--engine", "echo", *flags, **kwargs
    )


def expected(rows=ARTICLES):
    return [{"id": row["id"], "generated_texts": [row["text_inputs"]]} for row in rows]
