"""A T5 that can copy before it has learnt anything.

Small models that are trained from scratch on little text do not find out how to copy within an
affordable number of steps. So the circuit for it (an induction head; Olsson et al. 2022) is written
into the initial weights, and training has only to learn when to use it:

- Embeddings use the first `d_model - 64` dimensions; the last 64 begin empty.
- Two heads of the encoder look one position back, by their relative position bias. They write a
  random projection of the token before into the empty dimensions.
- The cross-attention of the first decoder layer asks with the same projection of the last token
  written, so it finds the places in the input where that token stood before, and its values bring
  what stands there: the token that comes next.

Everything else begins as T5 does, with small outputs so that the circuit is heard.
"""

from __future__ import annotations

import torch
from transformers import T5Config, T5ForConditionalGeneration

MARKS = 64
"""Dimensions that tell the token before."""
LOOK_BACK = 12.0
SHARPNESS = 0.5
LOUDNESS = 2.0
HUSH = 0.3


def new_model(vocabulary: int, seed: int, *, copies: bool = True) -> T5ForConditionalGeneration:
    """The model with its initial weights."""
    torch.manual_seed(seed)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=vocabulary,
            d_model=256,
            d_kv=32,
            d_ff=768,
            num_layers=5,
            num_decoder_layers=2,
            num_heads=8,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=True,
            dropout_rate=0.0,
            decoder_start_token_id=0,
            pad_token_id=0,
            eos_token_id=1,
            attn_implementation="eager",
        )
    )
    if copies:
        with torch.no_grad():
            _write_circuit(model)
    return model


def _write_circuit(model: T5ForConditionalGeneration) -> None:
    size, wide = model.config.d_model, model.config.d_kv
    names = size - MARKS
    for block in (*model.encoder.block, *model.decoder.block):
        for part in block.layer:
            inner = getattr(part, "SelfAttention", None) or getattr(part, "EncDecAttention", None)
            (inner.o if inner is not None else part.DenseReluDense.wo).weight *= HUSH
    model.shared.weight[:, names:] = 0
    projection = torch.linalg.qr(torch.randn(names, MARKS)).Q.T  # 64 × names, orthonormal rows

    back = model.encoder.block[0].layer[0].SelfAttention
    for head in range(MARKS // wide):
        rows = slice(head * wide, (head + 1) * wide)
        back.relative_attention_bias.weight[:, head] = 0
        back.relative_attention_bias.weight[1, head] = LOOK_BACK
        for matrix in (back.q, back.k, back.v):
            matrix.weight[rows] = 0
        back.v.weight[rows, :names] = projection[rows]
        back.o.weight[:, rows] = 0
        back.o.weight[names + head * wide : names + (head + 1) * wide, rows] = torch.eye(wide)

    find = model.decoder.block[0].layer[1].EncDecAttention
    for head in range(names // wide):
        rows = slice(head * wide, (head + 1) * wide)
        mark = slice((head % 2) * wide, (head % 2 + 1) * wide)
        for matrix in (find.q, find.k, find.v):
            matrix.weight[rows] = 0
        find.q.weight[rows, :names] = SHARPNESS * projection[mark]
        find.k.weight[rows, names + mark.start : names + mark.stop] = torch.eye(wide)
        find.v.weight[rows, rows] = torch.eye(wide)
        find.o.weight[:, rows] = 0
        find.o.weight[rows, rows] = LOUDNESS * torch.eye(wide)


def copying(model: T5ForConditionalGeneration, *, length: int = 40, rows: int = 64) -> float:
    """How many tokens of random sequences are copied right, given those before."""
    source = torch.randint(300, model.config.vocab_size, (rows, length))
    with torch.no_grad():
        logits = model(input_ids=source, labels=source).logits
    return float((logits[:, 1:].argmax(-1) == source[:, 1:]).float().mean())


if __name__ == "__main__":
    print("copied at the start:", copying(new_model(8192, 0).eval()))
    print("without the circuit:", copying(new_model(8192, 0, copies=False).eval()))
