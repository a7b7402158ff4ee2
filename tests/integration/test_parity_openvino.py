"""The openvino engine in float32 against transformers.generate, token for token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from support import oracle
from support.ct2 import DEMO, checkpoint_of, demo_inputs, params_for
from support.driving import drive, random_inputs, texts
from support.tiny_models import MODEL_TYPES, tiny_model
from textmill.core import Batch, Completion, FinishReason, Params, Request

pytest.importorskip("openvino")

from support.openvino import make_engine
from textmill.engines.openvino.engine import OpenvinoEngine

MODEL = DEMO / "model"


@pytest.fixture(scope="module")
def engines() -> Iterator[Any]:
    """A function from a model to its engine, which tests leave as they found it."""
    made: dict[Path, OpenvinoEngine] = {}

    def engine_of(folder: Path) -> OpenvinoEngine:
        if folder not in made:
            made[folder] = make_engine(folder)
        return made[folder]

    yield engine_of
    for engine in made.values():
        engine.close()


def inputs_for(folder: Path, count: int = 12, seed: int = 7) -> list[list[int]]:
    return random_inputs(count, seed=seed, end=checkpoint_of(folder).architecture.eos_token_ids[0])


def expected(folder: Path, inputs: Sequence[list[int]], params: Params) -> list[list[list[int]]]:
    return [oracle.generate(folder, ids, params)[0] for ids in inputs]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_greedy_equals_transformers_in_any_batch(model_type: str, engines: Any) -> None:
    """Together, alone, and shuffled: the texts of generate, which sees one input at a time."""
    folder = tiny_model(model_type)
    inputs, params = inputs_for(folder), params_for(folder)
    theirs = expected(folder, inputs, params)
    assert len({str(t) for t in theirs}) > 3, "the model is degenerate: this test shows nothing"
    engine = engines(folder)
    assert texts(drive(engine, inputs, params)) == theirs
    for ids, text in zip(inputs[:4], theirs, strict=False):
        assert texts(drive(engine, [ids], params)) == [text]
    shuffled = [7 * n % len(inputs) for n in range(len(inputs))]
    assert texts(drive(engine, inputs, params, batch_size=5, order=shuffled)) == theirs


BEAMS: list[dict[str, Any]] = [
    {"num_beams": 4},
    {"num_beams": 5, "length_penalty": 2.0, "num_return_sequences": 3},
    {"num_beams": 4, "length_penalty": -1.0, "early_stopping": True, "num_return_sequences": 4},
    {"num_beams": 4, "early_stopping": "never", "no_repeat_ngram_size": 2, "min_new_tokens": 6},
    {"num_beams": 3, "repetition_penalty": 1.3, "renormalize_logits": True},
    {"num_beams": 2, "forced_eos_token_id": ..., "forced_bos_token_id": 18, "max_new_tokens": 9},
]


def settings_for(folder: Path, settings: dict[str, Any]) -> Params:
    end = checkpoint_of(folder).architecture.eos_token_ids[0]
    return params_for(folder, **{k: end if v is ... else v for k, v in settings.items()})


def check_beams(engine: OpenvinoEngine, folder: Path, params: Params, count: int) -> None:
    inputs = inputs_for(folder, count)
    for outcome, ids in zip(drive(engine, inputs, params), inputs, strict=True):
        sequences, scores = oracle.generate(folder, ids, params)
        assert isinstance(outcome, Completion)
        assert [s.ids for s in outcome.sequences] == sequences
        assert [s.score for s in outcome.sequences] == pytest.approx(scores, abs=1e-3, rel=1e-4)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_beams_are_those_of_transformers(model_type: str, engines: Any) -> None:
    """Texts, order and scores; every model type with two of the settings."""
    folder = tiny_model(model_type)
    n = MODEL_TYPES.index(model_type)
    for settings in (BEAMS[n % len(BEAMS)], BEAMS[(n + 1) % len(BEAMS)]):
        check_beams(engines(folder), folder, settings_for(folder, settings), 4)


@pytest.mark.full
@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("settings", BEAMS, ids=str)
def test_all_beams_are_those_of_transformers(
    model_type: str, settings: dict[str, Any], engines: Any
) -> None:
    folder = tiny_model(model_type)
    check_beams(engines(folder), folder, settings_for(folder, settings), 16)


OPTIONS: list[dict[str, Any]] = [
    {"max_new_tokens": 1},
    {"min_new_tokens": 12},
    {"min_new_tokens": 30},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 4, "min_new_tokens": 20},
    {"forced_bos_token_id": 17, "min_new_tokens": 6},
    {"forced_eos_token_id": ...},
    {"forced_eos_token_id": ..., "max_new_tokens": 1},
    {"forced_bos_token_id": 18, "forced_eos_token_id": ..., "max_new_tokens": 2},
    {"forced_bos_token_id": 18, "forced_eos_token_id": ..., "no_repeat_ngram_size": 3},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.8, "max_new_tokens": 12},
    {"repetition_penalty": 3.0, "no_repeat_ngram_size": 2, "min_new_tokens": 3},
]


@pytest.mark.parametrize("model_type", ["t5", "bart", "m2m_100"])
@pytest.mark.parametrize("settings", OPTIONS, ids=str)
def test_options_equal_those_of_transformers(
    settings: dict[str, Any], model_type: str, engines: Any
) -> None:
    folder = tiny_model(model_type)
    inputs, params = inputs_for(folder, 5), settings_for(folder, settings)
    assert texts(drive(engines(folder), inputs, params)) == expected(folder, inputs, params)


@pytest.mark.parametrize("model_type", ["t5", "bart"])
@pytest.mark.parametrize("beams", [1, 3])
def test_banned_tokens_and_several_ends_equal_those_of_transformers(
    model_type: str, beams: int, engines: Any
) -> None:
    """Words, tokens and ends are taken from what the model generates without the ban."""
    folder = tiny_model(model_type)
    inputs, plain = inputs_for(folder, 5), params_for(folder, min_new_tokens=8, num_beams=beams)
    generated = [sequences[0] for sequences in expected(folder, inputs, plain)]
    generated.sort(key=lambda ids: -len(set(ids)))
    tokens = tuple(sorted({ids[3] for ids in generated}))
    pairs = tuple(next(p for p in pairwise(ids) if p[0] != p[1]) for ids in generated[:1])
    ends = plain.eos_token_ids
    start = plain.decoder_start_token_id
    for changes in (
        {"suppress_tokens": tokens},
        {"bad_words_ids": (*pairs, ends, (start, generated[0][0]))},
        {"eos_token_ids": (*ends, *tokens), "min_new_tokens": 2},
    ):
        params = replace(plain, **changes)
        theirs = expected(folder, inputs, params)
        assert sorted(ids for [ids] in theirs) != sorted(generated), "the option does nothing here"
        assert texts(drive(engines(folder), inputs, params)) == theirs


@pytest.mark.parametrize("model_type", ["flan-t5", "marian"])
def test_64_records_with_parameters_of_their_own_share_slots(model_type: str, engines: Any) -> None:
    """Greedy and beams of several widths, lengths, penalties and bans, in one batch."""
    folder = tiny_model(model_type)
    kinds = [settings_for(folder, {**s}) for s in ({}, *OPTIONS[:4], *BEAMS[:4])]
    inputs = inputs_for(folder, 64)
    requests = [Request(n, 0, ids, kinds[n % len(kinds)]) for n, ids in enumerate(inputs)]
    engine = engines(folder)
    engine.add(Batch(0, tuple(requests)))
    outcomes = []
    while len(outcomes) < len(requests):
        outcomes += engine.step()
    for outcome in outcomes:
        theirs, _ = oracle.generate(folder, outcome.request.ids, outcome.request.params)
        assert texts([outcome]) == [theirs]


def sampled(engine: OpenvinoEngine, requests: Sequence[Request], size: int) -> dict[int, Any]:
    pending = [tuple(requests[n : n + size]) for n in range(0, len(requests), size)]
    found: dict[int, Any] = {}
    while len(found) < len(requests):
        while pending:
            engine.add(Batch(0, pending.pop(0)))
        for outcome in engine.step():
            assert isinstance(outcome, Completion), outcome
            found[outcome.request.ordinal] = [s.ids for s in outcome.sequences]
    return found


def test_sampled_texts_depend_on_seed_and_record_alone(engines: Any) -> None:
    """The same in any batch, order and company; another seed or sample gives another text."""
    folder = tiny_model("flan-t5")
    inputs = [*inputs_for(folder, 10), *inputs_for(folder, 10)]
    shared = params_for(folder, do_sample=True, top_k=0, temperature=1.3, num_return_sequences=2)
    own = replace(shared, seed=5)
    requests = [Request(n, 0, ids, own if n % 2 else shared) for n, ids in enumerate(inputs)]
    engine = engines(folder)
    once = sampled(engine, requests, 20)
    assert sampled(engine, requests[::-1], 3) == once
    assert sampled(engine, requests[4:5], 1)[4] == once[4]
    assert all(first != second for first, second in once.values())
    assert once[1] == once[11], "with a seed of its own the place of a record does not matter"
    assert once[0] != once[10], "without one it does"
    other = sampled(engine, [replace(r, params=replace(own, seed=6)) for r in requests[1:2]], 1)
    assert other[1] != once[1]


def test_greedy_equals_transformers_on_the_demo_model(engines: Any) -> None:
    inputs, params = demo_inputs(24), params_for(MODEL, max_new_tokens=32)
    assert texts(drive(engines(MODEL), inputs, params)) == expected(MODEL, inputs, params)


@pytest.mark.parametrize("beams", [1, 2])
def test_stop_strings_end_where_transformers_ends(beams: int) -> None:
    """On the demo model, with its tokenizer, against generate(stop_strings=…)."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer, StopStringCriteria

    decode = Tokenizer.from_file(str(MODEL / "tokenizer.json")).decode_batch
    stop = (" for", "lib", "m")
    params = params_for(MODEL, max_new_tokens=32, stop=stop, num_beams=beams)
    criteria = [StopStringCriteria(AutoTokenizer.from_pretrained(MODEL), list(stop))]
    inputs = demo_inputs(12)
    engine = make_engine(MODEL, decode=decode)
    outcomes = drive(engine, inputs, params)
    engine.close()
    theirs = [oracle.generate(MODEL, ids, params, criteria)[0] for ids in inputs]
    assert texts(outcomes) == theirs
    finishes = {o.sequences[0].finish for o in outcomes if isinstance(o, Completion)}
    assert FinishReason.STOP in finishes


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_reduced_precision_says_nearly_the_same(precision: str, engines: Any) -> None:
    """Most of the demo model's texts begin as in float32."""
    from textmill.engines.openvino.precision import has_bfloat16

    if precision == "bfloat16" and not has_bfloat16():
        pytest.skip("this CPU has no bfloat16")
    inputs, params = demo_inputs(24), params_for(MODEL, max_new_tokens=32)
    engine = make_engine(MODEL, precision=precision, threads=2)
    ours = texts(drive(engine, inputs, params))
    engine.close()
    exact = texts(drive(engines(MODEL), inputs, params))
    same = sum(a[0][:3] == b[0][:3] for a, b in zip(ours, exact, strict=True))
    assert same >= 18
