"""What a join and its scores keep, whatever is joined."""

from __future__ import annotations

import json
import math
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

import textmill
from support.evaluation import DEMO, demo, mutated, write_rows
from textmill import Scores, score
from textmill.errors import InputError, ParameterError, UsageError
from textmill.evaluation.base import ROUGE_TYPES

ENV = {**os.environ, "PYTHONPATH": str(Path(textmill.__file__).parent.parent)}

IDS = st.one_of(st.integers(), st.booleans(), st.text("1ab", max_size=2), st.lists(st.integers()))
TEXTS = st.text("ab \n", max_size=12)
ANSWERS = st.one_of(
    TEXTS.map(lambda text: {"generated_texts": [text]}),
    st.just({"generated_texts": []}),
    st.just({"code": "oom", "message": "…"}),
)


def unique_by_id(values: st.SearchStrategy[Any], min_size: int) -> st.SearchStrategy[list[Any]]:
    rows = st.tuples(IDS, values)
    return st.lists(rows, min_size=min_size, max_size=8, unique_by=lambda row: json.dumps(row[0]))


def scored(folder: Path, found: list[Any], wanted: list[Any]) -> Scores:
    return score(
        write_rows(folder / "found.jsonl", ({"id": key, **answer} for key, answer in found)),
        write_rows(folder / "wanted.jsonl", ({"id": key, "ref": text} for key, text in wanted)),
        ref="ref",
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(unique_by_id(ANSWERS, 0), unique_by_id(TEXTS, 1), st.randoms())
def test_every_reference_is_accounted_for_once_in_any_order(
    tmp_path: Path, found: list[Any], wanted: list[Any], rng: random.Random
) -> None:
    known = {json.dumps(key) for key, _ in wanted}
    met = {json.dumps(key): answer for key, answer in found}
    common = known & met.keys()
    if met and not common:
        with pytest.raises(InputError, match="none of its ids"):
            scored(tmp_path, found, wanted)
        return
    first = scored(tmp_path, found, wanted)
    assert first.counts.pairs == len(wanted)
    assert first.counts.pairs == first.counts.scored + first.counts.failed + first.counts.missing
    assert first.counts.scored + first.counts.failed + first.counts.extra == len(found)
    assert sum(first.failures.values()) == first.counts.failed
    assert all(0 <= one.value <= 1 for one in first.scores if one.name != "length_ratio")
    rng.shuffle(found)
    rng.shuffle(wanted)
    again = scored(tmp_path, found, wanted)
    assert (again.scores, again.counts, again.failures) == (
        *(first.scores, first.counts),
        first.failures,
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), ANSWERS), max_size=10),
    st.sets(st.integers(0, 5), min_size=1),
    st.sampled_from(["zero", "skip"]),
)
def test_n_never_changes_silently(
    tmp_path: Path, found: list[Any], wanted: set[int], missing: Any
) -> None:
    """Whatever is missing, failed, answered twice or extra: every row and every reference is in
    one count, n follows from the counts, and no number is NaN."""
    paths = (
        write_rows(tmp_path / "found.jsonl", ({"id": key, **answer} for key, answer in found)),
        write_rows(tmp_path / "wanted.jsonl", ({"id": key, "ref": f"a {key}"} for key in wanted)),
    )
    try:
        scores = score(*paths, ref="ref", missing=missing, baseline=paths[0], samples=100)
    except InputError as error:
        assert re.search("none of its ids|nothing to score", str(error))  # noqa: PT017
        return
    counts = scores.counts
    assert counts.pairs == len(wanted)
    assert counts.pairs == counts.scored + counts.failed + counts.missing + counts.duplicate
    assert counts.extra == sum(key not in wanted for key, _ in found)
    answered = {key for key, _ in found} & wanted
    assert counts.missing == len(wanted - answered)
    assert counts.scored + counts.failed + counts.duplicate == len(answered)
    n = counts.pairs if missing == "zero" else counts.scored
    assert {one.n for one in scores.scores} == {n}
    compared = {one.name: one.n for one in scores.baseline.comparisons}
    both = compared.pop("repetition")
    assert (set(compared.values()), both) == ({n}, counts.scored)
    said = any(one.startswith("repetition is compared over") for one in scores.baseline.notes)
    assert said == (both != n)
    assert sum(one.n for one in scores.slices) == n
    assert len(scores.records) == counts.pairs
    numbers = json.dumps([scores.as_dict(), scores.records.table()])
    assert "NaN" not in numbers
    assert "Infinity" not in numbers


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=14), st.randoms())
def test_comparisons_and_slices_do_not_depend_on_the_order_of_records(
    tmp_path: Path, texts: list[Any], rng: random.Random
) -> None:
    def compared(rows: list[Any]) -> Any:
        columns = [
            write_rows(tmp_path / f"{name}.jsonl", ({"id": row[0], name: row[at]} for row in rows))
            for at, name in enumerate(("ours", "theirs", "wanted"), start=1)
        ]
        scores = score(columns[0], columns[2], baseline=columns[1], baseline_pred="theirs")
        return [
            [(one.name, one.value, one.low, one.high) for one in scores.scores],
            [
                (one.name, one.difference, one.low, one.p_bootstrap, one.p_randomisation)
                for one in scores.baseline.comparisons
            ],
            {(one.label, one.n, one.scores) for one in scores.slices},
        ]

    rows = [(at, *three) for at, three in enumerate(texts)]
    first = compared(rows)
    rng.shuffle(rows)
    assert compared(rows) == first


