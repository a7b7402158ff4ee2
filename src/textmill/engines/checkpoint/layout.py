"""The tensors of an architecture: our names, the names they have in files, their shapes.

One naming scheme for both families:

    {encoder,decoder}.embed_tokens            [vocabulary, d_model]
    {encoder,decoder}.positions               [max_positions, d_model]     BART family
    {encoder,decoder}.embed_norm.{weight,bias}                             BART, mBART
    {encoder,decoder}.layers.N.self_attn.{q,k,v,o}.{weight,bias}
    {encoder,decoder}.layers.N.self_attn.norm.{weight,bias}
    {encoder,decoder}.layers.N.self_attn.relative_bias  [buckets, heads]   T5 family
    decoder.layers.N.cross_attn. …            as self_attn, without relative_bias
    {encoder,decoder}.layers.N.ffn.{wi,wi_gate,wo}.{weight,bias}
    {encoder,decoder}.layers.N.ffn.norm.{weight,bias}
    {encoder,decoder}.norm.{weight,bias}                                   pre-norm models
    lm_head                                   [decoder vocabulary, d_model]
    final_logits_bias                         [decoder vocabulary]         when not all zero

Projections are stored [outputs, inputs], as in the files. With a gate, `wi` is activated and
`wi_gate` is linear. T5 has no biases. T5's relative bias exists for layer 0 only, unless
`bias_in_every_layer`.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from textmill.engines.checkpoint.architecture import (
    Architecture,
    BartArchitecture,
    Positions,
    T5Architecture,
)


class Slot(Struct, frozen=True):
    """One tensor that an architecture has.

    sources: names it may have in the files, the preferred one first; files may or may not put
        "model." before each.
    shape: of the tensor as we give it.
    skip_rows: rows at its beginning that the file has in addition.
    required: False when the model works without it.
    """

    sources: tuple[str, ...]
    shape: tuple[int, ...]
    skip_rows: int = 0
    required: bool = True


_LEARNED_OFFSET = 2
"""BART's learned position tables begin with two rows that no position uses."""

_SHARED = "shared.weight"
_ENCODER_TOKENS = "encoder.embed_tokens.weight"
_DECODER_TOKENS = "decoder.embed_tokens.weight"
_LM_HEAD = "lm_head.weight"


def layout(architecture: Architecture) -> dict[str, Slot]:
    """Every tensor that the architecture has, by our name."""
    if isinstance(architecture, T5Architecture):
        return dict(_t5(architecture))
    return dict(_bart(architecture))


Slots = Iterator[tuple[str, Slot]]


def _embeddings(architecture: Architecture, *, shared: bool) -> Slots:
    """Embeddings and output projection; what a file lacks is tied to what it has."""
    d_model = architecture.d_model
    encoder: tuple[str, ...] = (_ENCODER_TOKENS, _SHARED, _DECODER_TOKENS, _LM_HEAD)
    decoder: tuple[str, ...] = (_DECODER_TOKENS, _SHARED, _ENCODER_TOKENS, _LM_HEAD)
    head: tuple[str, ...] = (_LM_HEAD, _SHARED, _DECODER_TOKENS, _ENCODER_TOKENS)
    if not shared:
        encoder, decoder, head = (
            (_ENCODER_TOKENS,),
            (_DECODER_TOKENS, _LM_HEAD),
            (_LM_HEAD, _DECODER_TOKENS),
        )
    yield "encoder.embed_tokens", Slot(encoder, (architecture.vocab_size, d_model))
    yield "decoder.embed_tokens", Slot(decoder, (architecture.decoder_vocab_size, d_model))
    yield "lm_head", Slot(head, (architecture.decoder_vocab_size, d_model))


def _t5(arch: T5Architecture) -> Slots:
    yield from _embeddings(arch, shared=True)
    for stack, layers in (("encoder", arch.encoder_layers), ("decoder", arch.decoder_layers)):
        yield f"{stack}.norm.weight", Slot((f"{stack}.final_layer_norm.weight",), (arch.d_model,))
        for n in range(layers):
            yield from _t5_layer(arch, stack, n)


def _t5_layer(arch: T5Architecture, stack: str, n: int) -> Slots:
    ours, theirs = f"{stack}.layers.{n}", f"{stack}.block.{n}.layer"
    yield from _t5_attention(arch, f"{ours}.self_attn", f"{theirs}.0", "SelfAttention")
    if n == 0 or arch.bias_in_every_layer:
        yield (
            f"{ours}.self_attn.relative_bias",
            Slot(
                (f"{theirs}.0.SelfAttention.relative_attention_bias.weight",),
                (arch.relative_buckets, arch.num_heads),
            ),
        )
    if stack == "decoder":
        yield from _t5_attention(arch, f"{ours}.cross_attn", f"{theirs}.1", "EncDecAttention")
    yield from _t5_ffn(arch, f"{ours}.ffn", f"{theirs}.{2 if stack == 'decoder' else 1}")


