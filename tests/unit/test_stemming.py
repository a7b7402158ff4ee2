"""The stemmer equals NLTK's, which is the one that `rouge_score` uses."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer

from support.evaluation import demo
from textmill.evaluation import stemming
from textmill.evaluation.stemming import stem

ORACLE = PorterStemmer()

SUFFIXES = [
    *(*stemming.PLURALS, *stemming.DERIVATIONS, *stemming.ENDINGS, *stemming.RESIDUES),
    *("eed", "ed", "ing", "ied", "y", "e", "ll", "logi", "at", "bl", "iz", "tt", "ss", "zz"),
]


def real_words() -> set[str]:
    texts = (row["document"] + " " + row["summary"] for row in demo())
    return {word for text in texts for word in re.findall(r"[a-z0-9]+", text.lower())}


def made_up_words() -> set[str]:
    rng = random.Random(0)
    roots = ["", "a", "hop", "fil", "tr", "yy", "sky", "b2", "oa", "geo", "x", "conduc", "ow"]
    words = {rng.choice(roots) + "".join(rng.choices(SUFFIXES, k=3)) for _ in range(20_000)}
    words |= {root + a + b for root in roots for a in SUFFIXES for b in ("", *SUFFIXES)}
    return words | set(stemming.IRREGULAR)


def test_equals_nltk_on_real_and_on_made_up_words() -> None:
    words = real_words() | made_up_words()
    assert len(words) >= 35_000
    assert {word: stem(word) for word in words} == {word: ORACLE.stem(word) for word in words}


@given(st.text("abcdeilnorstyz19", max_size=12))
def test_equals_nltk_on_any_letters(word: str) -> None:
    assert stem(word) == ORACLE.stem(word)


@pytest.mark.parametrize("word", ["y" * 5000, "abc" * 2000 + "alli" * 100, "é" * 5, "1" * 40])
def test_long_and_odd_words_are_stemmed_too(word: str) -> None:
    assert stem(word) == ORACLE.stem(word)