def test_the_scores_of_a_file_are_the_means_over_all_references(tmp_path: Path) -> None:
    """2,000 records of the demo data, every seventh prediction missing: it counts as 0."""
    rng = random.Random(0)
    rows = [(row["id"], mutated(row["summary"], rng), row["summary"]) for row in demo()]
    kept = [row for row in rows if row[0] % 7]
    rng.shuffle(kept)
    found = write_rows(
        tmp_path / "found.jsonl", ({"id": key, "generated_texts": [text]} for key, text, _ in kept)
    )
    got = score(found, write_rows(tmp_path / "wanted.jsonl", demo()), ref="summary", stemmer=True)
    oracle = RougeScorer(list(ROUGE_TYPES), use_stemmer=True)
    each = [oracle.score(reference, text) for _, text, reference in kept]
    assert (got.counts.scored, got.counts.missing) == (len(kept), len(rows) - len(kept))
    for name in ROUGE_TYPES:
        one = got[name]
        for place, mean in enumerate((one.precision, one.recall, one.value)):
            assert mean == math.fsum(scores[name][place] for scores in each) / len(rows)


def test_references_scored_against_themselves_give_one() -> None:
    scores = score(DEMO, DEMO, pred="summary", ref="summary")
    assert {scores[name].value for name in (*ROUGE_TYPES, "length_ratio")} == {1.0}
    assert scores.counts.scored == 2000


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    found = [{"id": 1, "generated_texts": ["a b", "c"]}, {"id": 2, "code": "oom", "message": "…"}]
    wanted = [{"id": 1, "ref": "a b"}, {"id": 2, "ref": "c"}]
    return write_rows(tmp_path / "p.jsonl", found), write_rows(tmp_path / "r.jsonl", wanted)


def test_scores_are_reached_by_name_and_carry_their_signature(two: tuple[Path, Path]) -> None:
    scores = score(str(two[0]), str(two[1]))
    assert scores.rouge1 is scores["rouge1"]
    assert (scores.rouge1.value, scores.rouge2.value) == (0.5, 0.5)
    assert (scores.rougeL.precision, scores.rougeLsum.recall) == (0.5, 0.5)
    assert scores.rougeL.signature == (
        "rougeL|stem:no|tok:rouge-score|refs:1|missing:zero|mean:exact"
        f"|ci:no|v:{textmill.__version__}"
    )
    assert (scores.pred, scores.ref) == ("generated_texts", "ref")
    assert scores.notes == ("1 prediction holds several texts; the first was scored.",)


def test_scores_go_to_json_and_to_a_table(two: tuple[Path, Path]) -> None:
    scores = score(*two, metrics=["rougeL", "rouge1"])
    plain = json.loads(json.dumps(scores.as_dict()))
    assert list(plain["scores"]) == ["rougeL", "rouge1"]
    assert plain["scores"]["rouge1"]["value"] == 0.5
    assert plain["counts"] == {
        **{"pairs": 2, "scored": 1, "failed": 1, "missing": 0},
        **{"duplicate": 0, "repeated": 0, "extra": 0},
    }
    assert plain["failures"] == {"oom": 1}
    assert (plain["predictions"], plain["references"]) == (str(two[0]), str(two[1]))
    assert [row["metric"] for row in scores.table()] == ["rougeL", "rouge1"]
    assert set(scores.table()[0]) == {
        *("metric", "value", "low", "high", "precision", "recall", "n", "signature")
    }
    with pytest.raises(KeyError, match="rouge2 was not scored, only rougeL, rouge1"):
        _ = scores.rouge2


def test_the_id_fields_may_have_different_names(tmp_path: Path) -> None:
    found = write_rows(tmp_path / "p.jsonl", [{"custom_id": "x", "text": "a"}])
    wanted = write_rows(tmp_path / "r.jsonl", [{"key": "x", "ref": "a"}])
    assert score(found, wanted, on="custom_id=key").rouge1.value == 1


@pytest.mark.parametrize("metrics", ["rouge1", [], ["bleus"], ["rouge1", "rougeX"]])
def test_unknown_metrics_are_refused_before_anything_is_read(metrics: Any) -> None:
    with pytest.raises(ParameterError, match="metrics="):
        score("no such file", "no such file", metrics=metrics)


def test_files_are_named_when_they_cannot_be_read(two: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match=r"gone\.jsonl cannot be read: no such file"):
        score(two[0].parent / "gone.jsonl", two[1])
    with pytest.raises(UsageError, match=r"gone\.jsonl cannot be read: no such file"):
        score(two[0], two[1].parent / "gone.jsonl")


def test_sagemakers_result_file_is_scored_as_it_is(tmp_path: Path) -> None:
    """Python dicts on every line, joined to the demo data's own summaries."""
    lines = (repr({"id": row["id"], "generated_texts": [row["summary"]]}) for row in demo())
    found = tmp_path / "articles.jsonl.out"
    found.write_text("\n\n".join(lines), encoding="utf-8")
    scores = score(found, DEMO, ref="summary")
    assert (scores.counts.scored, scores.rouge1.value, scores.rougeLsum.value) == (2000, 1, 1)


def test_numpy_is_imported_only_to_score() -> None:
    """`textmill --help` must not wait for it."""
    code = "import sys, textmill.evaluation.score; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=ENV, check=False).returncode == 0
