"""The planner covers every request once and keeps its limits, whatever it is given."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from textmill.batching.scheduler import BatchLimits, Scheduler, decoded_rows, plan_batches
from textmill.core import Params, Request

PARAMS = [
    Params(),
    Params(num_beams=4),
    Params(num_beams=4),  # equal to the one before, another object
    Params(do_sample=True, num_return_sequences=3),
    Params(batch_size=2),
]
LIMITS = st.builds(
    BatchLimits,
    max_batch_tokens=st.integers(1, 200),
    max_batch_rows=st.integers(1, 20),
)
REQUESTS = st.lists(st.tuples(st.integers(1, 60), st.sampled_from(PARAMS)), max_size=60).map(
    lambda pairs: [Request(i, 0, [7] * n, params) for i, (n, params) in enumerate(pairs)]
)


def group(params: Params) -> object:
    return (params.num_beams, params.do_sample)


@given(requests=REQUESTS, limits=LIMITS, padded=st.booleans())
def test_every_request_is_in_exactly_one_batch(requests, limits, padded):
    batches = plan_batches(requests, limits, group, padded=padded)
    planned = [request.ordinal for batch in batches for request in batch]
    assert sorted(planned) == [request.ordinal for request in requests]


@given(requests=REQUESTS, limits=LIMITS, padded=st.booleans())
def test_no_batch_is_over_its_limits_unless_it_is_one_request(requests, limits, padded):
    for batch in plan_batches(requests, limits, group, padded=padded):
        lengths = [len(request.ids) for request in batch]
        tokens = max(lengths) * len(lengths) if padded else sum(lengths)
        batch_size = batch[0].params.batch_size
        if len(batch) > 1:
            assert tokens <= limits.max_batch_tokens
            rows = sum(decoded_rows(r.params) for r in batch)
            assert len(batch) <= batch_size if batch_size else rows <= limits.max_batch_rows


@given(requests=REQUESTS, limits=LIMITS)
def test_a_batch_has_one_group_and_stands_longest_first(requests, limits):
    for batch in plan_batches(requests, limits, group, padded=True):
        assert len({(group(r.params), r.params.batch_size) for r in batch}) == 1
        lengths = [len(request.ids) for request in batch]
        assert lengths == sorted(lengths, reverse=True)


@given(requests=REQUESTS, limits=LIMITS, seed=st.randoms(use_true_random=False))
def test_the_plan_of_one_group_does_not_depend_on_order_of_arrival(requests, limits, seed):
    uniform = [Request(r.ordinal, 0, r.ids, PARAMS[0]) for r in requests]
    shuffled = seed.sample(uniform, len(uniform))
    assert plan_batches(uniform, limits, group, padded=True) == plan_batches(
        shuffled, limits, group, padded=True
    )


@given(requests=REQUESTS, limits=LIMITS)
def test_batch_names_are_unique_within_a_plan(requests, limits):
    scheduler = Scheduler(limits, group, padded=True)
    scheduler.add(requests)
    numbers = []
    while (batch := scheduler.next_batch()) is not None:
        numbers.append(batch.number)
    assert len(numbers) == len(set(numbers))
