"""One stack of transformer layers, T5's or BART's, as the fields in which they differ."""

from __future__ import annotations

from msgspec import Struct

from textmill.engines.checkpoint import Architecture, T5Architecture


class Stack(Struct, frozen=True, kw_only=True):
    """The encoder or the decoder of a model.

    name: "encoder" or "decoder", the first part of its arrays' names.
    query_scale: queries are multiplied by it.
    rms: norms are T5's, without mean and bias.
    pre_norm: norms stand before each block, otherwise behind it.
    relative_bias: how many layers have a table of their own that biases self-attention.
    output_scale: of the last hidden state; T5 v1.0's, 1.0 for all others.
    """

    name: str
    layers: int
    heads: int
    head_size: int
    query_scale: float
    rms: bool
    pre_norm: bool
    epsilon: float
    activation: str
    relative_bias: int
    output_scale: float = 1.0


def stack_of(architecture: Architecture, name: str) -> Stack:
    """The stack called `name`."""
    encoder = name == "encoder"
    layers = architecture.encoder_layers if encoder else architecture.decoder_layers
    if isinstance(architecture, T5Architecture):
        return Stack(
            name=name,
            layers=layers,
            heads=architecture.num_heads,
            head_size=architecture.d_kv,
            query_scale=1.0,
            rms=True,
            pre_norm=True,
            epsilon=architecture.layer_norm_epsilon,
            activation=architecture.activation,
            relative_bias=layers if architecture.bias_in_every_layer else 1,
            output_scale=1.0 if encoder else architecture.output_scale,
        )
    heads = architecture.encoder_heads if encoder else architecture.decoder_heads
    head_size = architecture.d_model // heads
    return Stack(
        name=name,
        layers=layers,
        heads=heads,
        head_size=head_size,
        query_scale=head_size**-0.5,
        rms=False,
        pre_norm=architecture.pre_norm,
        epsilon=architecture.layer_norm_epsilon,
        activation=architecture.activation,
        relative_bias=0,
    )
