"""Tiny random checkpoints of every model type, written by transformers.

They are random, but not degenerate: greedy decoding wanders through the vocabulary, depends on
the input, and ends by itself now and then.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

VOCAB = 320
D_MODEL = 48
_T5 = {
    "vocab_size": VOCAB,
    "d_model": D_MODEL,
    "d_kv": 16,
    "d_ff": 64,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
}
_BART = {
    "vocab_size": VOCAB,
    "d_model": D_MODEL,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 80,
    "max_position_embeddings": 64,
}
_KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": ("T5", _T5),
    "flan-t5": ("T5", _T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "mt5": ("MT5", _T5 | {"feed_forward_proj": "gated-gelu"}),
    "umt5": ("UMT5", _T5 | {"feed_forward_proj": "gated-gelu"}),
    "byt5": (
        "T5",
        _T5 | {"vocab_size": 384, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "bart": ("Bart", _BART | {"forced_bos_token_id": 0, "scale_embedding": False}),
    "mbart": ("MBart", _BART | {"decoder_start_token_id": 2, "scale_embedding": True}),
    "pegasus": ("Pegasus", _BART | {"scale_embedding": True, "activation_function": "relu"}),
    "marian": (
        "Marian",
        _BART
        | {
            "scale_embedding": True,
            "activation_function": "swish",
            "pad_token_id": VOCAB - 1,
            "decoder_start_token_id": VOCAB - 1,
        },
    ),
    "m2m_100": ("M2M100", _BART),
}

MODEL_TYPES = tuple(_KINDS)
"""Every model type that textmill runs; t5 is v1.0, flan-t5 is v1.1."""

_UNTIED = {"flan-t5", "byt5", "mt5", "umt5"}


def build(model_type: str, folder: Path, *, seed: int = 0, **overrides: Any) -> Path:
    """Write a model of that type into `folder`: safetensors, configuration, no tokenizer.

    overrides: settings of its configuration, such as vocab_size.
    """
    import torch
    import transformers

    prefix, settings = _KINDS[model_type]
    config = getattr(transformers, f"{prefix}Config")(**(settings | overrides))
    head = "MTModel" if prefix == "Marian" else "ForConditionalGeneration"
    with torch.random.fork_rng():
        torch.manual_seed(100 * seed + MODEL_TYPES.index(model_type))
        model = getattr(transformers, f"{prefix}{head}")(config).eval()
        if model_type in _UNTIED:
            model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        with torch.no_grad():
            _randomize(model, config)
    model.generation_config.max_length = None
    model.save_pretrained(folder)
    return folder


_END_BIAS = {"bart": 3.0, "mbart": 2.0, "pegasus": 3.0, "marian": 0.5}
_EMBEDDING_STD = 0.4
_LOGIT_STD = 3.0


def _gain(name: str) -> float:
    """Attention that looks at few tokens, and sublayers that outweigh what flows past them."""
    if name.endswith(("q_proj.weight", "k_proj.weight")):
        return 3.0
    if name.endswith((".o.weight", ".wo.weight", "out_proj.weight", "fc2.weight")):
        return 3.0
    return 1.5


def _randomize(model: Any, config: Any) -> None:
    """Weights of a size at which layers matter more than the token that came last."""
    import torch

    for name, weight in model.named_parameters():
        if not weight.requires_grad:
            continue  # a computed table
        noise = torch.randn_like(weight)
        if "norm" in name:
            weight.copy_(0.2 * noise + (1.0 if name.endswith("weight") else 0.0))
        elif weight.dim() == 1:
            weight.copy_(0.1 * noise)
        elif "relative_attention_bias" in name:
            weight.copy_(noise)
        elif weight.shape[0] >= config.vocab_size:
            weight.copy_(noise * _EMBEDDING_STD / _embedding_scale(config))
            weight[config.eos_token_id] *= 2.2
            weight[config.pad_token_id] = 0.0
        elif "embed_positions" in name:
            weight.copy_(noise)
        else:
            weight.copy_(_gain(name) * noise * weight.shape[1] ** -0.5)
    _sharpen(model, config)


def _embedding_scale(config: Any) -> float:
    return float(config.d_model**0.5) if getattr(config, "scale_embedding", False) else 1.0


def _sharpen(model: Any, config: Any) -> None:
    """Scale the decoder's last norm so that logits differ by some units."""
    import torch

    decoder = model.get_decoder()
    norm = getattr(decoder, "final_layer_norm", None) or getattr(decoder, "layer_norm", None)
    if norm is None:
        norm = decoder.layers[-1].final_layer_norm
    scaled = getattr(config, "scale_decoder_outputs", config.model_type == "umt5")
    logit_std = _EMBEDDING_STD / _embedding_scale(config) * (1.0 if scaled else config.d_model**0.5)
    norm.weight.mul_(_LOGIT_STD / logit_std)
    if getattr(model, "final_logits_bias", None) is not None:
        model.final_logits_bias.copy_(torch.randn_like(model.final_logits_bias))
        model.final_logits_bias[0, config.eos_token_id] = _END_BIAS[config.model_type]


@functools.cache
def tiny_model(model_type: str, seed: int = 0) -> Path:
    """A folder with such a model, built once per test session. Do not change it."""
    return build(model_type, session_folder() / f"{model_type}-{seed}", seed=seed)


@functools.cache
def session_folder() -> Path:
    """A folder for what tests share; removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="tiny-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
