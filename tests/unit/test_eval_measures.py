"""Text measures, BLEU and chrF, several references: each number against its definition."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from support.evaluation import demo, mutated
from textmill.errors import ParameterError
from textmill.evaluation.base import ROUGE_TYPES, TEXT_MEASURES, Block
from textmill.evaluation.measures import TextMeasures
from textmill.evaluation.metrics import metric_names
from textmill.evaluation.rouge import Rouge


def value(name: str, prediction: str, references: list[str], source: str = "") -> float:
    metric = TextMeasures([name])
    rows = metric.measure(Block([prediction], [references], [source]))[name]
    return float(metric.values(name, rows.sum(axis=0), 1))


@pytest.mark.parametrize(
    ("name", "prediction", "references", "source", "wanted"),
    [
        ("exact_match", " a b\n", ["a b"], "", 1),
        ("exact_match", "a b", ["x", "a b"], "", 1),
        ("exact_match", "A b", ["a b"], "", 0),
        ("length_ratio", "a b c", ["a b"], "", 1.5),
        ("length_ratio", "a b c", ["a b c d e f g h", "a b"], "", 1.5),
        ("length_ratio", "a b c", ["a b c d", "a b"], "", 1.5),
        ("length_ratio", "a", [""], "", 0),
        ("repetition", "a b c d a b c d", ["r"], "", 1 / 5),
        ("repetition", "a b c", ["r"], "", 0),
        ("repetition", "a a a a a a", ["r"], "", 2 / 3),
        ("empty", " \n", ["r"], "", 1),
        ("empty", "猫", ["r"], "", 0),
        ("copy_rate", "a b c d e", ["r"], "x a b c d y", 1 / 2),
        ("copy_rate", "A B, c d!", ["r"], "a b c d", 1),
        ("copy_rate", "a b c", ["r"], "a b c", 0),
    ],
)
def test_a_measure_is_what_it_says(
    name: str, prediction: str, references: list[str], source: str, wanted: float
) -> None:
    assert value(name, prediction, references, source) == pytest.approx(wanted)


def test_a_measure_over_records_weighs_them_by_their_length() -> None:
    metric = TextMeasures(["length_ratio"])
    rows = metric.measure(Block(["a b c", "a"], [["a"], ["a b c d e"]]))["length_ratio"]
    assert metric.values("length_ratio", rows.sum(axis=0), 2) == 4 / 6
    assert metric.each("length_ratio", rows).tolist() == [3, 0.2]


def test_no_answer_matches_nothing_not_even_an_empty_reference() -> None:
    metric = TextMeasures(["exact_match", "empty"])
    block = Block([""], [[""]])
    rows = {name: metric.unanswered(name, row) for name, row in metric.measure(block).items()}
    assert rows["exact_match"].tolist() == [[0, 1]]
    assert rows["empty"].tolist() == [[1, 1]]


WORDS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=12).map(" ".join)


@settings(deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=6))
def test_shares_are_between_0_and_1(texts: list[tuple[str, str, str]]) -> None:
    predictions, references, sources = (list(column) for column in zip(*texts, strict=True))
    metric = TextMeasures(TEXT_MEASURES)
    rows = metric.measure(Block(predictions, [[text] for text in references], sources))
    for name in set(TEXT_MEASURES) - {"length_ratio"}:
        assert 0 <= metric.values(name, rows[name].sum(axis=0), len(texts)) <= 1
        assert ((metric.each(name, rows[name]) >= 0) & (metric.each(name, rows[name]) <= 1)).all()


@settings(deadline=None)
@given(st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=4)), min_size=1, max_size=6))
def test_of_several_references_the_best_counts_as_in_rouge_score(
    records: list[tuple[str, list[str]]],
) -> None:
    oracle = RougeScorer(list(ROUGE_TYPES))
    predictions, references = (list(column) for column in zip(*records, strict=True))
    rows = Rouge().measure(Block(predictions, references))
    for at, (prediction, texts) in enumerate(records):
        theirs = oracle.score_multi(texts, prediction)
        for name in ROUGE_TYPES:
            assert rows[name][at].tolist() == list(theirs[name])


def test_bleu_and_chrf_are_sacrebleus_for_any_number_of_references() -> None:
    """The corpus score, and chrF's signature, of 300 records with 1 to 3 references."""
    from sacrebleu.metrics import BLEU, CHRF

    from textmill.evaluation.sacre import Sacre

    rng = random.Random(0)
    records = [row["document"][:120] for row in demo()[:300]]
    predictions = [mutated(text, rng) for text in records]
    references = [[mutated(text, rng) for _ in range(rng.randint(1, 3))] for text in records]
    streams = [[one[n] if n < len(one) else None for one in references] for n in range(3)]
    metric = Sacre(["bleu", "chrf"])
    rows = metric.measure(Block(predictions, references))
    for name, theirs in (("bleu", BLEU(force=True)), ("chrf", CHRF())):
        wanted = theirs.corpus_score(predictions, streams).score
        assert metric.values(name, rows[name].sum(axis=0), 300) == pytest.approx(wanted, abs=1e-9)
    sentence = BLEU(effective_order=True).sentence_score(predictions[0], references[0]).score
    assert metric.each("bleu", rows["bleu"])[0] == pytest.approx(sentence, abs=1e-9)
    assert metric.signature("bleu").startswith("bleu|case:mixed|eff:no|tok:13a|smooth:exp|version:")


@pytest.mark.parametrize(("tokenizer", "tok"), [("unicode", "intl"), ("cjk", "zh")])
def test_bleu_splits_as_the_tokenizer_asks(tokenizer: str, tok: str) -> None:
    from textmill.evaluation.sacre import Sacre

    assert f"|tok:{tok}|" in Sacre(["bleu"], tokenizer=tokenizer).signature("bleu")


def test_nothing_predicted_scores_0_in_bleu_and_chrf() -> None:
    from textmill.evaluation.sacre import Sacre

    metric = Sacre(["bleu", "chrf"])
    rows = metric.measure(Block(["", ""], [["a"], [""]]))
    for name in metric.names:
        assert metric.values(name, rows[name].sum(axis=0), 2) == 0
        assert metric.each(name, rows[name]).tolist() == [0, 0]
        assert np.isfinite(rows[name]).all()


def test_metrics_are_named_or_the_default_ones() -> None:
    assert metric_names(None, with_source=False) == (
        *ROUGE_TYPES,
        *("length_ratio", "repetition", "empty"),
    )
    assert metric_names(None, with_source=True)[-1] == "copy_rate"
    assert metric_names(["bleu", "rouge1", "bleu"], with_source=False) == ("bleu", "rouge1")
    with pytest.raises(ParameterError, match=r"copy_rate.*what the model was given\n.*--source"):
        metric_names(["copy_rate"], with_source=False)
