"""The table against transformers, whose names and meanings it promises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig, T5Config, T5ForConditionalGeneration

from textmill.core import Params
from textmill.errors import ParameterError
from textmill.params import PARAMETERS, Layer, Resolver
from textmill.params.foreign import PASSED_OVER, REFUSED
from textmill.params.schema import BY_NAME, OWN_NAMES

IDS = torch.tensor([[5, 9, 13, 2, 1], [7, 7, 3, 30, 1]])
ENDLESS = {"decoder_start_token_id": 0, "eos_token_id": None}


@pytest.fixture(scope="module")
def model() -> T5ForConditionalGeneration:
    """A random T5 of 40 tokens, its weights drawn wide so that its texts vary."""
    torch.manual_seed(1)
    config = T5Config(
        vocab_size=40, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    random = T5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, weights in random.named_parameters():
            if weights.dim() > 1:
                weights.normal_(0, 1.0 if "shared" in name else 0.5)
    return random


def generate(
    model: T5ForConditionalGeneration, file: Mapping[str, Any], kwargs: Mapping[str, Any]
) -> list[list[int]]:
    """What `generate` returns for a model that was published with `file`."""
    model.generation_config = GenerationConfig(pad_token_id=0, **file)
    torch.manual_seed(1)
    with torch.no_grad():
        return model.generate(IDS, **kwargs).tolist()  # type: ignore[no-any-return]


def as_kwargs(params: Params) -> dict[str, Any]:
    """Every field said explicitly, under transformers' names."""
    return {
        "max_new_tokens": params.max_new_tokens,
        "min_new_tokens": params.min_new_tokens,
        "num_beams": params.num_beams,
        "num_return_sequences": params.num_return_sequences,
        "length_penalty": params.length_penalty,
        "early_stopping": params.early_stopping,
        "renormalize_logits": params.renormalize_logits,
        "no_repeat_ngram_size": params.no_repeat_ngram_size,
        "repetition_penalty": params.repetition_penalty,
        "do_sample": params.do_sample,
        "temperature": params.temperature,
        "top_k": params.top_k,
        "top_p": params.top_p,
        "forced_bos_token_id": params.forced_bos_token_id,
        "forced_eos_token_id": params.forced_eos_token_id,
        "bad_words_ids": [list(run) for run in params.bad_words_ids] or None,
        "suppress_tokens": list(params.suppress_tokens) or None,
        "decoder_start_token_id": params.decoder_start_token_id,
        "eos_token_id": list(params.eos_token_ids),
        "pad_token_id": 0,
    }


def test_every_name_of_generation_config_is_known() -> None:
    """Each is a parameter, refused, or passed over, and never two of these."""
    theirs = set(vars(GenerationConfig())) - {"_original_object_hash"}
    ours = BY_NAME.keys() - OWN_NAMES
    assert theirs <= ours | REFUSED.keys() | PASSED_OVER
    assert ours <= theirs
    old = {"_commit_hash", "forced_decoder_ids"}
    assert (REFUSED.keys() | PASSED_OVER) - old <= theirs


def test_own_defaults_are_those_of_transformers_except_the_length() -> None:
    theirs = GenerationConfig._get_default_generation_params()
    for row in PARAMETERS:
        if row.name in theirs:
            assert (theirs[row.name] or ()) == (row.default or ()) or row.name == "max_length"


def test_neutral_values_are_those_of_transformers() -> None:
    theirs = GenerationConfig._get_default_generation_params()
    for name, refused in REFUSED.items():
        assert refused.is_neutral(theirs.get(name)), name


@pytest.mark.parametrize("length", [2, 3, 10])
def test_max_length_gives_one_new_token_less(
    model: T5ForConditionalGeneration, length: int
) -> None:
    sequences = generate(model, ENDLESS, {"max_length": length})
    new_tokens = Resolver([Layer("record", {"max_length": length})]).base.max_new_tokens
    assert [len(ids) - 1 for ids in sequences] == [new_tokens] * 2


def test_a_forced_first_token_counts_as_new(model: T5ForConditionalGeneration) -> None:
    kwargs = {"max_new_tokens": 4, "forced_bos_token_id": 9}
    sequences = generate(model, ENDLESS, kwargs)
    assert [(ids[1], len(ids) - 1) for ids in sequences] == [(9, 4)] * 2


