"""The loop answers every request exactly once, whatever the engine does."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.loops import PARAMS, ListSink, ListSource, windows_of
from textmill.batching.clock import ManualClock
from textmill.batching.loop import Loop
from textmill.batching.scheduler import BatchLimits, Scheduler
from textmill.core import Completion, Failure, Request
from textmill.engines.echo import EchoEngine
from textmill.errors import EngineError, ErrorCode, InvariantError
from textmill.testing.engines import PoisonEngine


def run(windows, engine, limits):
    sink = ListSink()
    scheduler = Scheduler(limits, engine.group, padded=True)
    stats = Loop(ListSource(windows), scheduler, engine, sink, clock=ManualClock()).run()
    return sink.outcomes, stats


REQUEST_LISTS = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=20), max_size=5)
LIMITS = st.builds(BatchLimits, max_batch_tokens=st.integers(1, 100))


@given(lengths=REQUEST_LISTS, limits=LIMITS)
def test_every_request_has_one_outcome(lengths, limits):
    outcomes, stats = run(windows_of(lengths), EchoEngine(), limits)
    total = sum(map(len, lengths))
    assert sorted(o.request.ordinal for o in outcomes) == list(range(total))
    assert stats.requests == total
    assert all(o.sequences[0].ids == o.request.ids for o in outcomes)


@given(
    lengths=REQUEST_LISTS,
    limits=LIMITS,
    poisoned=st.sets(st.integers(0, 60)),
    when=st.sampled_from(["add", "step"]),
)
def test_poison_hurts_nobody_else(lengths, limits, poisoned, when):
    engine = PoisonEngine(EchoEngine(), lambda r: r.ordinal in poisoned, when=when)
    outcomes, _ = run(windows_of(lengths), engine, limits)
    total = sum(map(len, lengths))
    assert Counter(o.request.ordinal for o in outcomes) == Counter(range(total))
    for outcome in outcomes:
        expected = Failure if outcome.request.ordinal in poisoned else Completion
        assert isinstance(outcome, expected)


@given(errors=st.sampled_from([MemoryError(), EngineError("x", code=ErrorCode.TIMEOUT)]))
def test_a_failure_says_why(errors):
    engine = PoisonEngine(EchoEngine(), lambda r: True, error=errors)
    (outcome,), _ = run([[Request(0, 0, [1], PARAMS)]], engine, BatchLimits())
    expected = ErrorCode.OOM if isinstance(errors, MemoryError) else ErrorCode.TIMEOUT
    assert outcome.code is expected


class InterruptedEngine(EchoEngine):
    """An echo that the user interrupts once, with batches in flight."""

    interrupted = False

    def step(self):
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt
        return super().step()


def test_an_interrupted_loop_leaves_nothing_for_the_next():
    engine = InterruptedEngine()
    with pytest.raises(KeyboardInterrupt):
        run(
            [[Request(n, 0, [1], PARAMS) for n in range(4)]],
            engine,
            BatchLimits(max_batch_tokens=1),
        )
    outcomes, _ = run([[Request(0, 0, [2], PARAMS)]], engine, BatchLimits())
    assert [outcome.sequences[0].ids for outcome in outcomes] == [[2]]


class SilentEngine(EchoEngine):
    """Takes batches and never answers."""

    def step(self):
        return ()


def test_an_engine_that_loses_its_batches_is_a_bug_and_not_a_hang():
    with pytest.raises(InvariantError, match="answers none of 1"):
        run([[Request(0, 0, [1], PARAMS)]], SilentEngine(), BatchLimits())


class Babbler(EchoEngine):
    """Answers each batch twice."""

    def step(self):
        return [*(outcomes := super().step()), *outcomes]


def test_an_answer_that_nobody_waits_for_ends_the_loop():
    with pytest.raises(InvariantError, match="not in flight"):
        run([[Request(0, 0, [1], PARAMS)]], Babbler(), BatchLimits())
