"""A CTranslate2 model from a checkpoint's arrays.

Tokens are named by their ids ("0", "1", …), so ids and tokens convert without a table and no
token text can collide with another or with a special token. The special tokens of CTranslate2's
own vocabulary are names that no token has: CTranslate2 would skip inputs that are nothing but
end tokens, and strip them from outputs, and transformers does neither.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmill.engines.checkpoint import BartArchitecture, Checkpoint, T5Architecture
from textmill.errors import CorruptModel, UnsupportedModel
from textmill.words import written

PRECISIONS = ("int8", "float32")

BUILDER_VERSION = 1
"""Part of the cache key; to be raised when the same checkpoint gives another model."""

_NO_TOKEN = "none"  # noqa: S105  a token that is in no vocabulary


def write_model(checkpoint: Checkpoint, precision: str, folder: Path) -> None:
    """Write the checkpoint as a CTranslate2 model into an existing, empty folder.

    precision: one of `PRECISIONS`. With int8 each matrix is quantized as soon as it is read, so
    that beside the finished model only one matrix is in memory.

    Raises `UnsupportedModel` for an activation that CTranslate2 does not have.
    """
    spec = _Builder(checkpoint, precision).build()
    spec.validate()
    spec.optimize()
    spec.save(str(folder))


class _Builder:
    """Moves arrays into the layer specifications of CTranslate2."""

    def __init__(self, checkpoint: Checkpoint, precision: str) -> None:
        self._architecture = checkpoint.architecture
        self._arrays = checkpoint.arrays
        self._int8 = precision == "int8"
        self._shared: dict[str, tuple[NDArray[Any], NDArray[np.float32] | None]] = {}

    def build(self) -> Any:
        from ctranslate2.specs import TransformerSpec

        arch = self._architecture
        if isinstance(arch, T5Architecture):
            encoder, decoder = self._t5(arch)
        else:
            encoder, decoder = self._bart(arch)
        spec = TransformerSpec(encoder, decoder)
        spec.register_source_vocabulary(_token_names(arch.vocab_size))
        spec.register_target_vocabulary(_token_names(arch.decoder_vocab_size))
        spec.config.unk_token = "0"  # noqa: S105  has to be one; never looked up
        spec.config.bos_token = _NO_TOKEN
        spec.config.eos_token = _NO_TOKEN
        spec.config.decoder_start_token = None
        spec.config.add_attribute("layer_norm_epsilon", arch.layer_norm_epsilon)
        return spec

    def _t5(self, arch: T5Architecture) -> tuple[Any, Any]:
        from ctranslate2.specs.transformer_spec import (
            TransformerDecoderSpec,
            TransformerEncoderSpec,
        )

        common = {
            "pre_norm": True,
            "activation": _activation(arch.activation),
            "ffn_glu": arch.gated,
            "rms_norm": True,
            "relative_attention_bias": True,
        }
        encoder = TransformerEncoderSpec(arch.encoder_layers, arch.num_heads, **common)
        decoder = TransformerDecoderSpec(arch.decoder_layers, arch.num_heads, **common)
        decoder.scale_outputs = arch.output_scale
        for stack, spec in (("encoder", encoder), ("decoder", decoder)):
            spec.scale_embeddings = False
            self._fill_stack(spec, stack)
            self._fill_relative_bias(spec, stack, arch)
        return encoder, decoder

    def _bart(self, arch: BartArchitecture) -> tuple[Any, Any]:
        from ctranslate2.specs.transformer_spec import (
            TransformerDecoderSpec,
            TransformerEncoderSpec,
        )

        common = {
            "pre_norm": arch.pre_norm,
            "activation": _activation(arch.activation),
            "layernorm_embedding": arch.embedding_norm,
        }
        encoder = TransformerEncoderSpec(arch.encoder_layers, arch.encoder_heads, **common)
        decoder = TransformerDecoderSpec(arch.decoder_layers, arch.decoder_heads, **common)
        for stack, spec in (("encoder", encoder), ("decoder", decoder)):
            spec.scale_embeddings = arch.embedding_scale
            spec.position_encodings.encodings = self._arrays[f"{stack}.positions"]
            if arch.embedding_norm:
                self._norm(spec.layernorm_embedding, f"{stack}.embed_norm")
            self._fill_stack(spec, stack)
        if "final_logits_bias" in self._arrays:
            decoder.projection.bias = self._arrays["final_logits_bias"]
        return encoder, decoder

    def _fill_stack(self, spec: Any, stack: str) -> None:
        if stack == "encoder":
            self._embedding(spec.embeddings[0], "encoder.embed_tokens")
        else:
            self._embedding(spec.embeddings, "decoder.embed_tokens")
            self._embedding(spec.projection, "lm_head")
        if f"{stack}.norm.weight" in self._arrays:
            self._norm(spec.layer_norm, f"{stack}.norm")
        for n, layer in enumerate(spec.layer):
            self._fill_layer(layer, f"{stack}.layers.{n}")

    def _fill_layer(self, layer: Any, path: str) -> None:
        self._attention(layer.self_attention, f"{path}.self_attn", ("qkv", "o"))
        if hasattr(layer, "attention"):
            self._attention(layer.attention, f"{path}.cross_attn", ("q", "kv", "o"))
        self._norm(layer.ffn.layer_norm, f"{path}.ffn.norm")
        self._linear(layer.ffn.linear_0, f"{path}.ffn.wi")
        if hasattr(layer.ffn, "linear_0_noact"):
            self._linear(layer.ffn.linear_0_noact, f"{path}.ffn.wi_gate")
        self._linear(layer.ffn.linear_1, f"{path}.ffn.wo")

    def _attention(self, spec: Any, path: str, fused: tuple[str, ...]) -> None:
        """Projections whose letters stand together are one matrix in CTranslate2."""
        self._norm(spec.layer_norm, f"{path}.norm")
        for linear, letters in zip(spec.linear, fused, strict=True):
            self._linear(linear, *(f"{path}.{letter}" for letter in letters))
        if isinstance(self._architecture, T5Architecture):
            spec.queries_scale = 1.0

    def _fill_relative_bias(self, spec: Any, stack: str, arch: T5Architecture) -> None:
        for n, layer in enumerate(spec.layer):
            owner = n if arch.bias_in_every_layer else 0
            name = f"{stack}.layers.{owner}.self_attn.relative_bias"
            layer.self_attention.relative_attention_bias = self._arrays[name]
            layer.self_attention.relative_attention_max_distance = np.int32(
                arch.relative_max_distance
            )

    def _norm(self, spec: Any, path: str) -> None:
        spec.gamma = self._arrays[f"{path}.weight"]
        if f"{path}.bias" in self._arrays:
            spec.beta = self._arrays[f"{path}.bias"]

    def _linear(self, spec: Any, *paths: str) -> None:
        parts = [self._matrix(self._arrays[f"{path}.weight"]) for path in paths]
        spec.weight = _stack([weight for weight, _ in parts])
        if self._int8:
            spec.weight_scale = _stack([scale for _, scale in parts if scale is not None])
        if f"{paths[0]}.bias" in self._arrays:
            spec.bias = _stack([self._arrays[f"{path}.bias"] for path in paths])

    def _embedding(self, spec: Any, name: str) -> None:
        """Tied embeddings share one array, which the file then holds once."""
        origin = self._arrays.origin(name)
        if origin not in self._shared:
            self._shared[origin] = self._matrix(self._arrays[name])
        spec.weight, scale = self._shared[origin]
        if scale is not None:
            spec.weight_scale = scale

    def _matrix(self, weight: NDArray[np.float32]) -> tuple[Any, NDArray[np.float32] | None]:
        if not np.isfinite(weight).all():
            raise CorruptModel(
                "a weight matrix of the model holds NaN or infinity",
                hint="the file is damaged, or was saved from a training run that diverged",
            )
        return _quantize(weight) if self._int8 else (weight, None)


def _quantize(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 with one scale for each row: weight = quantized / scale."""
    largest = np.maximum(weight.max(axis=1), -weight.min(axis=1))
    largest[largest == 0] = 127
    smallest_with_a_scale = np.float32(127) / np.finfo(np.float32).max
    scale = np.float32(127) / np.maximum(largest, smallest_with_a_scale)
    return np.rint(weight * scale[:, None]).astype(np.int8), scale


def _stack(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _token_names(size: int) -> list[str]:
    return [str(n) for n in range(size)]


def _activation(name: str) -> Any:
    from ctranslate2.specs import Activation

    known = {
        "gelu": Activation.GELU,
        "gelu_python": Activation.GELU,
        "gelu_new": Activation.GELUTanh,
        "gelu_fast": Activation.GELUTanh,
        "gelu_pytorch_tanh": Activation.GELUTanh,
        "quick_gelu": Activation.GELUSigmoid,
        "relu": Activation.RELU,
        "silu": Activation.SWISH,
        "swish": Activation.SWISH,
    }
    if name not in known:
        raise UnsupportedModel(
            f"CTranslate2 has no activation {written(name)}",
            hint=f"it has {', '.join(sorted(known))}",
        )
    return known[name]
