"""What a model is, apart from its weights: one description per block family.

`read_architecture` is pure: it turns the decoded config.json into a description, with the
defaults that transformers' configuration classes have. Everything that differs between the
models of a family is a field here, so that engines never look at `model_type`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct

from textmill.engines.checkpoint.config import Config
from textmill.errors import UnsafeModel, UnsupportedModel
from textmill.words import written


class Positions(StrEnum):
    """How a model knows the order of its tokens."""

    RELATIVE = "relative"
    """A learned bias on attention scores by bucketed distance (T5)."""
    LEARNED = "learned"
    """A learned table, added to the embeddings (BART, mBART)."""
    SINUSOIDAL = "sinusoidal"
    """A computed table: sines in the first half, cosines in the second (Pegasus, Marian)."""
    SINUSOIDAL_SHIFTED = "sinusoidal_shifted"
    """The table of fairseq, which begins after the padding id (M2M100, NLLB)."""


class T5Architecture(Struct, frozen=True, kw_only=True):
    """T5, FLAN-T5, mT5, UMT5, ByT5, MADLAD: RMS norms before each block, no biases.

    d_kv: size of one attention head; num_heads * d_kv may differ from d_model.
    activation: transformers' name of the feed-forward activation.
    gated: the feed-forward has a second, linear branch that multiplies the activated one.
    bias_in_every_layer: True when each self-attention layer has its own relative bias (UMT5),
        False when the first layer's is used by all.
    output_scale: the decoder's output is multiplied by it before the output projection.
    """

    model_type: str
    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_heads: int
    encoder_layers: int
    decoder_layers: int
    activation: str
    gated: bool
    layer_norm_epsilon: float
    relative_buckets: int
    relative_max_distance: int
    bias_in_every_layer: bool
    output_scale: float
    pad_token_id: int
    eos_token_ids: tuple[int, ...]
    decoder_start_token_id: int | None

    @property
    def positions(self) -> Positions:
        """Always relative."""
        return Positions.RELATIVE

    @property
    def decoder_vocab_size(self) -> int:
        """Encoder and decoder share one vocabulary."""
        return self.vocab_size

    @property
    def max_positions(self) -> None:
        """Relative positions have no end."""


class BartArchitecture(Struct, frozen=True, kw_only=True):
    """BART, mBART, Pegasus, Marian, M2M100, NLLB: layer norms and biases everywhere.

    pre_norm: norms stand before each block and once after each stack; otherwise after each block.
    embedding_norm: the embeddings have a norm of their own.
    embedding_scale: token embeddings are multiplied by it.
    max_positions: rows of the position table; neither input nor output may be longer.
    shared_vocabulary: False when encoder and decoder have vocabularies of their own.
    """

    model_type: str
    vocab_size: int
    decoder_vocab_size: int
    d_model: int
    encoder_layers: int
    decoder_layers: int
    encoder_heads: int
    decoder_heads: int
    encoder_ffn: int
    decoder_ffn: int
    activation: str
    pre_norm: bool
    embedding_norm: bool
    embedding_scale: float
    positions: Positions
    max_positions: int
    layer_norm_epsilon: float
    shared_vocabulary: bool
    pad_token_id: int
    eos_token_ids: tuple[int, ...]
    decoder_start_token_id: int | None


Architecture = T5Architecture | BartArchitecture


class _T5Kind(Struct, frozen=True):
    """What a model type of the T5 family fixes."""

    feed_forward: str
    start: int | None = 0


class _BartKind(Struct, frozen=True, kw_only=True):
    """What a model type of the BART family fixes, and its defaults."""

    positions: Positions
    pre_norm: bool
    embedding_norm: bool
    pad: int
    eos: int
    start: int | None
    activation: str = "gelu"
    scale_embedding: bool = False


_T5_KINDS = {
    "t5": _T5Kind("relu"),
    "mt5": _T5Kind("gated-gelu"),
    "umt5": _T5Kind("gated-gelu"),
}

_BART_KINDS = {
    "bart": _BartKind(
        positions=Positions.LEARNED, pre_norm=False, embedding_norm=True, pad=1, eos=2, start=2
    ),
    "mbart": _BartKind(
        positions=Positions.LEARNED, pre_norm=True, embedding_norm=True, pad=1, eos=2, start=None
    ),
    "pegasus": _BartKind(
        positions=Positions.SINUSOIDAL, pre_norm=True, embedding_norm=False, pad=0, eos=1, start=0
    ),
    "marian": _BartKind(
        positions=Positions.SINUSOIDAL,
        pre_norm=False,
        embedding_norm=False,
        pad=58100,
        eos=0,
        start=58100,
    ),
    "m2m_100": _BartKind(
        positions=Positions.SINUSOIDAL_SHIFTED,
        pre_norm=True,
        embedding_norm=False,
        pad=1,
        eos=2,
        start=2,
        activation="relu",
        scale_embedding=True,
    ),
}

SUPPORTED = (*_T5_KINDS, *_BART_KINDS)
"""The values of `model_type` that textmill runs (byt5, flan-t5 and madlad are "t5" or "mt5")."""


def read_architecture(raw: Mapping[str, Any], where: str) -> Architecture:
    """The description that config.json gives. `where` names the file in messages.

    Raises `UnsafeModel` for a model that brings its own code, `UnsupportedModel` for a type or
    a weight format that textmill does not know, `CorruptModel` for values that cannot be.
    """
    if "auto_map" in raw:
        raise UnsafeModel(
            f"{where} has auto_map: the model brings Python code of its own",
            hint=f"textmill runs no model code; it knows these types: {', '.join(SUPPORTED)}",
        )
    model_type = raw.get("model_type")
    if model_type not in SUPPORTED:
        raise UnsupportedModel(
            f"{where}: model_type {written(model_type)} is not supported",
            hint=f"supported types: {', '.join(SUPPORTED)}",
        )
    if "quantization_config" in raw:
        raise UnsupportedModel(
            f"{where}: the weights are already quantized (quantization_config)",
            hint="use the model's original weights; textmill quantizes them itself",
        )
    config = Config(raw, where)
    if model_type in _T5_KINDS:
        return _read_t5(config, model_type, _T5_KINDS[model_type])
    return _read_bart(config, model_type, _BART_KINDS[model_type])


def _read_t5(config: Config, model_type: str, kind: _T5Kind) -> T5Architecture:
    feed_forward = config.text("feed_forward_proj", kind.feed_forward)
    gate, _, name = feed_forward.rpartition("-")
    activation = "gelu_new" if feed_forward == "gated-gelu" else name
    d_model = config.size("d_model")
    layers = config.size("num_layers")
    return T5Architecture(
        model_type=model_type,
        vocab_size=config.size("vocab_size"),
        d_model=d_model,
        d_kv=config.size("d_kv"),
        d_ff=config.size("d_ff"),
        num_heads=config.size("num_heads"),
        encoder_layers=layers,
        decoder_layers=config.size("num_decoder_layers", layers),
        activation=config.text("dense_act_fn", activation),
        gated=config.flag("is_gated_act", gate == "gated"),
        layer_norm_epsilon=config.number("layer_norm_epsilon", 1e-6),
        relative_buckets=config.size("relative_attention_num_buckets", 32),
        relative_max_distance=config.size("relative_attention_max_distance", 128),
        bias_in_every_layer=model_type == "umt5",
        output_scale=d_model**-0.5 if _scales_output(config, model_type) else 1.0,
        pad_token_id=config.id("pad_token_id", 0),
        eos_token_ids=config.ids("eos_token_id", 1),
        decoder_start_token_id=config.optional_id("decoder_start_token_id", kind.start),
    )


def _scales_output(config: Config, model_type: str) -> bool:
    """Whether the decoder's output is scaled by d_model ** -0.5.

    T5 v1.0 scales, v1.1 does not. Published configurations say it by `tie_word_embeddings`,
    which has never meant anything else for T5; transformers 5 writes it as
    `scale_decoder_outputs`. mT5 never scales. transformers 5 scales every UMT5, also those
    published with `tie_word_embeddings: false`, which transformers 4 did not; we follow the
    model's own file, which is also what transformers 5 writes when it saves one.
    """
    if model_type == "mt5":
        return False
    tied = config.flag("tie_word_embeddings", True)
    return config.flag("scale_decoder_outputs", tied) if model_type == "t5" else tied


def _read_bart(config: Config, model_type: str, kind: _BartKind) -> BartArchitecture:
    d_model = config.size("d_model")
    vocab_size = config.size("vocab_size")
    shared = model_type != "marian" or config.flag("share_encoder_decoder_embeddings", True)
    scaled = config.flag("scale_embedding", kind.scale_embedding)
    return BartArchitecture(
        model_type=model_type,
        vocab_size=vocab_size,
        decoder_vocab_size=(
            vocab_size if shared else config.size("decoder_vocab_size", vocab_size)
        ),
        d_model=d_model,
        encoder_layers=config.size("encoder_layers"),
        decoder_layers=config.size("decoder_layers"),
        encoder_heads=config.divisor("encoder_attention_heads", d_model),
        decoder_heads=config.divisor("decoder_attention_heads", d_model),
        encoder_ffn=config.size("encoder_ffn_dim"),
        decoder_ffn=config.size("decoder_ffn_dim"),
        activation=config.text("activation_function", kind.activation),
        pre_norm=kind.pre_norm,
        embedding_norm=kind.embedding_norm,
        embedding_scale=d_model**0.5 if scaled else 1.0,
        positions=kind.positions,
        max_positions=config.size("max_position_embeddings", 1024),
        layer_norm_epsilon=1e-5,
        shared_vocabulary=shared,
        pad_token_id=config.id("pad_token_id", kind.pad),
        eos_token_ids=config.ids("eos_token_id", kind.eos),
        decoder_start_token_id=config.optional_id("decoder_start_token_id", kind.start),
    )
