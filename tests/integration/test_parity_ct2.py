"""The ct2 engine in float32 against transformers.generate, token for token.

Oracle: transformers, never CTranslate2's own converter.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from support import oracle
from support.ct2 import DEMO, checkpoint_of, demo_inputs, params_for, shared_engine
from support.driving import drive, random_inputs, texts
from support.tiny_models import MODEL_TYPES, tiny_model
from textmill.core import Completion, FinishReason, Params
from textmill.engines.ct2.spec import write_model

MODEL = DEMO / "model"


def inputs_for(folder: Path, count: int = 16, seed: int = 7) -> list[list[int]]:
    return random_inputs(count, seed=seed, end=checkpoint_of(folder).architecture.eos_token_ids[0])


def expected(folder: Path, inputs: Sequence[list[int]], params: Params) -> list[list[list[int]]]:
    return [oracle.generate(folder, ids, params)[0] for ids in inputs]


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_greedy_equals_transformers_in_any_batch(model_type: str) -> None:
    """In batches, alone, and shuffled: the texts of generate, which sees one input at a time."""
    folder = tiny_model(model_type)
    inputs, params = inputs_for(folder), params_for(folder)
    theirs = expected(folder, inputs, params)
    assert len({str(t) for t in theirs}) > 3, "the model is degenerate: this test shows nothing"
    engine = shared_engine(folder)
    assert texts(drive(engine, inputs, params)) == theirs
    assert texts(drive(engine, inputs, params, batch_size=1)) == theirs
    shuffled = [7 * n % len(inputs) for n in range(len(inputs))]
    assert texts(drive(engine, inputs, params, batch_size=5, order=shuffled)) == theirs


def check_demo(count: int) -> None:
    inputs, params = demo_inputs(count), params_for(MODEL, max_new_tokens=32)
    engine = shared_engine(MODEL)
    theirs = expected(MODEL, inputs, params)
    assert texts(drive(engine, inputs, params, batch_size=16)) == theirs
    assert texts(drive(engine, inputs, params, batch_size=1)) == theirs


def test_greedy_equals_transformers_on_the_demo_model() -> None:
    check_demo(24)


@pytest.mark.full
def test_greedy_equals_transformers_on_200_demo_records() -> None:
    check_demo(200)


def model_log_probs(model: Path, ids: list[int], target: list[int], start: int) -> list[float]:
    """Teacher-forced log-probabilities that a converted model gives."""
    import ctranslate2

    translator = ctranslate2.Translator(str(model), compute_type="float32", intra_threads=1)
    source, target_tokens = [str(n) for n in ids], [str(n) for n in [start, *target]]
    result = translator.score_batch([source], [target_tokens], max_input_length=0)[0]
    return result.log_probs[: len(target)]


@pytest.mark.parametrize("model_type", [*MODEL_TYPES, "demo"])
def test_log_probabilities_equal_those_of_transformers(model_type: str, tmp_path: Path) -> None:
    """Of what greedy search generates and of random targets, within 1e-3."""
    folder = MODEL if model_type == "demo" else tiny_model(model_type)
    write_model(checkpoint_of(folder), "float32", tmp_path)
    params = params_for(folder)
    for ids, random_target in zip(inputs_for(folder, 6), inputs_for(folder, 6, 8), strict=True):
        for target in (oracle.generate(folder, ids, params)[0][0] or [5], random_target):
            start = params.decoder_start_token_id
            ours = model_log_probs(tmp_path, ids, target, start)
            assert ours == pytest.approx(oracle.log_probs(folder, ids, target, start), abs=1e-3)


@pytest.mark.parametrize("model_type", ["t5", "umt5"])
def test_a_wrong_output_scale_is_seen(model_type: str, tmp_path: Path) -> None:
    """The log-probability test can fail: without the scale of T5 v1.0 they are far off."""
    folder = tiny_model(model_type)
    checkpoint = checkpoint_of(folder)
    unscaled = replace(checkpoint.architecture, output_scale=1.0)
    write_model(replace(checkpoint, architecture=unscaled), "float32", tmp_path)
    ids, target = inputs_for(folder)[3:5]
    start = params_for(folder).decoder_start_token_id
    ours = model_log_probs(tmp_path, ids, target, start)
    assert ours != pytest.approx(oracle.log_probs(folder, ids, target, start), abs=1e-2)


OPTIONS: dict[str, dict[str, Any]] = {
    "one token": {"max_new_tokens": 1},
    "at least 12 tokens": {"min_new_tokens": 12},
    "more at least than at most": {"min_new_tokens": 30},
    "no repeated bigram": {"no_repeat_ngram_size": 2},
    "no repeated token": {"no_repeat_ngram_size": 1},
    "no repeated 4-gram": {"no_repeat_ngram_size": 4, "min_new_tokens": 20},
    "forced beginning": {"forced_bos_token_id": 17},
    "forced beginning, at least 6": {"forced_bos_token_id": 17, "min_new_tokens": 6},
    "forced end": {"forced_eos_token_id": ...},
    "forced end of one token": {"forced_eos_token_id": ..., "max_new_tokens": 1},
    "forced both": {"forced_bos_token_id": 18, "forced_eos_token_id": ..., "max_new_tokens": 2},
    "all of BART's": {
        "forced_bos_token_id": 18,
        "forced_eos_token_id": ...,
        "min_new_tokens": 10,
        "no_repeat_ngram_size": 3,
    },
}


@pytest.mark.parametrize("model_type", ["t5", "flan-t5", "bart", "marian", "m2m_100"])
@pytest.mark.parametrize("name", OPTIONS)
def test_options_equal_those_of_transformers(name: str, model_type: str) -> None:
    folder = tiny_model(model_type)
    options = dict(OPTIONS[name])
    if "forced_eos_token_id" in options:
        options["forced_eos_token_id"] = checkpoint_of(folder).architecture.eos_token_ids[0]
    inputs, params = inputs_for(folder, 8), params_for(folder, **options)
    assert texts(drive(shared_engine(folder), inputs, params)) == expected(folder, inputs, params)


@pytest.mark.parametrize("model_type", ["t5", "flan-t5", "marian", "pegasus"])
@pytest.mark.parametrize("penalty", [1.3, 3.0])
def test_repetition_penalty_equals_that_of_transformers(model_type: str, penalty: float) -> None:
    """For models whose start token is not their end token; the others are refused."""
    folder = tiny_model(model_type)
    inputs, params = inputs_for(folder, 8), params_for(folder, repetition_penalty=penalty)
    assert texts(drive(shared_engine(folder), inputs, params)) == expected(folder, inputs, params)


@pytest.mark.parametrize("model_type", ["t5", "flan-t5", "bart", "m2m_100"])
def test_banned_tokens_and_several_ends_equal_those_of_transformers(model_type: str) -> None:
    """Words, tokens and ends are taken from what the model generates without the ban."""
    folder = tiny_model(model_type)
    inputs, plain = inputs_for(folder, 8), params_for(folder, min_new_tokens=8)
    engine = shared_engine(folder)
    generated = [sequences[0] for sequences in expected(folder, inputs, plain)]
    generated.sort(key=lambda ids: -len(set(ids)))
    tokens = tuple(sorted({ids[3] for ids in generated}))
    pairs = tuple(next(p for p in pairwise(ids) if p[0] != p[1]) for ids in generated[:1])
    ends = plain.eos_token_ids
    for changes in (
        {"suppress_tokens": tokens},
        {"bad_words_ids": tuple((n,) for n in tokens)},
        {"bad_words_ids": (*pairs, ends)},
        {"eos_token_ids": (*ends, *tokens), "min_new_tokens": 0},
        {"eos_token_ids": (*ends, *tokens), "min_new_tokens": 2},
    ):
        params = replace(plain, **changes)
        theirs = expected(folder, inputs, params)
        assert sorted(ids for [ids] in theirs) != sorted(generated), "the option does nothing here"
        assert texts(drive(engine, inputs, params)) == theirs


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_beams_that_stop_early_are_those_of_transformers(model_type: str) -> None:
    """early_stopping=True is how CTranslate2 ends beams too: same texts, same order, scores."""
    folder = tiny_model(model_type)
    inputs = inputs_for(folder, 6)
    end = checkpoint_of(folder).architecture.eos_token_ids[0]
    for forced in (None, end):
        params = params_for(
            folder,
            num_beams=4,
            num_return_sequences=2,
            early_stopping=True,
            forced_eos_token_id=forced,
            max_new_tokens=16,
        )
        same = 0
        for outcome, ids in zip(drive(shared_engine(folder), inputs, params), inputs, strict=True):
            assert isinstance(outcome, Completion)
            sequences, scores = oracle.generate(folder, ids, params)
            if [s.ids for s in outcome.sequences] == sequences:
                same += 1
                assert [s.score for s in outcome.sequences] == pytest.approx(scores, abs=1e-3)
        assert same >= len(inputs) - 1


def beam_differences(
    folder: Path, inputs: Sequence[list[int]], params: Params
) -> tuple[int, list[float]]:
    """How many texts differ from transformers, and each score minus that of transformers.

    Asserts that every score is the one that transformers gives to that text.
    """
    different, gains = 0, []
    for outcome, ids in zip(drive(shared_engine(folder), inputs, params), inputs, strict=True):
        assert isinstance(outcome, Completion)
        best = outcome.sequences[0]
        ended = best.finish is FinishReason.EOS
        score = oracle.beam_score(folder, ids, best.ids, params, ended=ended)
        assert best.score == pytest.approx(score, abs=1e-3)
        theirs, scores = oracle.generate(folder, ids, params)
        different += best.ids != theirs[0]
        gains.append(score - scores[0])
    return different, gains


def test_beam_scores_are_right_and_not_worse_on_a_few() -> None:
    """A sample of the long test below."""
    gains = []
    for model_type in ("t5", "mt5", "marian"):
        folder = tiny_model(model_type)
        params = params_for(folder, num_beams=4, length_penalty=1.0)
        gains += beam_differences(folder, inputs_for(folder, 6), params)[1]
    assert sum(gains) / len(gains) >= -1e-3


@pytest.mark.full
@pytest.mark.parametrize("length_penalty", [0.6, 1.0, 2.0])
def test_beam_scores_are_right_and_not_worse_on_average(length_penalty: float) -> None:
    """Without early stopping texts may differ; on average they score no worse.

    Prints the table of docs/decisions/ct2-engine.md.
    """
    all_gains = []
    for model_type in (*MODEL_TYPES, "demo"):
        folder = MODEL if model_type == "demo" else tiny_model(model_type)
        inputs = demo_inputs(100) if model_type == "demo" else inputs_for(folder, 32)
        params = params_for(folder, num_beams=4, length_penalty=length_penalty)
        different, gains = beam_differences(folder, inputs, params)
        gain = sum(gains) / len(gains)
        print(f"| {model_type} | {length_penalty} | {different} of {len(inputs)} | {gain:+.4f} |")
        all_gains.append(gain)
    assert sum(all_gains) / len(all_gains) >= -1e-3


def test_stop_strings_end_where_transformers_ends() -> None:
    """On the demo model, with its tokenizer, against generate(stop_strings=…)."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer, StopStringCriteria

    decode = Tokenizer.from_file(str(MODEL / "tokenizer.json")).decode_batch
    stop = (" for", "lib", "m")
    params = params_for(MODEL, max_new_tokens=32, stop=stop)
    criteria = [StopStringCriteria(AutoTokenizer.from_pretrained(MODEL), list(stop))]
    inputs = demo_inputs(16)
    from support.ct2 import make_engine

    outcomes = drive(make_engine(MODEL, decode=decode), inputs, params)
    theirs = [oracle.generate(MODEL, ids, params, criteria)[0] for ids in inputs]
    assert texts(outcomes) == theirs
    finishes = {o.sequences[0].finish for o in outcomes if isinstance(o, Completion)}
    assert FinishReason.STOP in finishes
