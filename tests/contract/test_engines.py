"""What every engine does, and therefore what the Loop may rely on. One suite for all of them."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from support.engines import INPUTS, KINDS, NO_SUCH_ID, params, requests
from support.isolation import run_loop
from textmill.core import Batch, Completion, Failure, FinishReason, Outcome, Params, Request
from textmill.engines.base import BatchError, Capabilities, Engine, Interruptible
from textmill.engines.loading import ENGINES
from textmill.errors import UnsupportedParameter
from textmill.testing.engines import PoisonEngine

pytest.importorskip("openvino")

Open = Callable[[], Engine]

SETTINGS: list[dict[str, Any]] = [
    {},
    {"max_new_tokens": 1},
    {"num_beams": 3},
    {"num_beams": 3, "num_return_sequences": 2, "early_stopping": True},
    {"num_beams": 2, "early_stopping": "never"},
    {"num_beams": 2, "num_return_sequences": 3},
    {"num_return_sequences": 2},
    {"do_sample": True, "seed": 3},
    {"do_sample": True, "num_return_sequences": 3, "top_k": 5, "seed": 3},
    {"do_sample": True, "num_beams": 2},
    {"min_new_tokens": 5},
    {"no_repeat_ngram_size": 2},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.5},
    {"forced_bos_token_id": 9},
    {"forced_bos_token_id": NO_SUCH_ID},
    {"suppress_tokens": (7, 9)},
    {"bad_words_ids": ((5, 6),)},
    {"max_time": 60.0},
]


@pytest.fixture(scope="module", params=KINDS)
def open_engine(request: pytest.FixtureRequest) -> Open:
    """Opens another engine of the kind."""
    return KINDS[request.param]


@pytest.fixture(scope="module")
def shared(open_engine: Open) -> Iterator[Engine]:
    """One engine for all tests that leave it as they found it."""
    engine = open_engine()
    yield engine
    engine.close()


@pytest.fixture
def engine(shared: Engine) -> Iterator[Engine]:
    """The same, in which nothing is left behind."""
    yield shared
    assert shared.step() == ()


@pytest.fixture
def own(open_engine: Open) -> Iterator[Engine]:
    """One that the test may break."""
    engine = open_engine()
    yield engine
    engine.close()


def computed(engine: Engine, batches: Sequence[Sequence[Request]]) -> list[Outcome]:
    """The outcomes of batches that are handed in whenever there is room, in order of requests."""
    left = [Batch(number, tuple(some)) for number, some in enumerate(batches)]
    count = sum(map(len, batches))
    outcomes: list[Outcome] = []
    while left or len(outcomes) < count:
        while left and engine.room() > 0:
            engine.add(left.pop(0))
        outcomes += engine.step()
    return sorted(outcomes, key=lambda outcome: outcome.request.ordinal)


def answers(outcomes: Sequence[Outcome]) -> list[list[tuple[list[int], FinishReason]]]:
    assert all(isinstance(outcome, Completion) for outcome in outcomes), outcomes
    return [[(s.ids, s.finish) for s in o.sequences] for o in outcomes]  # type: ignore[union-attr]


def by_group(engine: Engine, given: list[Request]) -> list[list[Request]]:
    groups: dict[Any, list[Request]] = {}
    for request in given:
        groups.setdefault(engine.group(request.params), []).append(request)
    return list(groups.values())


def test_it_says_what_it_is(engine: Engine) -> None:
    able = engine.capabilities
    assert isinstance(able, Capabilities)
    assert able == engine.capabilities
    assert able.name in ENGINES
    assert able.precision
    assert min(able.max_batch_tokens, able.max_batch_rows, able.parallel) >= 1
    assert all(note.endswith(".") for note in able.notes)


def test_each_request_is_answered_once_by_the_object_that_was_given(engine: Engine) -> None:
    given = requests(params())
    outcomes = computed(engine, [given[:5], given[5:6], given[6:]])
    assert len(outcomes) == len(given)
    assert all(o.request is request for o, request in zip(outcomes, given, strict=True))


def test_without_work_a_step_returns_nothing_and_there_is_room(engine: Engine) -> None:
    assert list(engine.step()) == []
    assert engine.room() > 0


def test_it_takes_as_many_batches_as_it_has_room_for(engine: Engine) -> None:
    room = engine.room()
    given = [[Request(n, 0, INPUTS[4], params())] for n in range(room)]
    assert len(computed(engine, given)) == room
    assert engine.room() == room


def test_a_batch_changes_no_text(engine: Engine) -> None:
    """Alone, together, in another order: what a batch_invariant engine promises."""
    assert engine.capabilities.batch_invariant
    given = requests(params())
    shuffled = list(given)
    random.Random(1).shuffle(shuffled)
    together = answers(computed(engine, [given]))
    assert together == answers(computed(engine, [[request] for request in given]))
    assert together == answers(computed(engine, [shuffled[:6], shuffled[6:]]))


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_parameter_is_honoured_or_refused_by_name(
    engine: Engine, settings: dict[str, Any]
) -> None:
    known = params(**settings)
    if not _honoured(engine, known):
        with pytest.raises(UnsupportedParameter, match="|".join(settings)):
            engine.check(known)
        return
    for outcome in computed(engine, [requests(known)]):
        assert isinstance(outcome, Completion), outcome
        assert len(outcome.sequences) == known.num_return_sequences
        for sequence in outcome.sequences:
            assert len(sequence.ids) <= known.max_new_tokens
            assert sequence.finish in (FinishReason.EOS, FinishReason.LENGTH)


def test_every_engine_refuses_what_it_cannot_do(engine: Engine) -> None:
    """Some of the settings are beyond each of them; none is accepted by silence."""
    refused = [one for one in SETTINGS if not _honoured(engine, params(**one))]
    assert 1 <= len(refused) < len(SETTINGS) / 2


def test_requests_of_one_group_share_a_batch_and_keep_their_own_parameters(
    engine: Engine,
) -> None:
    known = [params(), params(max_new_tokens=4), params(forced_bos_token_id=None)]
    assert engine.group(known[0]) == engine.group(known[2])
    assert hash(engine.group(known[0])) == hash(engine.group(known[2]))
    given = requests(*known)
    mixed = answers(computed(engine, by_group(engine, given)))
    assert mixed == answers(computed(engine, [[request] for request in given]))


def test_the_same_seed_says_the_same_again(engine: Engine) -> None:
    known = params(do_sample=True, seed=5, top_k=0)
    if not _honoured(engine, known):
        return
    first, again = (answers(computed(engine, [requests(known)])) for _ in range(2))
    other = answers(computed(engine, [requests(params(do_sample=True, seed=6, top_k=0))]))
    assert first == again
    assert first != other


def test_what_is_abandoned_is_not_answered(engine: Engine) -> None:
    before = answers(computed(engine, [requests(params())]))
    room = engine.room()
    engine.add(Batch(0, tuple(requests(params(min_new_tokens=0)))))
    engine.abandon()
    assert engine.step() == ()
    assert engine.room() == room
    assert answers(computed(engine, [requests(params())])) == before


def test_closing_is_idempotent_and_forgets(own: Engine) -> None:
    own.add(Batch(0, tuple(requests(params()))))
    own.close()
    own.close()
    assert own.step() == ()


def test_a_batch_that_fails_names_itself_and_hurts_no_other(own: Engine) -> None:
    """In `add` or in `step`; the engine goes on."""
    if own.capabilities.name == "echo":
        return  # it has all ids
    bad = Batch(7, (Request(50, 0, [5, 1], params()), Request(51, 0, [NO_SUCH_ID], params())))
    given = requests(params())
    own.add(Batch(0, tuple(given)))
    outcomes: list[Outcome] = []
    with pytest.raises(BatchError) as raised:  # noqa: PT012  one of the two calls raises
        own.add(bad)
        while True:
            outcomes += own.step()
    assert raised.value.batch is bad
    assert str(NO_SUCH_ID) in str(raised.value.__cause__) or "0 to" in str(raised.value.__cause__)
    while len(outcomes) < len(given):
        outcomes += own.step()
    assert {id(o.request) for o in outcomes} == {id(request) for request in given}
    assert own.step() == ()


def test_an_interrupted_step_loses_nothing(engine: Engine) -> None:
    if not isinstance(engine, Interruptible):
        return
    given = requests(params(max_new_tokens=24))
    expected = answers(computed(engine, [given]))
    engine.add(Batch(0, tuple(given)))
    outcomes: list[Outcome] = []
    for _ in range(3):
        engine.interrupt()
        outcomes += engine.step()
    while len(outcomes) < len(given):
        outcomes += engine.step()
    outcomes.sort(key=lambda outcome: outcome.request.ordinal)
    assert answers(outcomes) == expected


def test_parameters_may_be_checked_from_other_threads(engine: Engine) -> None:
    """A window is made ready while another is computed."""
    found: list[Any] = []

    def check() -> None:
        for _ in range(200):
            engine.check(params())
            found.append(engine.group(params()))

    thread = threading.Thread(target=check)
    thread.start()
    assert len(computed(engine, [requests(params())])) == len(INPUTS)
    thread.join()
    assert set(found) == {engine.group(params())}


def test_the_loop_finds_the_culprit_and_gives_the_others_their_results(engine: Engine) -> None:
    known = [params(), params(max_new_tokens=4), params(num_beams=2, early_stopping=True)]
    usable = [one for one in known if _honoured(engine, one)]
    given = requests(*usable)
    expected = run_loop(engine, given)
    poisoned = PoisonEngine(engine, lambda request: request.ordinal == 9)
    outcomes = run_loop(poisoned, given)
    assert [type(o) for o in outcomes].count(Failure) == 1
    assert isinstance(outcomes[9], Failure)
    assert [o for o in outcomes if o is not outcomes[9]] == [*expected[:9], *expected[10:]]


def _honoured(engine: Engine, known: Params) -> bool:
    try:
        engine.check(known)
    except UnsupportedParameter:
        return False
    return True
