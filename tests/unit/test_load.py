"""The load test's own arithmetic: when calls come, which rate is next, what the figures say."""

from __future__ import annotations

from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.errors import InputError, UsageError
from textmill.serving.load.arrivals import Stage, Sweep, best, knee, poisson
from textmill.serving.load.report import page, summary
from textmill.serving.load.texts import made_up, read_texts
from textmill.serving.load.wire import Target


def stage(rate, *, seconds=(0.1,), sent=None, refused=0, **more):
    sent = len(seconds) + refused if sent is None else sent
    return Stage(
        rate=rate, duration=1.0, sent=sent, refused=refused, failed=0, seconds=seconds, **more
    )


def test_arrivals_are_poisson():
    """Their number and their gaps are those of independent callers."""
    moments = poisson(50.0, 200.0, seed=1)
    assert moments == sorted(moments)
    assert len(moments) == pytest.approx(10_000, rel=0.05)
    gaps = [b - a for a, b in pairwise(moments)]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert spread == pytest.approx(mean, rel=0.05)
    assert poisson(50.0, 2.0, seed=1) == poisson(50.0, 2.0, seed=1)


@given(capacity=st.floats(1, 500), first=st.floats(0.3, 1000))
def test_a_sweep_closes_in_on_the_highest_rate_that_keeps_the_target(capacity, first):
    sweep, stages = Sweep(first, 1.0), []
    for rate in sweep:
        slow = rate > capacity
        stages.append(stage(rate, seconds=(2.0,) * 20 if slow else (0.1,) * 20))
        sweep.done(stages[-1])
        assert len(stages) < 60
    found = best(stages, 1.0)
    assert found is not None
    assert capacity / 1.2 <= found.rate <= capacity


def test_a_sweep_ends_where_nothing_keeps_the_target():
    sweep, count = Sweep(10.0, 0.01), 0
    for rate in sweep:
        count += 1
        sweep.done(stage(rate, seconds=(5.0,)))
    assert count < 20


def test_a_stage_keeps_its_target_only_if_nearly_all_are_answered_in_time():
    assert stage(1, seconds=(0.1,) * 100).keeps(0.5)
    assert not stage(1, seconds=(0.1,) * 90, refused=10).keeps(0.5)
    assert not stage(1, seconds=(0.1,) * 90 + (0.9,) * 10).keeps(0.5)
    assert stage(1, seconds=(0.1,) * 90 + (0.9,) * 10).keeps(None)
    assert not stage(1, seconds=(), sent=5).keeps(None)
    assert not stage(1, seconds=(), sent=0).keeps(None)


def test_goodput_counts_what_came_in_time():
    one = stage(1, seconds=(0.1,) * 90 + (0.9,) * 10)
    assert one.goodput(None) == 100
    assert one.goodput(0.5) == 90
    assert knee([one, stage(2)]) is one


class Balanced(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "link", "line", "path", "circle"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in ("line", "path", "circle"):
            return
        assert self.open.pop() == tag


def test_the_report_is_one_page_with_two_charts_that_loads_nothing():
    stages = [stage(10, seconds=(0.1,) * 10), stage(20, seconds=(0.4,) * 9, refused=3, lag=0.2)]
    text = page("http://x/<script>", stages, 0.5, 0.02)
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert parser.tags.count("figure") == 2
    assert "<script>" not in text
    assert "src=" not in text
    sentences = summary(stages, 0.5, 0.02)
    assert any("10.0 calls per second" in s for s in sentences)
    assert any("late" in s for s in sentences)


def test_texts_come_from_a_file_or_are_made_up(tmp_path):
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text_inputs": "a"}\n{"text_inputs": ["b", "c"]}\nbad\n')
    assert read_texts(path, None) == ["a", "b", "c"]
    other = tmp_path / "docs.jsonl"
    other.write_text('{"document": "x"}\n')
    assert read_texts(other, "Sum: {document}") == ["Sum: x"]
    with pytest.raises(InputError, match="text_inputs"):
        read_texts(other, None)
    with pytest.raises(InputError, match="cannot be read"):
        read_texts(tmp_path / "none", None)
    lengths = [len(text.split()) for text in made_up(0)]
    assert min(lengths) < 30 < 60 < 120 < max(lengths)


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x/", "http://", "http://x:y/"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(UsageError):
        Target.of(url)


def test_an_address_becomes_a_target():
    target = Target.of("http://host:81/invocations?x=1", key="k")
    assert (target.host, target.port, target.path) == ("host", 81, "/invocations")
    assert "Bearer k" in target.headers
    assert Target.of("https://host/").port == 443
