"""What of the openvino engine needs no OpenVINO: positions, precisions, memory, rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from support.ct2 import checkpoint_of, params_for
from support.tiny_models import tiny_model
from textmill.core import Params
from textmill.engines.openvino.bfloat16 import from_bfloat16, to_bfloat16
from textmill.engines.openvino.layers import quantize
from textmill.engines.openvino.memory import limits_for, model_bytes
from textmill.engines.openvino.precision import Arithmetic, arithmetic, precisions
from textmill.engines.openvino.relative import RelativeBias, bucket_of
from textmill.engines.openvino.rules import OpenvinoRules
from textmill.errors import ModelError, UnsupportedParameter


@pytest.mark.parametrize("both", [True, False])
def test_buckets_are_those_of_transformers(both: bool) -> None:
    import torch
    from transformers.models.t5.modeling_t5 import T5Attention

    arch = checkpoint_of(tiny_model("t5")).architecture
    distance = np.arange(-300, 300)
    theirs = T5Attention._relative_position_bucket(
        torch.tensor(distance),
        bidirectional=both,
        num_buckets=arch.relative_buckets,
        max_distance=arch.relative_max_distance,
    )
    assert bucket_of(distance, arch, both=both).tolist() == theirs.tolist()


def test_strips_are_rows_of_the_bias_matrix() -> None:
    """A query behind 5 tokens adds to them what the whole matrix has in row 5."""
    checkpoint = checkpoint_of(tiny_model("umt5"))
    bias = RelativeBias(checkpoint.architecture, checkpoint.arrays, "decoder")
    for strip, square in zip(bias.strips(8), bias.square(6), strict=True):
        assert strip[:, 8 - 5 : 8].tolist() == square[0, :, 5, :5].tolist()


@given(arrays(np.float32, 20, elements=st.floats(-(2.0**100), 2.0**100, width=32)))
def test_bfloat16_is_rounded_as_torch_rounds(numbers: np.ndarray) -> None:
    import torch

    theirs = torch.tensor(numbers).bfloat16().float().numpy()
    np.testing.assert_array_equal(from_bfloat16(to_bfloat16(numbers)), theirs)


@given(arrays(np.float32, (4, 6), elements=st.floats(-1e3, 1e3, width=32)))
def test_quantized_weights_are_within_half_a_step(weight: np.ndarray) -> None:
    quantized, scale = quantize(weight)
    error = np.abs(quantized * scale[:, None] - weight)
    assert (error <= scale[:, None] * 0.51 + 1e-30).all()


def test_bfloat16_is_never_used_where_the_cpu_lacks_it() -> None:
    for precision in precisions(bfloat16=False):
        assert not arithmetic(precision, bfloat16=False).half
    assert "bfloat16" not in precisions(bfloat16=False)
    assert arithmetic("int8", bfloat16=True) == Arithmetic(int8=True, half=True)
    assert arithmetic("float32", bfloat16=True) == Arithmetic(int8=False, half=False)


def test_a_model_that_does_not_fit_is_refused_with_figures() -> None:
    arch = checkpoint_of(tiny_model("bart")).architecture
    how = Arithmetic(int8=False, half=False)
    with pytest.raises(ModelError, match=r"weights take 0\.0 GB .* 0\.0 GB of memory are free"):
        limits_for(arch, how, lanes=2, free_bytes=model_bytes(arch, how) + 1000)
    rich = limits_for(arch, how, lanes=2, free_bytes=1 << 40)
    poor = limits_for(arch, how, lanes=2, free_bytes=1 << 24)
    assert poor.bytes * 2 < 1 << 24
    assert poor.bytes < rich.bytes


def rules() -> OpenvinoRules:
    arch = checkpoint_of(tiny_model("bart")).architecture
    return OpenvinoRules.of(arch, precision="float32", half=False, threads=2)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_new_tokens": 65},
        {"suppress_tokens": (320,)},
        {"bad_words_ids": ((1, 400),)},
        {"forced_bos_token_id": 320},
        {"num_return_sequences": 2},
        {"num_return_sequences": 3, "num_beams": 2},
        {"do_sample": True, "num_beams": 2},
    ],
    ids=str,
)
def test_what_the_model_cannot_do_is_refused(settings: dict) -> None:
    params = params_for(tiny_model("bart"), **settings)
    with pytest.raises(UnsupportedParameter, match="openvino"):
        rules().check(params)


def test_all_parameters_share_one_group() -> None:
    assert rules().group(Params(num_beams=4)) == rules().group(Params(do_sample=True))
