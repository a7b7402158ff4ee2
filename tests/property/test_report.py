"""The pure parts of a report: series that stay small, marks, packed numbers, chosen records."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections import Counter
from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from textmill.evaluation.highlight import Overlap
from textmill.report.fitting import MAX_PAGE_BYTES, ROOMS, fitted
from textmill.report.packing import chosen_places, packed
from textmill.report.texts import compared, id_text, plain
from textmill.transform.lengths import MAX_BINS, Lengths, described, quantile
from textmill.transform.parts import Row
from textmill.transform.timeline import MAX_STEPS, Timeline

WORDS = st.text("aB cé-1.\n中ไ่", max_size=60)
ROUGE = RougeScorer(["rouge1"])


COUNTED = st.dictionaries(st.sampled_from(["rows", "tokens", "shrunk"]), st.integers(0, 900))


@given(st.lists(st.tuples(st.floats(0, 5000), COUNTED)))
def test_a_timeline_stays_small_and_loses_nothing(events):
    timeline, now, totals = Timeline(100.0), 100.0, Counter()
    for seconds, more in events:
        now += seconds
        totals.update(more)
        timeline.add(now, totals)
    steps = {len(values) for values in timeline.series.values()}
    assert len(steps) <= 1
    assert max(steps, default=0) <= MAX_STEPS
    assert {name: sum(values) for name, values in timeline.series.items()} == totals
    assert all(count * timeline.step_seconds >= now - 100.0 for count in steps)


def test_a_timeline_has_rows_where_they_were_finished():
    timeline = Timeline(0.0)
    for at, rows in ((0.1, 1), (0.6, 3), (1.7, 4)):
        timeline.add(at, {"rows": rows, "tokens": 10 * rows} | ({"shrunk": 1} if rows > 3 else {}))
    assert timeline.as_dict() == {
        **{"step_seconds": 0.5, "rows": [1, 2, 0, 1], "tokens": [10, 20, 0, 10]},
        "shrunk": [0, 0, 0, 1],
    }
    timeline.add(60.2, {"rows": 5})
    assert timeline.step_seconds == 1.0
    assert (timeline.series["rows"][:3], timeline.series["rows"][60]) == ([3, 1, 0], 1)


@given(st.dictionaries(st.integers(0, 100_000), st.integers(1, 50), min_size=1))
def test_bins_hold_every_length_once_and_hide_at_most_one_in_a_hundred(lengths):
    found = described(Counter(lengths))
    assert found is not None
    assert sum(found["counts"]) + found["beyond"] == sum(lengths.values())
    assert len(found["counts"]) <= MAX_BINS
    assert found["beyond"] <= sum(lengths.values()) / 100
    assert found["min"] <= found["p50"] <= found["p95"] <= found["max"]
    every = sorted(Counter(lengths).elements())
    assert quantile(Counter(lengths), 0.5) == np.percentile(every, 50, method="inverted_cdf")


def test_rows_whose_tokens_are_not_known_are_no_lengths():
    lengths = Lengths()
    for row in (Row(0, inp=5, out=2), Row(1), Row(2, inp=9, code="oom"), Row(3, inp=7)):
        lengths.count(row)
    found = lengths.as_dict()
    assert found["rows"] == 2
    assert (found["input"]["min"], found["output"]["min"]) == (5, 0)
    assert Lengths().as_dict() == {"rows": 0, "input": None, "output": None}


@given(WORDS, st.lists(WORDS, max_size=3), st.sampled_from(["rouge-score", "unicode", "cjk"]))
def test_marks_cut_a_text_and_lose_nothing_of_it(text, others, tokenizer):
    segments = Overlap(tokenizer, stemmer=True).segments(text, others)
    assert "".join(one.text for one in segments) == text
    assert all(one.text for one in segments)
    assert all(a.shared != b.shared for a, b in pairwise(segments))


@given(st.text("ab c.\n", max_size=60), st.text("ab c.\n", max_size=60))
def test_marked_words_are_those_that_rouge_1_counts(text, other):
    marked = [one.text for one in Overlap().segments(text, [other]) if one.shared]
    hits = ROUGE.score(other, text)["rouge1"].precision * len(re.findall("[abc]+", text))
    assert sum(len(re.findall("[abc]+", part)) for part in marked) == round(hits)


def test_words_are_marked_as_often_as_the_other_text_has_them():
    segments = Overlap(stemmer=True).segments("The tools, the TOOL: a tool", ["a tool the tools"])
    assert [(one.text, one.shared) for one in segments] == [
        *[("The tools", True), (", the ", False), ("TOOL: a", True), (" tool", False)]
    ]


def test_a_cut_text_says_how_much_is_missing():
    assert plain("x" * 1000, 800).cut == 200
    assert plain("", 800).segments == ()
    assert compared("word " * 1000, ["word"], 50, Overlap()).cut == 4950
    assert id_text("a" * 100).endswith("… (+20)")
    assert (id_text(7), id_text("7"), id_text([1])) == ("7", "7", "[1]")
    assert id_text(["\ud800"])


@given(st.integers(1, 40_000), st.sets(st.integers(0, 39_999), max_size=30), st.integers(100, 9000))
def test_places_are_rising_and_hold_those_with_texts(total, texts, most):
    texts = {place for place in texts if place < total}
    places = chosen_places(total, sorted(texts), most).tolist()
    assert places == sorted(set(places))
    assert texts <= set(places) <= set(range(total))
    assert len(places) == total if total <= most else len(places) <= most


def as_a_browser_reads(text):
    """Numbers of a page's data: JavaScript knows no other than float64."""
    return json.loads(zlib.decompress(base64.b64decode(text)), parse_int=float)


EDGES = st.sampled_from([sign * 2**power for power in (52, 53, 63, 64) for sign in (1, -1)])


@given(
    st.lists(
        st.integers(-(2**70), 2**70) | st.builds(int.__add__, EDGES, st.integers(-3, 3)),
        unique=True,
        min_size=1,
    )
    | st.lists(st.integers(-(2**52), 2**52) | st.just("a<b"), unique=True, min_size=1)
)
def test_ids_come_out_of_a_browser_as_they_went_in(ids):
    found = packed({}, ids, np.arange(len(ids)), len(ids), 10**6)
    data = as_a_browser_reads(found.packed)
    back = data["ids"] if "ids" in data else [int(one) for one in accumulate(data["id_steps"])]
    assert [str(one) for one in back] == [str(one) for one in ids]
    assert list(accumulate(data["steps"])) == list(range(len(ids)))


@pytest.mark.parametrize(("size", "tried"), [(10, 1), (600, 3), (10_000, len(ROOMS))])
def test_a_page_gives_up_texts_until_it_is_small_enough(size, tried):
    asked = []

    def make(room):
        asked.append(room)
        return "x" * (size * room.text_chars)

    page = fitted(make)
    assert asked == list(ROOMS[:tried])
    assert len(page) <= MAX_PAGE_BYTES or tried == len(ROOMS)
