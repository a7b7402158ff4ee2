"""ROUGE equals the `rouge_score` package bit for bit, and keeps what the metric promises."""

from __future__ import annotations

import math
import random
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer, _lcs_table, lcs_ind

from support.evaluation import cnn_dailymail_like, pairs
from textmill.errors import ParameterError
from textmill.evaluation import rouge
from textmill.evaluation.base import ROUGE_TYPES, PairScores
from textmill.evaluation.lcs import Spans, lcs_lengths, lcs_union
from textmill.evaluation.rouge import Rouge

ORACLES = {stemmer: RougeScorer(list(ROUGE_TYPES), use_stemmer=stemmer) for stemmer in (0, 1)}

Rows = list[tuple[float, float, float]]


def rows(scores: PairScores) -> Rows:
    return list(zip(*(column.tolist() for column in scores), strict=True))


def ours(predictions: list[str], references: list[str], *, stemmer: bool) -> dict[str, Rows]:
    scores = Rouge(stemmer=stemmer).score(predictions, references)
    return {name: rows(scores[name]) for name in ROUGE_TYPES}


def theirs(predictions: list[str], references: list[str], *, stemmer: bool) -> dict[str, Rows]:
    both = zip(references, predictions, strict=True)
    scores = [ORACLES[stemmer].score(reference, prediction) for reference, prediction in both]
    return {name: [tuple(score[name]) for score in scores] for name in ROUGE_TYPES}


@pytest.mark.full
@pytest.mark.parametrize("stemmer", [False, True])
def test_equals_rouge_score_on_real_texts(stemmer: bool) -> None:
    """5,600 pairs: precision, recall and F-measure of each, and the exact mean, bit for bit."""
    some = list(pairs())
    assert len(set(some)) >= 5_000
    check_real_texts(some, stemmer=stemmer)


@pytest.mark.parametrize("stemmer", [False, True])
def test_equals_rouge_score_on_some_real_texts(stemmer: bool) -> None:
    """The sample of `make test`: every seventh pair, of each kind some."""
    check_real_texts(list(pairs())[::7], stemmer=stemmer)


def check_real_texts(some: list[tuple[str, str]], *, stemmer: bool) -> None:
    predictions, references = map(list, zip(*some, strict=True))
    got = ours(predictions, references, stemmer=stemmer)
    want = theirs(predictions, references, stemmer=stemmer)
    assert got == want
    for name in ROUGE_TYPES:
        f1 = [row[2] for row in want[name]]
        assert math.fsum(row[2] for row in got[name]) / len(f1) == math.fsum(f1) / len(f1)
        assert 0.05 < math.fsum(f1) / len(f1) < 0.95


@pytest.mark.parametrize("stemmer", [False, True])
def test_equals_rouge_score_on_texts_of_news_size(stemmer: bool) -> None:
    predictions, references = cnn_dailymail_like(300)
    assert ours(predictions, references, stemmer=stemmer) == theirs(
        predictions, references, stemmer=stemmer
    )


ENGLISH = [
    "a",
    "b",
    "the",
    "cat",
    "cats",
    "Cat",
    "running",
    "run",
    "ran",
    "can't",
    "x_y",
    "1",
    "12.5",
]
FOREIGN = ["été", "ﬁne", "İstanbul", "ΣΑΣ", "猫", "\u212a", "\ud800", "\x00", "\u2028", "\r"]
WORDS = st.sampled_from(ENGLISH + FOREIGN)
SPACES = st.sampled_from([" ", " ", " ", "\n", "\n\n", " - ", "\t", "_"])
TEXTS = st.one_of(
    st.lists(st.tuples(WORDS, SPACES).map("".join), max_size=40).map("".join),
    st.text(st.sampled_from("ab \n"), max_size=60),
    st.text(max_size=40),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=8), st.booleans())
def test_equals_rouge_score_on_any_text(texts: list[tuple[str, str]], stemmer: bool) -> None:
    predictions, references = map(list, zip(*texts, strict=True))
    assert ours(predictions, references, stemmer=stemmer) == theirs(
        predictions, references, stemmer=stemmer
    )


