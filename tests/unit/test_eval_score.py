"""`textmill.score` whole: missing answers, intervals, baseline, slices, records, all forms."""

from __future__ import annotations

import json
import math
import random
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.scoring import BootstrapAggregator

from support.command import read_lines, textmill
from support.evaluation import demo, mutated, write_rows
from textmill import Scores, score
from textmill.errors import InputError, ParameterError, UsageError
from textmill.evaluation.base import ROUGE_TYPES
from textmill.evaluation.figures import number
from textmill.evaluation.verdict import where

FILES = tuple[Path, Path, Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> FILES:
    """400 records of the demo data: ours is better than theirs; each lacks some."""
    folder, rng = tmp_path_factory.mktemp("files"), random.Random(0)
    rows = demo()[:400]
    once = {row["id"]: mutated(row["summary"], rng) for row in rows}
    twice = {key: mutated(text, rng) for key, text in once.items()}
    return (
        write_rows(
            folder / "ours.jsonl",
            ({"id": key, "text": text} for key, text in once.items() if key % 20),
        ),
        write_rows(
            folder / "theirs.jsonl",
            ({"id": key, "text": text} for key, text in twice.items() if key % 25),
        ),
        write_rows(folder / "wanted.jsonl", rows),
    )


def scored(files: FILES, **how: Any) -> Scores:
    return score(files[0], files[2], **{"ref": "summary", **how})


def test_references_without_a_prediction_count_as_0_or_are_left_out(files: FILES) -> None:
    zero, skip = scored(files), scored(files, missing="skip")
    assert (zero.rouge1.n, skip.rouge1.n) == (400, 380)
    assert zero.counts == skip.counts
    assert zero.counts.missing == 20
    assert zero.rouge1.value == pytest.approx(skip.rouge1.value * 380 / 400)
    assert zero["empty"].value == pytest.approx(skip["empty"].value * 380 / 400 + 20 / 400)
    assert "|missing:skip|" in skip.rouge1.signature


def test_references_without_a_prediction_are_refused_on_demand(files: FILES) -> None:
    with pytest.raises(InputError, match="20 of 400 references have no prediction to score") as it:
        scored(files, missing="fail")
    assert "failed 0, missing 20, duplicate 0; for example 0 (missing)" in it.value.message
    assert "--missing zero" in str(it.value.hint)
    assert score(files[2], files[2], pred="summary", ref="summary", missing="fail").rouge1.n == 400


def test_nothing_to_score_is_refused_not_nan(tmp_path: Path) -> None:
    found = write_rows(tmp_path / "p.jsonl", [{"id": 1, "code": "oom", "message": "…"}])
    wanted = write_rows(tmp_path / "r.jsonl", [{"id": 1, "ref": "a"}])
    with pytest.raises(InputError, match="no reference has a prediction"):
        score(found, wanted, missing="skip")
    assert [one.value for one in score(found, wanted).scores] == [0, 0, 0, 0, 0, 0, 1]


def test_an_id_with_two_answers_scores_as_a_missing_one(tmp_path: Path) -> None:
    found = [{"id": 1, "text": "a b"}, {"id": 2, "text": "c d"}, {"id": 2, "text": "x"}]
    wanted = [{"id": 1, "ref": "a b"}, {"id": 2, "ref": "c d"}]
    paths = write_rows(tmp_path / "p.jsonl", found), write_rows(tmp_path / "r.jsonl", wanted)
    scores = score(*paths)
    assert (scores.counts.scored, scores.counts.duplicate) == (1, 1)
    assert scores.rouge1.value == 0.5
    assert scores["length_ratio"].value == 0.5
    assert score(*paths, missing="skip").rouge1.value == 1
    assert "1 id is answered more than once, and differently" in scores.notes[0]
    assert "lines 2 and 3" in scores.notes[0]
    with pytest.raises(InputError, match="duplicate 1; for example 2"):
        score(*paths, missing="fail")


def test_intervals_hold_the_value_and_can_be_left_out(files: FILES) -> None:
    for one in scored(files).scores:
        assert one.low is not None
        assert one.high is not None
        assert one.low <= one.value <= one.high
    bare = scored(files, samples=0)
    assert {(one.low, one.high) for one in bare.scores} == {(None, None)}
    assert [one.value for one in bare.scores] == [one.value for one in scored(files).scores]
    assert bare.rouge1.signature.endswith("|ci:no|v:" + bare.rouge1.signature.split("v:")[1])


def test_a_seed_gives_the_same_interval_and_another_seed_another(files: FILES) -> None:
    first, again, other = scored(files), scored(files), scored(files, seed=7)
    assert first.scores == again.scores
    assert first.rouge1.low != other.rouge1.low
    assert first.rouge1.value == other.rouge1.value
    assert "seed-7" in other.rouge1.signature


def test_one_metric_alone_has_the_numbers_it_has_among_others(files: FILES) -> None:
    alone = scored(files, metrics=["rougeL"], baseline=files[1])
    among = scored(files, baseline=files[1])
    assert alone.rougeL.value == among.rougeL.value
    assert alone.rougeL.low == pytest.approx(among.rougeL.low, rel=1e-12)
    ours = alone.baseline.comparisons[0]
    (theirs,) = (one for one in among.baseline.comparisons if one.name == "rougeL")
    assert (ours.difference, ours.p_randomisation) == (theirs.difference, theirs.p_randomisation)
    assert ours.low == pytest.approx(theirs.low, rel=1e-12)


def test_the_median_of_bootstrap_is_what_evaluate_prints(files: FILES) -> None:
    """mid.fmeasure of rouge_score's aggregator for one seed, all types from one generator."""
    got = scored(files, mean="bootstrap-median", missing="skip", seed=42)
    oracle, aggregator = RougeScorer(list(ROUGE_TYPES)), BootstrapAggregator()
    texts = {row["id"]: row["text"] for row in read_lines(files[0])}
    for row in demo()[:400]:
        if row["id"] in texts:
            aggregator.add_scores(oracle.score(row["summary"], texts[row["id"]]))
    np.random.seed(42)
    for name, wanted in aggregator.aggregate().items():
        one = got[name]
        assert (one.precision, one.recall, one.value) == tuple(wanted.mid)
        assert (one.low, one.high) == (wanted.low.fmeasure, wanted.high.fmeasure)
        assert "|mean:bootstrap-median|" in one.signature
    assert "|mean:exact|" in got["empty"].signature


def test_a_better_system_is_told_from_its_baseline(files: FILES) -> None:
    scores = scored(files, baseline=files[1])
    baseline = scores.baseline
    assert baseline is not None
    assert (baseline.n, baseline.counts.missing) == (400, 16)
    rouge1 = baseline.comparisons[0]
    theirs = score(files[1], files[2], ref="summary")
    assert rouge1.baseline == theirs.rouge1.value
    assert rouge1.difference == scores.rouge1.value - theirs.rouge1.value
    assert 0 < rouge1.low < rouge1.difference < rouge1.high
    assert rouge1.p_bootstrap == 1 / 1001
    assert rouge1.p_randomisation == 1 / 10_001
    for one in baseline.comparisons:
        assert one.wins + one.ties + one.losses == one.n == 400


def test_swapping_the_sides_mirrors_the_comparison(files: FILES) -> None:
    there = scored(files, baseline=files[1]).baseline.comparisons
    back = score(files[1], files[2], ref="summary", baseline=files[0]).baseline.comparisons
    for one, other in zip(there, back, strict=True):
        assert one.difference == -other.difference
        assert (one.wins, one.ties, one.losses) == (other.losses, other.ties, other.wins)
        assert one.p_randomisation == pytest.approx(other.p_randomisation, abs=0.03)
        assert one.low == pytest.approx(-other.high, abs=0.02)
        assert [-moved.difference for moved in one.down] == [moved.difference for moved in other.up]


def test_a_system_against_itself_has_no_difference(files: FILES) -> None:
    for one in scored(files, baseline=files[0]).baseline.comparisons:
        assert (one.difference, one.low, one.high) == (0, 0, 0)
        assert (one.p_bootstrap, one.p_randomisation) == (1, 1)
        assert (one.wins, one.ties, one.losses) == (0, 400, 0)
        assert one.up == one.down == ()


def test_fewer_empty_outputs_are_wins(tmp_path: Path) -> None:
    wanted = write_rows(tmp_path / "r.jsonl", [{"id": n, "ref": "a"} for n in range(3)])
    full = write_rows(tmp_path / "full.jsonl", [{"id": n, "text": "a"} for n in range(3)])
    empty = write_rows(tmp_path / "e.jsonl", [{"id": n, "text": " "} for n in range(3)])
    (one,) = score(full, wanted, metrics=["empty"], baseline=empty).baseline.comparisons
    assert (one.difference, one.wins, one.losses) == (-1, 3, 0)


def test_the_records_that_moved_most_are_named(files: FILES) -> None:
    scores = scored(files, baseline=files[1])
    rouge1 = scores.baseline.comparisons[0]
    change = scores.records.values["rouge1"] - scores.records.baseline_values["rouge1"]
    assert [one.difference for one in rouge1.up] == sorted(change, reverse=True)[:10]
    assert [one.difference for one in rouge1.down] == sorted(change)[:10]
    for one in (*rouge1.up, *rouge1.down):
        assert change[one.place] == one.difference
        assert scores.records.ids[one.place] == one.id


def test_skipping_compares_only_what_both_have_answered(files: FILES) -> None:
    scores = scored(files, baseline=files[1], missing="skip")
    assert scores.rouge1.n == 380
    assert scores.baseline.n == 400 - 20 - 16 + 4  # every 20th, every 25th, every 100th
    assert {one.n for one in scores.baseline.comparisons} == {368}


def test_systems_without_a_record_in_common_are_refused(tmp_path: Path) -> None:
    wanted = write_rows(tmp_path / "r.jsonl", [{"id": 1, "ref": "a"}, {"id": 2, "ref": "b"}])
    one = write_rows(tmp_path / "1.jsonl", [{"id": 1, "text": "a"}])
    two = write_rows(tmp_path / "2.jsonl", [{"id": 2, "text": "a"}])
    with pytest.raises(InputError, match="no record in common that counts"):
        score(one, wanted, baseline=two, missing="skip")


def test_the_field_of_the_baseline_may_have_another_name(files: FILES, tmp_path: Path) -> None:
    rows = read_lines(files[1])
    renamed = ({"id": row["id"], "out": row["text"], "note": "x"} for row in rows)
    other = write_rows(tmp_path / "o.jsonl", renamed)
    with_field = scored(files, baseline=other, baseline_pred="out")
    assert with_field.baseline.pred == "out"
    assert with_field.baseline.comparisons == scored(files, baseline=files[1]).baseline.comparisons


def test_slices_are_scored_alone_and_sorted_by_their_gap(files: FILES) -> None:
    scores = scored(files, by=["section"], source="document")
    columns = list(dict.fromkeys(one.column for one in scores.slices))
    assert columns == ["section", "reference length", "source length"]
    for column in columns:
        slices = [one for one in scores.slices if one.column == column]
        assert sum(one.n for one in slices) == 400
        places = [(one.n < 10, one.scores[0].gap) for one in slices]
        assert places == sorted(places)
        weighted = math.fsum(one.scores[0].value * one.n for one in slices) / 400
        assert weighted == pytest.approx(scores.rouge1.value)
    perl = next(one for one in scores.slices if one.label == "perl")
    places = [at for at, row in enumerate(demo()[:400]) if row["section"] == "perl"]
    assert perl.n == len(places)
    assert perl.scores[0].value == pytest.approx(scores.records.values["rouge1"][places].mean())
    assert perl.scores[0].low < perl.scores[0].value < perl.scores[0].high
    assert perl.scores[0].difference is None
    assert {one.scores[0].low for one in scores.slices if one.n < 10} == {None}


def test_quarters_by_length_are_even_and_hold_equal_lengths_together(files: FILES) -> None:
    quarters = [one for one in scored(files).slices if one.column == "reference length"]
    assert len(quarters) == 4
    assert all(60 <= one.n <= 140 for one in quarters)
    edges = sorted(tuple(map(int, one.label.split()[:3:2])) for one in quarters)
    assert all(high < low for (_, high), (low, _) in pairwise(edges))


def test_texts_of_one_length_are_one_quarter(tmp_path: Path) -> None:
    rows = [{"id": n, "ref": "same"} for n in range(8)]
    wanted = write_rows(tmp_path / "r.jsonl", rows)
    (one,) = score(wanted, wanted, pred="ref", ref="ref").slices
    assert (one.n, one.label) == (8, "4 to 4 characters")


def test_slices_of_a_comparison_tell_where_the_difference_is(files: FILES) -> None:
    scores = scored(files, by=["section"], baseline=files[1])
    for column in ("section", "reference length"):
        first = [(one.n, one.scores[0]) for one in scores.slices if one.column == column]
        total = math.fsum(n * one.difference for n, one in first) / 400
        assert total == pytest.approx(scores.baseline.comparisons[0].difference)
    assert all(
        one.scores[0].difference_low <= one.scores[0].difference <= one.scores[0].difference_high
        for one in scores.slices
        if one.n >= 10
    )


def test_a_column_may_hold_numbers_booleans_and_nothing(tmp_path: Path) -> None:
    values = [1, True, None, "1", 1.5]
    rows = [{"id": n, "ref": "a", "x": value} for n, value in enumerate(values)]
    wanted = write_rows(tmp_path / "r.jsonl", [*rows, {"id": 9, "ref": "a"}])
    slices = score(wanted, wanted, pred="ref", ref="ref", by=["x"]).slices
    assert {one.label: one.n for one in slices if one.column == "x"} == {
        **{"1": 2, "true": 1, "(none)": 2, "1.5": 1}
    }


def test_all_forms_have_the_same_numbers(files: FILES) -> None:
    scores = scored(files, by=["section"], baseline=files[1])
    plain = json.loads(json.dumps(scores.as_dict()))
    for row, compared in zip(scores.table(), plain["baseline"]["comparisons"], strict=True):
        one = plain["scores"][row["metric"]]
        for name in ("value", "low", "high", "precision", "recall", "n", "signature"):
            assert row[name] == one[name]
        for name in ("baseline", "difference", "p_bootstrap", "p_randomisation", "wins"):
            assert row[name] == compared[name]
        assert row["difference_low"] == compared["low"]
    assert len(scores.slice_table()) == sum(len(one["scores"]) for one in plain["slices"])
    page = scores._repr_html_()
    for row in scores.table():
        assert f"<td>{row['value']:.4f}</td>" in page
        assert f"<td>{row['difference']:+.4f}</td>" in page
    assert "<b>Better than the baseline: rouge1 +0." in page
    first = scores.slices[0].scores[0]
    assert f"<td>{first.difference:+.4f}</td>" in page
    assert f"{len(scores.slices) - 20} more slices in slice_table()" in page
    assert "NaN" not in json.dumps(plain)


def test_a_notebook_shows_hostile_names_as_text(tmp_path: Path) -> None:
    rows = [{"id": 1, "ref": "a", "x": "<script>alert(1)</script>"}]
    wanted = write_rows(tmp_path / "<b>.jsonl", rows)
    page = score(wanted, wanted, pred="ref", ref="ref", by=["x"])._repr_html_()
    assert "<script>" not in page
    assert "<b>.jsonl" not in page
    assert "&lt;script&gt;" in page


def test_each_record_has_its_numbers_and_its_texts(files: FILES) -> None:
    scores = scored(files, baseline=files[1], source="document")
    table = scores.records.table()
    assert len(table) == len(scores.records) == 400
    assert (table[0]["state"], table[0]["rouge1"]) == ("missing", 0)
    assert math.fsum(row["rouge1"] for row in table) / 400 == scores.rouge1.value
    assert (table[25]["state"], table[25]["baseline_state"]) == ("scored", "missing")
    most = scores.baseline.comparisons[0].up[0].place
    first, missing = scores.records.examples([most, 0])
    assert (first.id, missing.id) == (demo()[most]["id"], 0)
    assert first.values["rouge1"] == table[most]["rouge1"]
    assert first.references == (demo()[most]["summary"],)
    assert first.source == demo()[most]["document"]
    assert first.prediction in files[0].read_text()
    assert (missing.prediction, missing.baseline, missing.state) == (None, None, "missing")


def test_texts_of_another_script_are_noted_under_the_default_tokenizer(tmp_path: Path) -> None:
    wanted = write_rows(tmp_path / "r.jsonl", [{"id": 1, "ref": "猫が座る"}])
    scores = score(wanted, wanted, pred="ref", ref="ref")
    assert scores.rouge1.value == 0
    assert "1 reference has no word of a-z and 0-9" in scores.notes[0]
    better = score(wanted, wanted, pred="ref", ref="ref", tokenizer="cjk")
    assert (better.rouge1.value, better.notes) == (1, ())
    assert "|tok:cjk-" in better.rouge1.signature


def test_the_signature_tells_how_many_references_records_have(tmp_path: Path) -> None:
    found = write_rows(tmp_path / "p.jsonl", [{"id": 1, "text": "a b"}, {"id": 2, "text": "c"}])
    rows = [{"id": 1, "ref": ["x", "a b", "y"]}, {"id": 2, "ref": ["c"]}]
    scores = score(found, write_rows(tmp_path / "r.jsonl", rows), ref="ref")
    assert scores.rouge1.value == 1
    assert "|refs:1-3|" in scores.rouge1.signature


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"missing": "drop"}, 'missing="drop": is none of zero, skip, fail'),
        ({"mean": "median"}, 'mean="median": is none of exact, bootstrap-median'),
        ({"samples": -1}, "samples=-1: must be 0 or more"),
        ({"seed": -1}, "seed=-1: must be from 0 to"),
        ({"mean": "bootstrap-median", "samples": 0}, "samples=0: .*needs samples"),
    ],
)
def test_what_cannot_be_is_refused(files: FILES, how: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        scored(files, **how)


def test_data_frames_come_where_pandas_is(files: FILES) -> None:
    scores = scored(files)
    try:
        import pandas  # noqa: F401
    except ImportError:
        with pytest.raises(UsageError, match="pandas, which is not installed"):
            scores.frame()
    else:
        assert list(scores.frame()["metric"]) == [one.name for one in scores.scores]
        assert scores.records.frame()["rouge1"].mean() == pytest.approx(scores.rouge1.value)


def test_the_command_line_prints_the_same_numbers(files: FILES) -> None:
    flags = ["--ref", "summary", "--baseline", files[1], "--by", "section"]
    scores = scored(files, baseline=files[1], by=["section"])
    plain = textmill("score", files[0], files[2], *flags, "--json")
    assert plain.code == 0
    assert json.loads(plain.out) == json.loads(json.dumps(scores.as_dict()))
    shown = textmill("score", files[0], files[2], *flags)
    assert shown.code == 0
    for row in scores.table():
        assert f"{row['value']:.4f}" in shown.out
        assert f"{row['difference']:+.4f}" in shown.out
    assert "references 400 = scored 380 + failed 0 + missing 20" in shown.out
    assert "references 400 = scored 384 + failed 0 + missing 16" in shown.out
    assert all(one.label in shown.out for one in scores.slices if one.n >= 10)


def test_a_comparison_ends_with_its_answer_and_where_it_holds(files: FILES) -> None:
    shown = textmill("score", files[0], files[2], "--ref", "summary", "--baseline", files[1])
    answer, where = shown.out.splitlines()[-2:]
    assert answer.startswith("Better than the baseline: rouge1 +0.")
    assert re.fullmatch(
        r"Of 4 slices with an interval, rouge1 is above the baseline's in [1-4] \(reference length "
        r"\d+ to \d+ characters \+0\.\d{4}.*\), and below it in none; "
        r"one in twenty would be by chance",
        where,
    )
    alone = textmill("score", files[0], files[2], "--ref", "summary")
    assert alone.out.splitlines()[-1].startswith("  rouge1|")


def test_where_names_what_is_apart_the_largest_difference_first(files: FILES) -> None:
    mirrored = score(files[1], files[2], ref="summary", baseline=files[0])
    said = "".join(one.text for one in where(mirrored))
    assert "above the baseline's in none, and below it in" in said
    differences = [float(one) for one in re.findall(r"-0\.\d{4}", said)]
    below = [one.scores[0] for one in mirrored.slices if (one.scores[0].difference_high or 0) < 0]
    assert differences == sorted(round(one.difference or 0, 4) for one in below)
    assert where(scored(files)) == where(scored(files, baseline=files[1], samples=0)) == ()


def test_many_slices_too_small_for_an_interval_are_counted_in_the_terminal(tmp_path: Path) -> None:
    rows = [{"id": n, "ref": f"a {n}", "x": f"label {n // 2}"} for n in range(60)]
    wanted = write_rows(tmp_path / "r.jsonl", rows)
    ran = textmill("score", wanted, wanted, "--pred", "ref", "--ref", "ref", "--by", "x")
    assert ran.out.count("    label ") == 12
    assert "… 18 more slices of fewer than 10 records: --json has them" in ran.out


def test_no_difference_has_no_sign() -> None:
    assert number("rouge1", 0.0, sign=True) == number("rouge1", -0.0, sign=True) == "0.0000"
    assert number("rouge1", -1e-9, sign=True) == "-0.0000"
    assert number("bleu", 1.0, sign=True) == "+1.00"


def test_the_command_line_refuses_missing_predictions_on_demand(files: FILES) -> None:
    ran = textmill("score", files[0], files[2], "--ref", "summary", "--missing", "fail")
    assert ran.code == 2
    assert "20 of 400 references have no prediction to score" in ran.err


def test_labels_and_ids_cannot_command_the_terminal(tmp_path: Path) -> None:
    rows = [{"id": f"\x1b[2J{n}", "ref": f"a {n}", "x": "\x1b[31mred\nline"} for n in range(3)]
    wanted = write_rows(tmp_path / "r.jsonl", rows)
    other = ({**row, "ref": "b"} for row in rows)
    flags = ["--pred", "ref", "--ref", "ref", "--by", "x"]
    flags += ["--baseline", write_rows(tmp_path / "o.jsonl", other)]
    ran = textmill("score", wanted, wanted, *flags)
    assert ran.code == 0, ran.err
    assert "\x1b" not in ran.out
    assert "?[31mred?line" in ran.out
