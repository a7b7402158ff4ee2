"""The pure parts of the in-flight decoder, against slow and obvious ways to the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from textmill.core import Params, Request
from textmill.engines.inflight.candidates import largest, log_softmax
from textmill.engines.inflight.constraints import Constraints
from textmill.engines.inflight.limits import Limits, capacity_for, fits, slots_for
from textmill.engines.inflight.past import Past
from textmill.engines.inflight.sampling import draw, sampling_key, uniform

SCORES = st.floats(-50, 50, width=32) | st.just(float("-inf")) | st.sampled_from([0.0, 1.0])


@given(scores=arrays(np.float32, st.integers(1, 400), elements=SCORES), count=st.integers(1, 9))
def test_the_largest_scores_are_those_that_sorting_finds(scores, count) -> None:
    count = min(count, len(scores))
    places, values = largest(scores, count)
    order = np.argsort(-scores, kind="stable")[:count]
    assert values.tolist() == scores[order].tolist()
    assert places.tolist() == order.tolist()


@given(scores=arrays(np.float32, (3, 20), elements=st.floats(-80, 80, width=32)))
def test_log_probabilities_are_those_of_torch(scores) -> None:
    import torch

    theirs = torch.log_softmax(torch.tensor(scores), dim=-1).numpy()
    np.testing.assert_allclose(log_softmax(scores), theirs, atol=1e-4)


VOCABULARY = 12
TOKEN = st.integers(0, VOCABULARY - 1)
PARAMS = st.builds(
    Params,
    max_new_tokens=st.integers(1, 8),
    min_new_tokens=st.integers(0, 6),
    no_repeat_ngram_size=st.integers(0, 4),
    repetition_penalty=st.sampled_from([1.0, 1.5, 0.5]),
    bad_words_ids=st.lists(st.lists(TOKEN, min_size=1, max_size=3).map(tuple), max_size=3).map(
        tuple
    ),
    suppress_tokens=st.lists(TOKEN, max_size=2).map(tuple),
    forced_bos_token_id=st.none() | TOKEN,
    forced_eos_token_id=st.none() | st.just(1),
    eos_token_ids=st.sampled_from([(1,), (1, 4)]),
)


@settings(max_examples=200)
@given(params=PARAMS, data=st.data())
def test_constraints_are_transformers_processors(params: Params, data: st.DataObject) -> None:
    """On random scores and histories, for every combination of parameters."""
    import torch

    generated = data.draw(st.integers(0, params.max_new_tokens - 1))
    history = data.draw(arrays(np.int64, (2, generated + 1), elements=TOKEN))
    scores = data.draw(
        arrays(np.float32, (2, VOCABULARY), elements=st.floats(-9, 9, width=32), unique=True)
    )
    theirs = torch.tensor(scores)
    for processor in processors_of(params):
        theirs = processor(torch.tensor(history), theirs)
    constraints, ours = Constraints(params), scores.copy()
    if constraints.active(generated):
        constraints.apply(ours, history)
    np.testing.assert_array_equal(ours, theirs.numpy())


def processors_of(params: Params) -> list:
    from transformers import LogitsProcessorList
    from transformers.generation import logits_process as lp

    found = LogitsProcessorList()
    import torch

    ends = torch.tensor(params.eos_token_ids)
    if params.repetition_penalty != 1.0:
        found.append(lp.RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
    if params.no_repeat_ngram_size:
        found.append(lp.NoRepeatNGramLogitsProcessor(params.no_repeat_ngram_size))
    words = [list(word) for word in params.bad_words_ids]
    if any(word not in [[e] for e in params.eos_token_ids] for word in words):
        found.append(lp.NoBadWordsLogitsProcessor(words, ends))
    if params.min_new_tokens:
        found.append(lp.MinNewTokensLengthLogitsProcessor(1, params.min_new_tokens, ends))
    if params.forced_bos_token_id is not None:
        found.append(lp.ForcedBOSTokenLogitsProcessor(params.forced_bos_token_id))
    if params.forced_eos_token_id is not None:
        found.append(
            lp.ForcedEOSTokenLogitsProcessor(1 + params.max_new_tokens, params.forced_eos_token_id)
        )
    if params.suppress_tokens:
        found.append(lp.SuppressTokensLogitsProcessor(params.suppress_tokens))
    return found


@given(
    moves=st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), min_size=1, max_size=9),
    capacity=st.sampled_from([4, 12]),
)
def test_beams_see_what_they_went_on_from(moves, capacity) -> None:
    """Against caches that are really copied: token t of row w is written as the number (t, w)."""
    past = Past(2, 3, capacity)
    rows: list[list[tuple[int, int]]] = [[], [], []]
    for step, parents in enumerate([[0, 0, 0], *moves[1:]]):
        if step == past.capacity:
            past.grow(2 * past.capacity)
        past.follow(np.array([parents]))
        rows = [list(rows[parent]) for parent in parents]
        for row in range(3):
            lanes, places = np.nonzero(past.mask[0, row] == 0)
            seen = sorted(zip(places.tolist(), lanes.tolist(), strict=True))
            assert seen == rows[row]
        past.fed(1)
        rows = [[*seen, (step, lane)] for lane, seen in enumerate(rows)]
    assert past.lengths.tolist() == [len(moves), 0]


def chi_square(counts: np.ndarray, shares: np.ndarray) -> float:
    wanted = shares * counts.sum()
    return float(((counts - wanted) ** 2 / np.maximum(wanted, 1e-9)).sum())


@pytest.mark.parametrize(
    "settings", [{"top_k": 0}, {"top_k": 5}, {"top_p": 0.8}, {"top_k": 6, "top_p": 0.7}], ids=str
)
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_samples_have_the_distribution_of_transformers(settings: dict, temperature: float) -> None:
    """Chi-square over 4,000 draws of 10 tokens; transformers' warpers give the shares."""
    import torch
    from transformers.generation import logits_process as lp

    params = Params(**{"do_sample": True, "temperature": temperature, "top_k": 50, **settings})
    logits = np.random.default_rng(0).normal(size=10).astype(np.float32)
    theirs = torch.tensor(logits)[None]
    warpers = [lp.TemperatureLogitsWarper(params.temperature)]
    warpers += [lp.TopKLogitsWarper(params.top_k)] if params.top_k else []
    warpers += [lp.TopPLogitsWarper(params.top_p)] if params.top_p < 1 else []
    for warp in warpers:
        theirs = warp(None, theirs)
    shares = torch.softmax(theirs, -1)[0].double().numpy()
    key = sampling_key(Request(0, 0, [1], params), 0)
    drawn = [draw(logits, params, uniform(key, 3, step)) for step in range(4000)]
    counts = np.bincount(drawn, minlength=10)
    assert counts[shares == 0].sum() == 0
    degrees = np.count_nonzero(shares) - 1
    assert chi_square(counts, shares) < degrees + 5 * (2 * degrees) ** 0.5


def test_random_numbers_of_different_keys_samples_and_steps_differ() -> None:
    numbers = {
        uniform(key, sample, step) for key in (1, 2) for sample in (0, 1) for step in range(500)
    }
    assert len(numbers) == 2000
    assert 0 <= min(numbers) < 0.01
    assert 0.99 < max(numbers) < 1


@given(tokens=st.integers(1, 5000))
def test_a_text_fits_the_bank_that_is_opened_for_it(tokens: int) -> None:
    capacity = capacity_for(tokens)
    assert fits(tokens, capacity)
    assert not fits(capacity + 1, capacity)


@given(
    rows=st.integers(1, 99),
    budget=st.integers(1, 10**6),
    width=st.integers(1, 9),
    slot=st.integers(1, 10**5),
    taken=st.integers(0, 10**6),
)
def test_banks_never_take_more_than_there_is(rows, budget, width, slot, taken) -> None:
    limits = Limits(rows=rows, bytes=budget, encode_tokens=1)
    count = slots_for(limits, width=width, slot_bytes=slot, taken=taken)
    assert count * slot <= max(0, budget - taken)
    assert count == 0 or count * width <= max(rows, width)
