"""What goes next at the endpoint: nobody starves, budgets hold, everybody is answered once."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.serving import PARAMS, Bench, request
from textmill.batching.scheduler import BatchLimits
from textmill.core import Failure, Params
from textmill.engines.echo import EchoEngine
from textmill.serving.admission import Load, Pace, Safety
from textmill.serving.answers import Generated
from textmill.serving.backlog import Backlog, Ceiling, Waiting, load_of
from textmill.serving.budget import Budget
from textmill.serving.cost import CostModel, Steps, Work
from textmill.serving.refusals import Code, Refused
from textmill.testing.engines import PoisonEngine


def known_cost(a=0.01, b=0.0001, c=0.002, d=0.0001):
    """A cost model that has seen a machine of these coefficients."""
    model = CostModel()
    for n in range(60):
        work = Work(
            padded_tokens=10 + 37 * (n % 7), steps=5 + 3 * (n % 5), row_steps=9 + 11 * (n % 11)
        )
        seconds = a + b * work.padded_tokens + c * work.steps + d * work.row_steps
        model.observe(work, seconds)
    return model


WAITING = st.builds(
    lambda length, due, key, rows: (length, due, key, rows),
    st.integers(1, 60),
    st.floats(0, 10, allow_nan=False),
    st.sampled_from("ab"),
    st.integers(1, 4),
)
CEILINGS = st.builds(
    Ceiling,
    tokens=st.integers(1, 200),
    rows=st.integers(1, 16),
    padded=st.booleans(),
    seconds=st.none() | st.floats(0.01, 1),
    steps=st.floats(0, 20),
    cost=st.sampled_from([CostModel(), known_cost()]),
)


def backlog_of(items):
    backlog = Backlog()
    entries = []
    for serial, (length, due, key, rows) in enumerate(items):
        entry = Waiting(request(serial, length), key=key, due=due, serial=serial, rows=rows)
        backlog.add(entry)
        entries.append(entry)
    return backlog, entries


@given(items=st.lists(WAITING, max_size=40), ceiling=CEILINGS, idle=st.integers(1, 4))
def test_every_selection_holds_the_oldest_and_keeps_the_ceiling(items, ceiling, idle):
    backlog, entries = backlog_of(items)
    seen = Counter()
    left = {entry.serial: entry for entry in entries}
    while backlog:
        oldest = min(left.values(), key=lambda e: (e.due, e.serial))
        chosen = backlog.select(ceiling, idle=idle)
        assert oldest in chosen
        assert len({entry.key for entry in chosen}) == 1
        if len(chosen) > 1:
            longest = max(entry.tokens for entry in chosen)
            total = sum(entry.tokens for entry in chosen)
            tokens = longest * len(chosen) if ceiling.padded else total
            assert tokens <= ceiling.tokens
            assert sum(entry.weight for entry in chosen) <= ceiling.rows
        for entry in chosen:
            seen[entry.serial] += 1
            del left[entry.serial]
    assert seen == Counter(range(len(items)))
    assert backlog.tokens == 0
    assert backlog.oldest() is None


@given(items=st.lists(WAITING, min_size=1, max_size=30), ceiling=CEILINGS)
def test_a_request_is_passed_over_at_most_once_for_each_that_is_due_before_it(items, ceiling):
    backlog, entries = backlog_of(items)
    order = sorted(entries, key=lambda e: (e.due, e.serial))
    rank = {entry.serial: place for place, entry in enumerate(order)}
    batch = 0
    while backlog:
        for entry in backlog.select(ceiling):
            assert batch <= rank[entry.serial]
        batch += 1


@given(items=st.lists(WAITING, max_size=30), gone=st.sets(st.integers(0, 29)), now=st.floats(0, 10))
def test_what_is_discarded_never_comes_and_what_stands_is_what_is_due(items, gone, now):
    backlog, entries = backlog_of(items)
    for entry in entries:
        if entry.serial in gone:
            assert backlog.discard(entry)
            assert not backlog.discard(entry)
    due = [e for e in entries if e.serial not in gone and e.due <= now]
    standing = backlog.standing(now)
    assert standing.texts == len(due)
    assert standing.tokens == sum(e.tokens for e in due)
    while backlog:
        assert all(
            e.serial not in gone
            for e in backlog.select(Ceiling(tokens=50, rows=4, cost=CostModel()))
        )
    assert backlog.standing(99.0).texts == 0


def test_a_batch_is_of_neighbours_in_length():
    backlog, entries = backlog_of([(n, 0.0, "a", 1) for n in (50, 3, 49, 51, 4, 48)])
    chosen = backlog.select(Ceiling(tokens=51 * 4, rows=9, cost=CostModel()))
    assert sorted(entry.tokens for entry in chosen) == [48, 49, 50, 51]
    assert entries[0] in chosen


def test_padding_that_costs_more_than_a_batch_of_its_own_is_not_taken():
    backlog, _ = backlog_of([(1000, 0.0, "a", 1), (1, 1.0, "a", 1)])
    ceiling = Ceiling(tokens=9000, rows=9, steps=1.0, cost=known_cost(a=0.001, b=0.01, c=0.001))
    assert len(backlog.select(ceiling)) == 1
    backlog, _ = backlog_of([(1000, 0.0, "a", 1), (1, 1.0, "a", 1)])
    ceiling = Ceiling(tokens=9000, rows=9, steps=1.0, cost=known_cost(a=1.0, b=0.0001, c=0.001))
    assert len(backlog.select(ceiling)) == 2


def test_idle_workers_share_what_waits():
    backlog, _ = backlog_of([(5, 0.0, "a", 1)] * 8)
    ceiling = Ceiling(tokens=1000, rows=99, cost=CostModel())
    assert len(backlog.select(ceiling, idle=2)) == 4


LENGTHS = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=8), max_size=12)


@given(
    lengths=LENGTHS,
    tokens=st.integers(1, 120),
    poisoned=st.sets(st.integers(0, 11)),
    left=st.sets(st.integers(0, 11)),
)
def test_every_call_gets_its_answers_once_whatever_becomes_of_others(
    lengths, tokens, poisoned, left
):
    """Poisoned calls fail, those who left are not computed, all others get their texts."""
    engine = PoisonEngine(EchoEngine(), lambda r: r.ordinal in poisoned)
    bench = Bench(engine, limits=BatchLimits(max_batch_tokens=tokens))
    calls = [
        bench.call([request(n, length, index=i) for i, length in enumerate(one)])
        for n, one in enumerate(lengths)
    ]
    for n in left & set(range(len(calls))):
        bench.ends.cancel(calls[n])
    bench.run()
    for n, (call, one) in enumerate(zip(calls, lengths, strict=True)):
        if n in left:
            assert not call.done.done()
            continue
        answers = call.done.result(0)
        assert len(answers) == len(one)
        if n in poisoned:
            assert all(isinstance(answer, Failure) for answer in answers)
        else:
            assert [len(answer.texts[0].encode()) for answer in answers] == [
                len(bytes([n % 250 + 1]) * length) for length in one
            ]
    computed = {r.ordinal for batch in engine.calls for r in batch.requests}
    assert computed.isdisjoint(left)
    assert bench.ends.is_empty


@given(lengths=LENGTHS, slo=st.none() | st.floats(0.01, 1), tokens=st.integers(1, 120))
def test_no_batch_is_over_the_budget_unless_it_is_one_request(lengths, slo, tokens):
    engine = PoisonEngine(EchoEngine(), lambda r: False)
    limits = BatchLimits(max_batch_tokens=tokens, max_batch_rows=7)
    bench = Bench(engine, limits=limits, slo_seconds=slo)
    for n, one in enumerate(lengths):
        bench.call([request(n, length, index=i) for i, length in enumerate(one)])
    bench.run()
    for batch in engine.calls:
        if len(batch.requests) > 1:
            assert sum(len(r.ids) for r in batch.requests) <= tokens
            assert len(batch.requests) <= 7


def test_a_long_list_does_not_stand_before_those_who_come_later():
    """Of a list only as much goes first as the engine could compute before the others came."""
    engine = PoisonEngine(EchoEngine(), lambda r: False)
    bench = Bench(engine, limits=BatchLimits(max_batch_tokens=40, max_batch_rows=4))
    bench.ends._forecast._cost = known_cost()
    bench.call([request(0, 10, index=i) for i in range(40)])
    bench.clock.advance(0.001)
    late = [bench.call([request(n, 10)]) for n in range(1, 4)]
    bench.run()
    order = [r.ordinal for batch in engine.calls for r in batch.requests]
    assert max(order.index(n) for n in (1, 2, 3)) < 12
    assert all(call.done.done() for call in late)


def test_requests_that_differ_in_what_a_batch_must_share_are_apart():
    class Strict(EchoEngine):
        def group(self, params):
            return params.num_beams

    engine = PoisonEngine(Strict(), lambda r: False)
    bench = Bench(engine)
    for n in range(6):
        bench.call([request(n, 5, Params(num_beams=1 + n % 2))])
    bench.run()
    assert sorted(len(batch.requests) for batch in engine.calls) == [3, 3]


def test_what_is_sampled_with_a_seed_is_computed_alone():
    class Sampling(EchoEngine):
        def check(self, params):
            pass

    engine = PoisonEngine(Sampling(), lambda r: False)
    bench = Bench(engine)
    for n in range(3):
        bench.call([request(n, 5, Params(do_sample=True, seed=7))])
    for n in range(3):
        bench.call([request(n, 5, Params(do_sample=True))])
    bench.run()
    assert sorted(len(batch.requests) for batch in engine.calls) == [1, 1, 1, 3]


@given(
    a=st.floats(0.001, 0.1),
    b=st.floats(0.00001, 0.001),
    c=st.floats(0.0001, 0.01),
    d=st.floats(0.00001, 0.001),
)
def test_the_cost_model_finds_the_machine_it_watches(a, b, c, d):
    model = known_cost(a, b, c, d)
    for work in (
        Work(padded_tokens=50, steps=10, row_steps=40),
        Work(padded_tokens=200, steps=17, row_steps=100),
    ):
        real = a + b * work.padded_tokens + c * work.steps + d * work.row_steps
        assert model.predict(work) == pytest.approx(real, rel=0.25)


@given(
    works=st.lists(
        st.tuples(
            st.integers(1, 4000), st.integers(1, 300), st.integers(1, 9000), st.floats(0, 99)
        ),
        max_size=30,
    )
)
def test_more_work_is_never_predicted_to_take_less(works):
    model = CostModel()
    for tokens, steps, rows, seconds in works:
        model.observe(Work(padded_tokens=tokens, steps=steps, row_steps=rows), seconds)
    assert all(coefficient >= 0 for coefficient in model.coefficients)


def test_the_budget_halves_on_a_miss_and_grows_by_steps():
    budget = Budget(1024, slo_seconds=1.0)
    budget.batch_done(1024, 0.7, full=True)
    assert budget.tokens == 512
    budget.batch_done(1024, 0.7, full=True)  # was launched before the halving
    assert budget.tokens == 512
    budget.batch_done(500, 0.2, full=True)
    assert budget.tokens == 512 + 32
    budget.batch_done(100, 0.2, full=False)
    assert budget.tokens == 512 + 32
    for _ in range(100):
        budget.batch_done(budget.tokens, 0.2, full=True)
    assert budget.tokens == 1024


def test_memory_is_never_asked_for_again_that_was_not_there():
    budget = Budget(1024, slo_seconds=1.0)
    budget.out_of_memory(200)
    for _ in range(100):
        budget.batch_done(budget.tokens, 0.1, full=True)
    assert budget.tokens == 200


@given(
    loads=st.lists(st.tuples(st.integers(1, 500), st.integers(1, 900)), min_size=1, max_size=20),
    parallel=st.integers(1, 4),
    running=st.floats(0, 5),
)
def test_a_longer_queue_is_never_predicted_to_be_quicker(loads, parallel, running):
    pace = Pace(
        cost=known_cost(),
        steps=20.0,
        batch_tokens=512,
        batch_rows=64,
        batch_seconds=0.4,
        parallel=parallel,
        running_seconds=running,
    )
    load, before = Load(), 0.0
    for tokens, rows in loads:
        load += Load(texts=1, tokens=tokens, row_steps=rows)
        seconds = pace.seconds_until_done(load)
        assert seconds >= before - 0.45  # the last batch may be a shorter one
        before = seconds
    assert seconds >= running / parallel


def test_safety_rises_with_misses_and_falls_slowly():
    safety = Safety()
    for _ in range(5):
        safety.missed()
    high = safety.factor
    assert high > 1.5
    for _ in range(10):
        safety.kept(0.9, 0.4)
    near = safety.factor
    for _ in range(10):
        safety.kept(0.1, 0.8)
    assert safety.factor < near < high < safety.factor + 0.1
    assert high - near < near - safety.factor


def test_steps_follow_the_answers_but_keep_to_the_parameters():
    steps = Steps()
    for _ in range(200):
        steps.observe([10, 20])
    assert steps.expected(PARAMS) == pytest.approx(15, rel=0.1)
    assert steps.expected_longest(PARAMS) == pytest.approx(20, rel=0.1)
    assert steps.expected(Params(max_new_tokens=3)) == 3
    assert steps.expected(Params(max_new_tokens=99, min_new_tokens=50)) == 50


def test_a_load_is_the_sum_of_its_requests():
    one = Waiting(request(0, 4), key=0, due=0.0, serial=0, rows=2, steps=3.0)
    assert load_of(one) == Load(tokens=4, row_steps=6.0, texts=1)
    assert isinstance(Generated((), (), 0, 0), Generated)


def test_a_call_that_the_event_loop_alone_makes_late_is_refused():
    """Whatever the engine could do, and even where it idles."""
    bench = Bench(slo_seconds=1.0)
    bench.ends.handling_seconds = 0.9
    bench.call([request(0, 5)])
    bench.ends.handling_seconds = 1.1
    with pytest.raises(Refused) as caught:
        bench.call([request(1, 5)])
    assert caught.value.code is Code.OVERLOADED
    with pytest.raises(Refused):
        bench.ends.check_room()
    without_target = Bench()
    without_target.ends.handling_seconds = 100.0
    without_target.call([request(0, 5)])


@given(
    rows=st.lists(st.integers(1, 32), min_size=30, max_size=60),
    at=st.floats(0.5, 1.0),
    seen_together=st.booleans(),
)
def test_a_batch_that_seems_to_take_no_time_makes_no_other_seem_so(rows, at, seen_together):
    """Two batches end, and a loop that is late sees both ends at once: all and nothing."""
    model, works = (
        CostModel(),
        [Work(padded_tokens=50.0 * n, steps=20.0, row_steps=20.0 * n) for n in rows],
    )
    seconds = [0.01 + 0.02 * n for n in rows]
    for place, (work, took) in enumerate(zip(works, seconds, strict=True)):
        late = place == int(at * (len(rows) - 1))
        if late and seen_together:
            model.observe(work, 2 * took)
        model.observe(work, 0.0 if late else took)
    for work, took in zip(works, seconds, strict=True):
        assert model.predict(work) > 0.6 * took
