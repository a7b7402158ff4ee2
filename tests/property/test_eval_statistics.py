"""Intervals cover, tests reject as often as they say, and agree with those of others."""

from __future__ import annotations

import itertools
import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.scoring import BootstrapAggregator

import textmill
from support.evaluation import cnn_dailymail_like, demo, mutated, write_rows
from textmill import Scores
from textmill.evaluation.base import ROUGE_TYPES, Block
from textmill.evaluation.resampling import (
    MIN_RECORDS,
    Draws,
    bootstrap_p,
    bootstrap_sums,
    bounds,
    bounds_of_difference,
    median_of_bootstrap,
    randomisation_p,
    swapped_sums,
    t_quantile,
)
from textmill.evaluation.rouge import Rouge

FEW = Draws(samples=1000, trials=1000)


def f1_like(rng: np.random.Generator, size: int) -> np.ndarray:
    """Skewed, between 0 and 1, one in twenty 0: as the F-measures of a real job."""
    return rng.beta(2, 6, size) * (rng.random(size) > 0.05)


def mean_draws(rows: np.ndarray, seed: int) -> np.ndarray:
    draws = Draws(samples=1000, seed=seed)
    return bootstrap_sums({"m": rows[:, None]}, draws)["m"][:, 0] / len(rows)


@pytest.mark.parametrize(
    "records",
    [
        MIN_RECORDS,
        pytest.param(25, marks=pytest.mark.full),
        100,
        pytest.param(300, marks=pytest.mark.full),
    ],
)
def test_95_percent_intervals_of_a_mean_cover_93_to_97_percent(records: int) -> None:
    """2,000 simulated jobs."""
    rng = np.random.default_rng(1)
    everyone = f1_like(rng, 1_000_000)
    covered = 0
    for seed in range(2000):
        low, high = bounds(mean_draws(rng.choice(everyone, records), seed), records)
        covered += low <= everyone.mean() <= high
    assert 0.93 <= covered / 2000 <= 0.97


def test_95_percent_intervals_of_a_ratio_and_of_a_difference_cover_too() -> None:
    rng = np.random.default_rng(2)
    covered = np.zeros(2)
    for seed in range(2000):
        rows = np.stack([rng.poisson(45, 60), rng.poisson(50, 60)], axis=1) + 1.0
        ours, theirs = bootstrap_sums({"m": rows}, Draws(seed=seed))["m"].T
        low, high = bounds(ours / theirs, 60)
        covered[0] += low <= 46 / 51 <= high
        observed = float(np.mean(rows[:, 0] - rows[:, 1]))
        low, high = bounds_of_difference(observed, (ours - theirs) / 60, 60)
        covered[1] += low <= -5 <= high
    assert all((covered >= 0.93 * 2000) & (covered <= 0.97 * 2000))


@pytest.mark.parametrize("records", [MIN_RECORDS, 20, 40])
def test_few_records_of_systems_that_are_alike_are_seldom_told_apart(records: int) -> None:
    """Half of the records tie, as those of one model with two settings do; 1,500 slices."""
    rng = np.random.default_rng(4)
    apart = 0
    for seed in range(1500):
        difference = rng.normal(0, 0.2, records) * (rng.random(records) < 0.45)
        drawn = mean_draws(difference, seed)
        low, high = bounds_of_difference(float(difference.mean()), drawn, records)
        apart += low > 0 or high < 0
    assert 0.01 < apart / 1500 <= 0.055


def test_too_few_records_have_no_interval() -> None:
    assert bounds_of_difference(0.5, np.arange(1000.0), MIN_RECORDS - 1) == (None, None)
    assert bounds(np.arange(1000.0), MIN_RECORDS - 1) == (None, None)
    assert bounds(None, 100) == (None, None)


@pytest.mark.parametrize(("freedom", "t"), [(9, 2.26216), (19, 2.09302), (99, 1.98422)])
def test_students_t_is_that_of_the_tables(freedom: int, t: float) -> None:
    assert t_quantile(freedom) == pytest.approx(t, rel=1e-4)


def p_values(difference: np.ndarray, draws: Draws) -> tuple[float, float]:
    """By bootstrap and by randomisation, of a mean difference."""
    observed, records = difference.mean(), len(difference)
    drawn = bootstrap_sums({"m": difference[:, None]}, draws)["m"][:, 0] / records
    swapped = swapped_sums({"m": difference[:, None]}, draws)["m"][:, 0] / records
    return bootstrap_p(drawn, observed), randomisation_p(observed - 2 * swapped, observed)