def _t5_attention(arch: T5Architecture, ours: str, theirs: str, kind: str) -> Slots:
    inner = arch.num_heads * arch.d_kv
    yield f"{ours}.norm.weight", Slot((f"{theirs}.layer_norm.weight",), (arch.d_model,))
    for name in "qkv":
        yield (
            f"{ours}.{name}.weight",
            Slot((f"{theirs}.{kind}.{name}.weight",), (inner, arch.d_model)),
        )
    yield f"{ours}.o.weight", Slot((f"{theirs}.{kind}.o.weight",), (arch.d_model, inner))


def _t5_ffn(arch: T5Architecture, ours: str, theirs: str) -> Slots:
    dense = f"{theirs}.DenseReluDense"
    into, out = (arch.d_ff, arch.d_model), (arch.d_model, arch.d_ff)
    yield f"{ours}.norm.weight", Slot((f"{theirs}.layer_norm.weight",), (arch.d_model,))
    if arch.gated:
        yield f"{ours}.wi.weight", Slot((f"{dense}.wi_0.weight",), into)
        yield f"{ours}.wi_gate.weight", Slot((f"{dense}.wi_1.weight",), into)
    else:
        yield f"{ours}.wi.weight", Slot((f"{dense}.wi.weight",), into)
    yield f"{ours}.wo.weight", Slot((f"{dense}.wo.weight",), out)


def _bart(arch: BartArchitecture) -> Slots:
    yield from _embeddings(arch, shared=arch.shared_vocabulary)
    yield (
        "final_logits_bias",
        Slot(("final_logits_bias",), (1, arch.decoder_vocab_size), required=False),
    )
    for stack, layers in (("encoder", arch.encoder_layers), ("decoder", arch.decoder_layers)):
        yield from _bart_ends(arch, stack)
        for n in range(layers):
            yield from _bart_layer(arch, stack, n)


def _bart_ends(arch: BartArchitecture, stack: str) -> Slots:
    learned = arch.positions is Positions.LEARNED
    if arch.positions is not Positions.SINUSOIDAL_SHIFTED:
        yield (
            f"{stack}.positions",
            Slot(
                (f"{stack}.embed_positions.weight",),
                (arch.max_positions, arch.d_model),
                skip_rows=_LEARNED_OFFSET if learned else 0,
                required=learned,
            ),
        )
    if arch.embedding_norm:
        yield from _norm(arch, f"{stack}.embed_norm", f"{stack}.layernorm_embedding")
    if arch.pre_norm:
        yield from _norm(arch, f"{stack}.norm", f"{stack}.layer_norm")


def _bart_layer(arch: BartArchitecture, stack: str, n: int) -> Slots:
    path = f"{stack}.layers.{n}"
    blocks = [("self_attn", "self_attn")]
    if stack == "decoder":
        blocks.append(("cross_attn", "encoder_attn"))
    for ours, theirs in blocks:
        for mine, name in zip("qkvo", ("q_proj", "k_proj", "v_proj", "out_proj"), strict=True):
            yield from _linear(
                f"{path}.{ours}.{mine}", f"{path}.{theirs}.{name}", arch.d_model, arch.d_model
            )
        yield from _norm(arch, f"{path}.{ours}.norm", f"{path}.{theirs}_layer_norm")
    width = arch.decoder_ffn if stack == "decoder" else arch.encoder_ffn
    yield from _linear(f"{path}.ffn.wi", f"{path}.fc1", width, arch.d_model)
    yield from _linear(f"{path}.ffn.wo", f"{path}.fc2", arch.d_model, width)
    yield from _norm(arch, f"{path}.ffn.norm", f"{path}.final_layer_norm")


def _linear(ours: str, theirs: str, outputs: int, inputs: int) -> Slots:
    yield f"{ours}.weight", Slot((f"{theirs}.weight",), (outputs, inputs))
    yield f"{ours}.bias", Slot((f"{theirs}.bias",), (outputs,))


def _norm(arch: BartArchitecture, ours: str, theirs: str) -> Slots:
    yield f"{ours}.weight", Slot((f"{theirs}.weight",), (arch.d_model,))
    yield f"{ours}.bias", Slot((f"{theirs}.bias",), (arch.d_model,))
