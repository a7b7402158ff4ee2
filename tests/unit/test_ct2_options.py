"""Which parameters the ct2 engine refuses, and which may share a batch."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from support.ct2 import checkpoint_of, params_for
from support.tiny_models import tiny_model
from textmill.core import Params
from textmill.engines.ct2.options import check, group
from textmill.errors import UnsupportedParameter

REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("do_sample", "t5", {"do_sample": True, "num_beams": 2}),
    ("early_stopping", "t5", {"early_stopping": "never", "num_beams": 2}),
    ("stop", "t5", {"stop": ("x",), "num_beams": 2}),
    ("max_time", "t5", {"max_time": 1.0, "num_beams": 2}),
    ("repetition_penalty", "t5", {"repetition_penalty": 1.2, "num_beams": 2}),
    ("repetition_penalty", "t5", {"repetition_penalty": 0.9}),
    ("repetition_penalty", "bart", {"repetition_penalty": 1.2}),
    ("num_return_sequences", "t5", {"num_return_sequences": 2}),
    ("num_return_sequences", "t5", {"num_return_sequences": 3, "num_beams": 2}),
    ("top_k", "t5", {"top_k": 1, "do_sample": True, "num_return_sequences": 2}),
    ("max_new_tokens", "bart", {"max_new_tokens": 65}),
    ("forced_eos_token_id", "t5", {"forced_eos_token_id": 2}),
    ("forced_bos_token_id", "t5", {"forced_bos_token_id": 1}),
    ("forced_bos_token_id", "t5", {"forced_bos_token_id": 320}),
    ("decoder_start_token_id", "t5", {"decoder_start_token_id": 320}),
    ("eos_token_ids", "t5", {"eos_token_ids": (1, 320)}),
    ("suppress_tokens", "t5", {"suppress_tokens": (-1,)}),
    ("bad_words_ids", "t5", {"bad_words_ids": ((3, 320),)}),
    ("bad_words_ids", "t5", {"bad_words_ids": ((0, 5),)}),
]


@pytest.mark.parametrize(("name", "model_type", "settings"), REFUSED)
def test_what_cannot_be_honoured_is_refused(
    name: str, model_type: str, settings: dict[str, Any]
) -> None:
    """The error names the parameter and its value."""
    folder = tiny_model(model_type)
    params = params_for(folder, **settings)
    with pytest.raises(UnsupportedParameter) as error:
        check(params, checkpoint_of(folder).architecture)
    assert error.value.name == name
    assert error.value.value == getattr(params, name)


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("bart", {"max_new_tokens": 64}),
        ("t5", {"max_new_tokens": 100_000}),
        ("t5", {"repetition_penalty": 1.2}),
        ("t5", {"early_stopping": "never"}),
        ("t5", {"do_sample": True, "top_k": 1}),
        ("t5", {"do_sample": True, "num_return_sequences": 5}),
        ("t5", {"num_beams": 4, "num_return_sequences": 4}),
        ("t5", {"stop": ("x",), "max_time": 2.0}),
        ("t5", {"bad_words_ids": ((0,), (5, 0))}),
    ],
)
def test_what_can_be_honoured_is_not_refused(model_type: str, settings: dict[str, Any]) -> None:
    folder = tiny_model(model_type)
    check(params_for(folder, **settings), checkpoint_of(folder).architecture)


def test_group_leaves_out_what_is_done_for_each_text() -> None:
    """Stop strings and languages may differ in a call; seeds only matter when sampling."""
    params = Params(forced_bos_token_id=5)
    for same in (
        {"stop": ("a",)},
        {"forced_bos_token_id": 6},
        {"src_lang": "de"},
        {"seed": 3},
        {"batch_size": 9},
    ):
        assert group(replace(params, **same)) == group(params)
    for other in (
        {"max_new_tokens": 5},
        {"forced_bos_token_id": None},
        {"num_beams": 2},
        {"do_sample": True},
        {"eos_token_ids": (1, 2)},
    ):
        assert group(replace(params, **other)) != group(params)
    sampled = replace(params, do_sample=True, seed=1)
    assert group(replace(sampled, seed=2)) != group(sampled)