@pytest.fixture(scope="module")
def p_of_alike() -> np.ndarray:
    """p by bootstrap and by randomisation of 1,500 pairs of systems whose scores differ by noise
    only; 100 records each."""
    rng = np.random.default_rng(3)
    found = []
    for seed in range(1500):
        record = f1_like(rng, 100)
        ours, theirs = (record + rng.normal(0, 0.1, 100) for _ in range(2))
        found.append(p_values(ours - theirs, Draws(samples=1000, trials=1000, seed=seed)))
    return np.array(found)


def test_systems_that_are_alike_are_told_apart_in_5_percent_of_cases(p_of_alike) -> None:
    below = np.sum(p_of_alike <= 0.05, axis=0)
    assert all((below > 0.035 * 1500) & (below < 0.065 * 1500))


@pytest.mark.parametrize("kind", ["bootstrap", "randomisation"])
def test_p_of_systems_that_are_alike_is_any_value_as_often_as_any_other(p_of_alike, kind) -> None:
    """Kolmogorov and Smirnov's distance from the uniform: one in a hundred is beyond 1.63."""
    p = np.sort(p_of_alike[:, ("bootstrap", "randomisation").index(kind)])
    ranks = np.arange(len(p) + 1) / len(p)
    distance = max(np.max(ranks[1:] - p), np.max(p - ranks[:-1]))
    assert distance * np.sqrt(len(p)) < 1.63


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.1, 0.3])
@pytest.mark.parametrize("records", [6, 12])
def test_randomisation_gives_the_p_of_all_permutations(records: int, shift: float) -> None:
    """Every one of 2^n assignments is counted; the estimate is within its own error."""
    rng = np.random.default_rng(records)
    difference = np.round(rng.normal(shift, 0.1, records), 1)  # with ties
    signs = np.array(list(itertools.product([1, -1], repeat=records)))
    sizes = np.abs(signs @ difference)
    exact = np.mean(sizes >= abs(difference.sum()) - 1e-9)
    _, p = p_values(difference, Draws(trials=20_000))
    assert p == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4)


def test_systems_that_are_the_same_have_p_1() -> None:
    assert p_values(np.zeros(20), FEW) == (1, 1)


def test_a_large_difference_has_the_smallest_p_that_the_draws_allow() -> None:
    assert p_values(np.full(100, 0.5) + np.arange(100) / 1000, FEW) == (1 / 1001, 1 / 1001)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(*[st.floats(0, 1, width=16)] * 2), min_size=1, max_size=30))
def test_draws_do_not_depend_on_other_metrics(rows: list[tuple[float, float]]) -> None:
    draws = Draws(samples=20, trials=20)
    found = np.array(rows)
    for sums in (bootstrap_sums, swapped_sums):
        alone = sums({"m": found}, draws)["m"]
        with_other = sums({"a": found[:, :1], "m": found}, draws)["m"]
        np.testing.assert_allclose(alone, with_other, rtol=1e-12)


TEXTS = ("a b c d", "a b", "x", "", "a b c d a b c d", None)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.tuples(*[st.sampled_from(TEXTS)] * 2), min_size=12, max_size=30).filter(
        lambda rows: any(one for one, _ in rows) and any(other for _, other in rows)
    ),
    st.sampled_from(["zero", "skip"]),
    st.randoms(),
)
def test_neither_the_order_of_records_nor_which_is_the_baseline_decides(
    rows: list[tuple[str | None, str | None]], missing: str, rng: random.Random
) -> None:
    """Exchanged, the same p and the mirrored interval; in another order, the same numbers."""
    assume(missing == "zero" or any(one and other for one, other in rows))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("ours.jsonl", "theirs.jsonl", "wanted.jsonl")]

        def write(order: list[int]) -> None:
            for side in (0, 1):
                said = [(at, rows[at][side]) for at in order if rows[at][side] is not None]
                write_rows(paths[side], [{"id": at, "text": text} for at, text in said])
            write_rows(paths[2], [{"id": at, "ref": "a b c d"} for at in order])

        def scored(ours: int, theirs: int) -> Scores:
            return textmill.score(
                paths[ours], paths[2], baseline=paths[theirs], missing=missing, samples=100
            )

        write(list(range(len(rows))))
        there, back = scored(0, 1), scored(1, 0)
        write(rng.sample(range(len(rows)), len(rows)))
        again = scored(0, 1)
    assert again.scores == there.scores
    for one, other, same in zip(
        there.baseline.comparisons,
        back.baseline.comparisons,
        again.baseline.comparisons,
        strict=True,
    ):
        assert one.p_randomisation == other.p_randomisation == same.p_randomisation
        assert one.p_bootstrap == other.p_bootstrap == same.p_bootstrap
        assert (one.difference, one.low, one.high) == (same.difference, same.low, same.high)
        assert one.difference == -other.difference
        if one.low is not None:
            mirrored = (-other.high, -other.low)
            assert (one.low, one.high) == pytest.approx(mirrored, rel=1e-9, abs=1e-15)


