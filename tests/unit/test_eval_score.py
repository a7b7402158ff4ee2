"""`textmill.score` whole: missing answers, intervals, baseline, slices, records, all forms."""

from __future__ import annotations

import json
import math
import random
import re
from html import unescape
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
from textmill.evaluation.figures import gap, number
from textmill.evaluation.verdict import headline, where

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
        assert one.wins + one.ties + one.losses == one.n
        assert one.n == (368 if one.name == "repetition" else 400)


def test_swapping_the_sides_mirrors_the_comparison(files: FILES) -> None:
    there = scored(files, baseline=files[1]).baseline.comparisons
    back = score(files[1], files[2], ref="summary", baseline=files[0]).baseline.comparisons
    for one, other in zip(there, back, strict=True):
        assert one.difference == -other.difference
        assert (one.wins, one.ties, one.losses) == (other.losses, other.ties, other.wins)
        assert one.p_randomisation == other.p_randomisation
        assert (one.low, one.high) == pytest.approx((-other.high, -other.low), rel=1e-12)
        assert [-moved.difference for moved in one.down] == [moved.difference for moved in other.up]


def test_a_system_against_itself_has_no_difference(files: FILES) -> None:
    for one in scored(files, baseline=files[0]).baseline.comparisons:
        assert (one.difference, one.low, one.high) == (0, 0, 0)
        assert (one.p_bootstrap, one.p_randomisation) == (1, 1)
        assert (one.wins, one.ties, one.losses) == (0, one.n, 0)
        assert one.up == one.down == ()


@pytest.mark.parametrize("missing", ["zero", "skip"])
def test_a_baseline_that_left_out_half_repeats_no_more_for_it(tmp_path: Path, missing: str) -> None:
    """Equal answers where there are two: nothing of the share of 4-grams tells them apart."""
    texts = {n: f"a{n} b c d e f" for n in range(300)} | {5: "u v w x u v w x u v w x"}
    wanted = write_rows(tmp_path / "r.jsonl", [{"id": n, "ref": texts[n]} for n in texts])
    rows = [{"id": n, "text": text, "src": text} for n, text in texts.items()]
    ours = write_rows(tmp_path / "p.jsonl", rows)
    half = write_rows(tmp_path / "half.jsonl", rows[:150])
    how: dict[str, Any] = {"metrics": ["repetition", "rouge1"], "missing": missing}
    for pair in ((ours, half), (half, ours)):
        scores = score(pair[0], wanted, pred="text", baseline=pair[1], **how)
        one = scores.baseline.comparisons[0]
        assert (one.difference, one.low, one.high, one.p_randomisation) == (0, 0, 0, 1)
        assert (one.wins, one.ties, one.losses, one.n) == (0, 150, 0, 150)
        assert one.value == one.baseline > 0
        sliced = [group.scores[0] for group in scores.slices]
        assert {slice_.difference for slice_ in sliced} == {0}


def test_what_a_record_repeats_is_shown_though_the_other_system_has_not_answered_it(
    tmp_path: Path,
) -> None:
    rows = [{"id": n, "text": "u v w x u v w x", "ref": "a"} for n in range(2)]
    wanted = write_rows(tmp_path / "r.jsonl", rows)
    half = write_rows(tmp_path / "half.jsonl", rows[:1])
    how: dict[str, Any] = {"pred": "text", "ref": "ref", "metrics": ["repetition"]}
    records = score(half, wanted, baseline=wanted, **how).records
    assert records.baseline_values["repetition"].tolist() == [0.2, 0.2]
    assert score(wanted, wanted, baseline=half, **how).records.values["repetition"][1] == 0.2


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
    found = (list(map(int, re.findall(r"\d+", one.label))) for one in quarters)
    edges = sorted((one[0], one[-1]) for one in found)
    assert all(high < low for (_, high), (low, _) in pairwise(edges))


def test_texts_of_one_length_are_one_quarter(tmp_path: Path) -> None:
    rows = [{"id": n, "ref": "same"} for n in range(8)]
    wanted = write_rows(tmp_path / "r.jsonl", rows)
    (one,) = score(wanted, wanted, pred="ref", ref="ref").slices
    assert (one.n, one.label) == (8, "4 characters")


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
        **{"1": 1, "true": 1, "(none)": 2, '"1"': 1, "1.5": 1}
    }


def test_values_that_are_written_alike_are_slices_of_their_own(tmp_path: Path) -> None:
    values = [None, "(none)", "", "none"]
    rows = [{"id": n, "ref": "a", "x": value} for n, value in enumerate(values)]
    wanted = write_rows(tmp_path / "r.jsonl", rows)
    slices = score(wanted, wanted, pred="ref", ref="ref", by=["x"]).slices
    assert {one.label: one.n for one in slices if one.column == "x"} == {
        **{"(none)": 1, '"(none)"': 1, '""': 1, '"none"': 1}
    }
    wanted = write_rows(tmp_path / "r.jsonl", rows[2:])
    slices = score(wanted, wanted, pred="ref", ref="ref", by=["x"]).slices
    assert {one.label for one in slices if one.column == "x"} == {'""', "none"}


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
    assert "1 reference loses a fifth or more of its letters" in scores.notes[0]
    words = score(wanted, wanted, pred="ref", ref="ref", tokenizer="unicode")
    assert words.notes == ()
    better = score(wanted, wanted, pred="ref", ref="ref", tokenizer="cjk")
    assert (better.rouge1.value, better.notes) == (1, ())
    assert "|tok:cjk-" in better.rouge1.signature


