"""Scoring against Parquet: references as a data set has them, predictions as a job wrote them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import textmill
from support.command import write_lines
from textmill.errors import InputError

TEXTS = ["a b c", "d e f", "g h i"]


def shard(path: Path, ids: list[object], texts: list[str] = TEXTS) -> Path:
    table = pa.table({"article": ["x y"] * len(ids), "highlights": texts[: len(ids)], "id": ids})
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("ids", [[1, 2, 3], ["0a", "0b", "0c"]])
def test_references_in_parquet_join_predictions_in_json_lines(
    tmp_path: Path, ids: list[object]
) -> None:
    refs = shard(tmp_path / "refs.parquet", ids)
    predictions = write_lines(
        tmp_path / "out.jsonl",
        *({"id": i, "generated_texts": [t]} for i, t in zip(ids, TEXTS, strict=True)),
    )
    scores = textmill.score(predictions, refs, ref="highlights")
    assert scores.counts.scored == scores.counts.pairs == 3
    assert scores.rouge1.value == 1.0


def test_predictions_may_be_parquet_too(tmp_path: Path) -> None:
    refs = shard(tmp_path / "refs.parquet", [1, 2, 3])
    table = pa.table({"id": [3, 1, 2], "generated_texts": [[TEXTS[2]], [TEXTS[0]], []]})
    pq.write_table(table, tmp_path / "out.parquet")
    counts = textmill.score(tmp_path / "out.parquet", refs, ref="highlights").counts
    assert (counts.scored, counts.failed, counts.missing) == (2, 1, 0)


def test_several_files_of_references_are_one(tmp_path: Path) -> None:
    refs = [shard(tmp_path / "0.parquet", [1, 2]), shard(tmp_path / "1.parquet", [3], TEXTS[2:])]
    rows = [{"id": n + 1, "text": text} for n, text in enumerate(TEXTS)]
    scores = textmill.score(write_lines(tmp_path / "out.jsonl", *rows), refs, ref="highlights")
    assert (scores.counts.scored, scores.rouge1.value) == (3, 1.0)
    assert scores.references == f"{refs[0]}, {refs[1]}"


def test_an_id_in_two_files_of_references_is_told_with_both_places(tmp_path: Path) -> None:
    refs = [shard(tmp_path / "0.parquet", [1, 2]), shard(tmp_path / "1.parquet", [3, 2])]
    predictions = write_lines(tmp_path / "out.jsonl", {"id": 1, "text": "a"})
    with pytest.raises(InputError, match=r"1\.parquet, line 2 .* 2, .*0\.parquet, line 2"):
        textmill.score(predictions, refs, ref="highlights")


def test_a_reference_file_that_is_damaged_is_refused(tmp_path: Path) -> None:
    refs = shard(tmp_path / "refs.parquet", [1])
    refs.write_bytes(refs.read_bytes()[:-20])
    predictions = write_lines(tmp_path / "out.jsonl", {"id": 1, "text": "a"})
    with pytest.raises(InputError, match=r"refs\.parquet"):
        textmill.score(predictions, refs, ref="highlights")