def test_every_set_drawn_has_as_many_records() -> None:
    sums = bootstrap_sums({"m": np.ones((1237, 1))}, Draws(samples=300))["m"]
    assert (sums == 1237).all()
    assert sums.shape == (300, 1)


@pytest.mark.parametrize("seed", [0, 42])
def test_the_median_of_bootstrap_is_that_of_rouge_score(seed: int) -> None:
    """`evaluate` takes mid.fmeasure of it; all nine numbers of each type, bit for bit."""
    predictions, references = cnn_dailymail_like(100)
    scorer = RougeScorer(list(ROUGE_TYPES))
    aggregator = BootstrapAggregator()
    for prediction, reference in zip(predictions, references, strict=True):
        aggregator.add_scores(scorer.score(reference, prediction))
    np.random.seed(seed)
    theirs = aggregator.aggregate()
    rng = np.random.RandomState(seed)
    rows = Rouge().measure(Block(predictions, [[text] for text in references]))
    for name in ROUGE_TYPES:
        ours = median_of_bootstrap(rows[name], 1000, rng)
        for part in ("low", "mid", "high"):
            assert getattr(ours, part).tolist() == list(getattr(theirs[name], part))


def test_tests_on_bleu_and_chrf_agree_with_sacrebleus() -> None:
    """Randomisation as it is; of the bootstrap the drawn differences, by their formula for p,
    which looks at one side only."""
    from sacrebleu.metrics import BLEU, CHRF
    from sacrebleu.significance import PairedTest

    from textmill.evaluation.sacre import Sacre

    rng = random.Random(5)
    references = [row["document"][:150] for row in demo()[:200]]
    ours = [mutated(text, rng) for text in references]
    theirs = [mutated(text, rng) for text in references]
    p = {
        kind: PairedTest(
            [("theirs", theirs), ("ours", ours)],
            {"bleu": BLEU(force=True), "chrf": CHRF()},
            [references],
            test_type=kind,
            n_samples=3000,
        )()[1]
        for kind in ("ar", "bs")
    }
    metric = Sacre(["bleu", "chrf"])
    blocks = (Block(texts, [[text] for text in references]) for texts in (ours, theirs))
    our_rows, their_rows = map(metric.measure, blocks)
    draws = Draws(samples=3000, trials=3000)
    for name, label in (("bleu", "BLEU"), ("chrf", "chrF2")):
        both = np.hstack([our_rows[name], their_rows[name]])

        def difference(sums: np.ndarray, name: str = name) -> np.ndarray:
            left, right = np.split(sums, 2, axis=-1)
            return metric.values(name, left, 1) - metric.values(name, right, 1)

        observed = float(difference(both.sum(axis=0)))
        assert difference(both.sum(axis=0)) == pytest.approx(
            p["ar"][label][1].score - p["ar"][label][0].score, abs=1e-9
        )
        mine, other = np.split(swapped_sums({name: both}, draws)[name], 2, axis=1)
        swapped = difference(both.sum(axis=0) + np.hstack([other - mine, mine - other]))
        drawn = difference(bootstrap_sums({name: both}, draws)[name])
        sizes = np.abs(drawn)
        one_sided = np.mean(sizes - sizes.mean() > abs(observed))
        assert 0.02 < p["ar"][label][1].p_value < 0.98
        assert randomisation_p(swapped, observed) == pytest.approx(
            p["ar"][label][1].p_value, abs=0.04
        )
        assert one_sided == pytest.approx(p["bs"][label][1].p_value, abs=0.04)
