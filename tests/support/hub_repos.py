"""Tiny repositories for the loopback hub."""

from __future__ import annotations

import random


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def t5_files(weights: bytes | None = None) -> dict[str, bytes]:
    """What a T5 repository holds on a real hub, other frameworks' and scripts included."""
    return {
        ".gitattributes": b"*.bin filter=lfs\n",
        "README.md": b"# A model\n",
        "config.json": b'{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}',
        "generation_config.json": b'{"max_new_tokens": 20}',
        "tokenizer.json": b'{"version": "1.0"}',
        "tokenizer_config.json": b"{}",
        "special_tokens_map.json": b"{}",
        "spiece.model": noise(5_000, 1),
        "model.safetensors": noise(50_000) if weights is None else weights,
        "pytorch_model.bin": noise(60_000, 2),
        "tf_model.h5": noise(7_000, 3),
        "flax_model.msgpack": noise(7_000, 4),
        "modeling_t5.py": b"raise SystemExit('ran')\n",
        "training_args.bin": noise(100, 5),
        "onnx/model.onnx": noise(100, 6),
    }


T5_FETCHED = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "spiece.model",
    "model.safetensors",
}