FILES: dict[str, dict[str, Any]] = {
    "t5": {"decoder_start_token_id": 0, "eos_token_id": 1, "max_length": 9},
    "bart": {
        "decoder_start_token_id": 2, "bos_token_id": 0, "eos_token_id": 2,
        "forced_bos_token_id": 0, "forced_eos_token_id": 2, "early_stopping": True,
        "length_penalty": 2.0, "min_length": 6, "max_length": 14, "no_repeat_ngram_size": 2,
        "num_beams": 3,
    },
    "marian": {
        "bad_words_ids": [[39], [1, 4]], "bos_token_id": 0, "decoder_start_token_id": 39,
        "eos_token_id": [0, 3], "forced_eos_token_id": 0, "max_length": 12, "num_beams": 2,
        "renormalize_logits": True,
    },
    "lengths twice": {
        "bos_token_id": 4, "eos_token_id": 1, "max_length": 20, "max_new_tokens": 6,
        "min_length": 9, "min_new_tokens": 2,
    },
}  # fmt: skip

CALLS: list[dict[str, Any]] = [
    {},
    {"max_length": 5},
    {"max_new_tokens": 5},
    {"num_beams": 1},
    {"num_beams": 4, "num_return_sequences": 3, "length_penalty": -1.0, "early_stopping": "never"},
    {"num_beams": 1, "early_stopping": True, "length_penalty": 0.5, "renormalize_logits": True},
    {"min_length": 5, "suppress_tokens": [9, 11]},
    {"top_k": 3, "top_p": 0.5, "temperature": 0.1},
    {"do_sample": True, "num_beams": 1, "num_return_sequences": 4, "top_k": 0, "top_p": 0.8},
    {"do_sample": True, "num_beams": 2, "temperature": 0.7, "top_k": 5},
    {"repetition_penalty": 1.5, "no_repeat_ngram_size": 1, "max_new_tokens": 20},
    {"bad_words_ids": [[1], [2], [7, 8]], "num_beams": 2},
    {"forced_bos_token_id": 17, "forced_eos_token_id": 30},
]


@pytest.mark.filterwarnings("ignore:Unfeasible length constraints")
@pytest.mark.parametrize("call", CALLS, ids=str)
@pytest.mark.parametrize("name", FILES)
def test_resolved_parameters_mean_to_generate_what_the_raw_ones_meant(
    model: T5ForConditionalGeneration, name: str, call: dict[str, Any]
) -> None:
    """Layers, defaults, clamps and values without effect: the token ids stay the same."""
    file = FILES[name]
    if "max_length" in call and "max_new_tokens" in file:
        pytest.skip("textmill lets the nearer length win, transformers always max_new_tokens")
    params = Resolver([Layer("model", file), Layer("record", call)]).base
    assert generate(model, {}, as_kwargs(params)) == generate(model, file, call)


NATIVE: dict[str, st.SearchStrategy[Any]] = {
    "max_new_tokens": st.integers(-1, 10),
    "min_new_tokens": st.integers(-1, 12),
    "num_beams": st.integers(0, 4),
    "num_return_sequences": st.integers(0, 5),
    "length_penalty": st.floats(-12, 12),
    "early_stopping": st.booleans() | st.sampled_from(["never", "always"]),
    "do_sample": st.booleans(),
    "temperature": st.floats(-1, 3),
    "top_k": st.integers(-1, 60),
    "top_p": st.floats(-0.5, 1.5),
    "repetition_penalty": st.floats(-1, 3),
    "no_repeat_ngram_size": st.integers(-1, 4),
    "bad_words_ids": st.lists(st.lists(st.integers(0, 39), max_size=3), max_size=3),
    "suppress_tokens": st.lists(st.integers(0, 39), max_size=4),
    "forced_bos_token_id": st.integers(0, 39),
    "forced_eos_token_id": st.integers(0, 39),
}


@pytest.mark.filterwarnings("ignore:Unfeasible length constraints")
@settings(max_examples=60, deadline=None)
@given(call=st.fixed_dictionaries({}, optional=NATIVE))
def test_what_is_accepted_runs_and_means_the_same(
    model: T5ForConditionalGeneration, call: dict[str, Any]
) -> None:
    """Whatever the table lets through, `generate` runs, with the same result as resolved."""
    file = {"decoder_start_token_id": 0, "eos_token_id": 1, "max_new_tokens": 8}
    try:
        params = Resolver([Layer("model", file), Layer("record", call)]).base
    except ParameterError:
        return
    raw = {**call, "bad_words_ids": call.get("bad_words_ids") or None}
    assert generate(model, {}, as_kwargs(params)) == generate(model, file, raw)