@pytest.mark.parametrize("length", [15, 16, 17, 31, 32, 33, 63, 64, 65, 130])
def test_equals_rouge_score_around_the_width_of_a_machine_word(length: int) -> None:
    """Lines just below, at and above 16, 32 and 64 tokens, where the representation changes."""
    rng = random.Random(length)

    def text(lines: int) -> str:
        return "\n".join(" ".join(rng.choices("abcdefg", k=length)) for _ in range(lines))

    predictions = [text(1 + i % 3) for i in range(12)]
    references = [text(1 + i % 2) for i in range(12)]
    assert ours(predictions, references, stemmer=False) == theirs(
        predictions, references, stemmer=False
    )


SEQUENCES = st.lists(st.integers(0, 4), max_size=90)


def spans(sequences: list[list[int]], tokens: np.ndarray, first: int) -> Spans:
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    return Spans(tokens, first + np.cumsum(lengths) - lengths, lengths)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(SEQUENCES, SEQUENCES), min_size=1, max_size=5))
def test_subsequences_are_those_of_the_full_table(both: list[tuple[list[int], list[int]]]) -> None:
    """Same length, and of several longest the same one, for many pairs at once."""
    left, right = map(list, zip(*both, strict=True))
    tokens = np.array([*chain(*left, *right)], np.int64)
    rows, columns = spans(left, tokens, 0), spans(right, tokens, sum(map(len, left)))
    marks = lcs_union(rows, columns)
    assert lcs_lengths(rows, columns).tolist() == [_lcs_table(a, b)[-1][-1] for a, b in both]
    for start, (a, b) in zip(rows.starts, both, strict=True):
        assert np.flatnonzero(marks[start : start + len(a)]).tolist() == lcs_ind(a, b)


def test_a_score_does_not_depend_on_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    predictions, references = cnn_dailymail_like(60)
    whole = ours(predictions, references, stemmer=True)
    alone = [ours([a], [b], stemmer=True) for a, b in zip(predictions, references, strict=True)]
    assert {name: [one[name][0] for one in alone] for name in whole} == whole
    monkeypatch.setattr(rouge, "MAX_BLOCK_PAIRS", 7)
    monkeypatch.setattr(rouge, "MAX_VOCABULARY", 100)
    assert ours(predictions, references, stemmer=True) == whole
    monkeypatch.setattr(rouge, "MAX_BLOCK_CHARS", 1)
    assert ours(predictions, references, stemmer=True) == whole


@settings(deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5), st.booleans())
def test_bounds_and_symmetry(texts: list[tuple[str, str]], stemmer: bool) -> None:
    """All between 0 and 1; swapping the sides swaps precision and recall, but for rougeLsum,
    whose union is over the reference's lines, and rougeL never exceeds rouge1."""
    predictions, references = map(list, zip(*texts, strict=True))
    there = ours(predictions, references, stemmer=stemmer)
    back = ours(references, predictions, stemmer=stemmer)
    assert all(0 <= x <= 1 for scores in there.values() for row in scores for x in row)
    for name in ("rouge1", "rouge2", "rougeL"):
        assert there[name] == [(p, r, f) for r, p, f in back[name]]
    assert all(a[2] <= b[2] for a, b in zip(there["rougeL"], there["rouge1"], strict=True))


@settings(deadline=None)
@given(TEXTS)
def test_identity_scores_one(text: str) -> None:
    words = text + " some words"
    scores = ours([words], [words], stemmer=False)
    assert {column[0] for column in scores.values()} == {(1.0, 1.0, 1.0)}


def test_texts_without_words_score_zero() -> None:
    scores = ours(["", "猫", "a", ""], ["a", "猫", "", ""], stemmer=False)
    assert {row for column in scores.values() for row in column} == {(0.0, 0.0, 0.0)}


def test_no_pairs_give_no_scores() -> None:
    assert all(len(column) == 0 for column in ours([], [], stemmer=False).values())


def test_only_what_was_asked_for_is_scored() -> None:
    metric = Rouge(["rougeL", "rouge1", "rougeL"])
    assert metric.names == ("rougeL", "rouge1")
    assert list(metric.score(["a b"], ["b"])) == ["rougeL", "rouge1"]


def test_signature_names_all_that_decides_the_number() -> None:
    assert Rouge().signature("rouge1") == "rouge1|stem:no|tok:rouge-score"
    assert "|stem:porter-nltk|" in Rouge(stemmer=True).signature("rougeL")


def test_unknown_types_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ParameterError, match=r"rouge5.*rouge1, rouge2, rougeL, rougeLsum"):
        Rouge(["rouge1", "rouge5"])