def test_references_in_two_scripts_are_noted_by_what_is_lost_of_them(tmp_path: Path) -> None:
    """A word of ASCII in a Chinese sentence would else be all that is compared."""
    rows = [{"id": n, "ref": f"GPT模型在第{n}个任务上表现最好"} for n in range(3)]
    found = [{"id": n, "text": "GPT 不太好"} for n in range(3)]
    wanted = write_rows(tmp_path / "r.jsonl", [*rows, {"id": 9, "ref": ["plain", "猫"]}])
    paths = write_rows(tmp_path / "p.jsonl", found), wanted
    (note,) = score(*paths, ref="ref").notes
    assert note.startswith("3 references lose a fifth or more of their letters to the tokenizer")
    (note,) = score(*paths, ref="ref", tokenizer="unicode").notes
    assert note.startswith("3 references are written without spaces")
    assert "cjk takes each character as one" in note
    assert score(*paths, ref="ref", tokenizer="cjk").notes == ()


def test_references_without_text_and_files_without_rows_are_noted(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("id,ref\n1,a\n2,\n3, \n")
    (tmp_path / "p.csv").write_text("id,text\n1,a\n2,b\n3,c\n")
    (tmp_path / "head.csv").write_text("id,text\n")
    (tmp_path / "none.jsonl").write_text("")
    (note,) = score(tmp_path / "p.csv", tmp_path / "r.csv").notes
    assert note == (
        '2 references are empty, such as that of the id "2": whatever is predicted, ROUGE is 0 '
        "there."
    )
    for name in ("head.csv", "none.jsonl"):
        scores = score(tmp_path / name, tmp_path / "r.csv")
        assert scores.notes[0] == f"{tmp_path / name} has no rows in it."
        assert scores.counts.missing == 3
    compared = score(tmp_path / "p.csv", tmp_path / "r.csv", baseline=tmp_path / "head.csv")
    assert compared.baseline.notes[0] == f"{tmp_path / 'head.csv'} has no rows in it."


def test_extra_ids_that_differ_from_missing_ones_in_writing_only_are_noted(tmp_path: Path) -> None:
    wanted = write_rows(tmp_path / "r.jsonl", [{"id": n, "ref": "a"} for n in range(6)])
    ids = [0, "1", "002", 3.0, "4.0", " 5 ", "1", "x"]
    found = write_rows(tmp_path / "p.jsonl", [{"id": one, "text": "a"} for one in ids])
    scores = score(found, wanted)
    assert (scores.counts.scored, scores.counts.missing, scores.counts.extra) == (2, 4, 6)
    (note,) = scores.notes
    assert note.startswith(
        "4 missing ids are among the extra ones but for the type, zeros in front"
    )
    assert 'such as "1" for 1; different ids do not match' in note
    plain = write_rows(tmp_path / "q.jsonl", [{"id": one, "text": "a"} for one in (0, 1, 7, "8")])
    assert score(plain, wanted).notes == ()
    assert score(plain, wanted, baseline=found).baseline.notes[0] == note


def test_what_the_baseline_lacks_is_said_with_the_answer(files: FILES, tmp_path: Path) -> None:
    """Else a baseline cut off in the middle reads as one that is worse."""
    rows = read_lines(files[1])
    half = write_rows(tmp_path / "half.jsonl", rows[:184])
    full = write_rows(tmp_path / "full.jsonl", ({"id": n, "text": "a"} for n in range(400)))

    def said(ours: Path, theirs: Path | None, **how: Any) -> str:
        found = score(ours, files[2], ref="summary", baseline=theirs, samples=100, **how)
        return headline(found).partition("; ")[2]

    assert said(full, half) == "216 of the baseline's are missing and count as 0"
    assert said(half, full) == "216 predictions are missing and count as 0"
    assert said(files[0], half, missing="skip") == (
        "20 predictions and 216 of the baseline's are missing and left out"
    )
    assert said(full, half, metrics=["empty"]).endswith("count as empty")
    assert said(full, half, metrics=["repetition"]).endswith("left out")
    assert said(full, full) == said(full, None) == ""
    shown = textmill("score", full, files[2], "--ref", "summary", "--baseline", half).out
    assert "; 216 of the baseline's are missing and count as 0\n" in shown
    compared = score(full, files[2], ref="summary", baseline=half, report=tmp_path / "r.html")
    page = unescape(re.sub(r"<[^>]*>", "", (tmp_path / "r.html").read_text("utf-8")))
    assert "216 of the baseline's are missing and count as 0." in page
    assert "references 400scored 184failed 0missing 216" in page.replace("\n", "")
    notebook = compared._repr_html_()
    assert "400 references = scored 184 + failed 0 + missing 216" in notebook
    assert "216 of the baseline" in notebook


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
        ({"samples": -1}, "samples=-1: must be 0, or from 100 to 1,000,000"),
        ({"samples": 99}, "samples=99: must be 0, or from 100 to 1,000,000"),
        ({"samples": 1_000_001}, "samples=1000001: must be 0, or from 100 to 1,000,000"),
        ({"samples": "5"}, 'samples="5": must be a whole number'),
        ({"samples": 1.5}, "samples=1.5: must be a whole number"),
        ({"samples": True}, "samples=true: must be a whole number"),
        ({"seed": None}, "seed=null: must be a whole number"),
        ({"by": "section"}, 'by="section": must be a list of names'),
        ({"by": [1]}, r"by=\[1\]: must be a list of names"),
        ({"metrics": 5}, "metrics=5: must be a list of names"),
        ({"on": None}, "on=null: must be the name of a field"),
        ({"ref": 7}, "ref=7: must be the name of a field"),
        ({"seed": -1}, "seed=-1: must be from 0 to"),
        ({"mean": "bootstrap-median", "samples": 0}, "samples=0: .*needs samples"),
    ],
)
def test_what_cannot_be_is_refused(files: FILES, how: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        scored(files, **how)


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ((None, None), "null is null, not a path"),
        ((["p"], "r"), r'\["p"\] is a list, not a path'),
        (("p", None), "references=null: must be a path, or a list of paths"),
        (("p", []), r"references=\[\]: must be a path"),
        (("p", ["r", 3]), "must be a path, or a list of paths"),
    ],
)
def test_what_is_no_path_is_refused(paths: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        score(*paths)


def test_scores_are_printed_in_a_line(files: FILES) -> None:
    scores = scored(files, baseline=files[1], by=["section"])
    assert repr(scores) == f"<{files[0]}: {headline(scores)}>"
    for one in (scores.baseline, scores.baseline.comparisons[0]):
        assert len(repr(one)) < 300


def test_a_record_that_is_not_there_is_an_index_error(files: FILES) -> None:
    scores = scored(files)
    for place in (-1, 400):
        with pytest.raises(IndexError, match=f"no record {place}, only 0 to 399"):
            scores.records.examples([0, place])


def test_json_says_what_the_terminal_says(files: FILES) -> None:
    said = scored(files, baseline=files[1]).as_dict()
    assert said["verdict"].startswith("Better than the baseline: rouge1 +0.")
    assert said["where"].startswith("Of 4 slices with an interval")
    assert scored(files).as_dict()["where"] is None


def test_the_signature_names_an_interval_only_where_there_is_one(tmp_path: Path) -> None:
    wanted = write_rows(tmp_path / "r.jsonl", [{"id": n, "ref": "a"} for n in range(9)])
    assert "|ci:no|" in score(wanted, wanted, pred="ref", ref="ref").rouge1.signature


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


def test_long_labels_are_cut_in_the_terminal_and_one_slice_is_said_as_one(tmp_path: Path) -> None:
    rows = [{"id": n, "ref": "a b", "x": "long " * 50} for n in range(12)]
    wanted = write_rows(tmp_path / "r.jsonl", rows)
    write_rows(tmp_path / "o.jsonl", ({"id": n, "ref": "a"} for n in range(12)))
    flags = ["--pred", "ref", "--ref", "ref", "--baseline", "o.jsonl"]
    ran = textmill("score", wanted.name, wanted.name, *flags, "--by", "x", cwd=tmp_path)
    *lines, where = ran.out.splitlines()
    assert max(map(len, lines)) < 150
    assert len(where) < 300
    assert f"    {('long ' * 50)[:47]}… " in ran.out
    assert "(x " + ("long " * 50)[:47] + "… +0.3333" in where
    shown = textmill("score", wanted.name, wanted.name, *flags, cwd=tmp_path)
    assert shown.out.splitlines()[-1].startswith("Of the one slice with an interval, rouge1 is")


def test_a_comparison_of_what_both_have_answered_shows_both_values(files: FILES) -> None:
    """They are not those of the scores above, which are over more records."""
    flags = ["--ref", "summary", "--missing", "skip", "--baseline", files[1]]
    shown = textmill("score", files[0], files[2], *flags).out
    one = scored(files, baseline=files[1], missing="skip").baseline.comparisons[0]
    line = next(line for line in shown.splitlines() if f"{one.difference:+.4f}" in line)
    assert line.split()[1:4] == [
        f"{one.baseline:.4f}",
        f"{one.value:.4f}",
        f"{one.difference:+.4f}",
    ]


def test_no_difference_has_no_sign() -> None:
    assert number("rouge1", 0.0, sign=True) == number("rouge1", -0.0, sign=True) == "0.0000"
    assert number("rouge1", -1e-9, sign=True) == "-0.0000"
    assert number("rouge1", -1e-15, sign=True) == "0.0000"
    assert gap("rouge1", -1e-9) == gap("rouge1", 1e-9) == "0.0000"
    assert gap("rouge1", -0.12345) == "-0.1235"
    assert gap("bleu", 0.014) == "+0.01"
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
