"""Which files of any repository are fetched."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from textmill.catalog.selection import choose_files
from textmill.errors import UnsafeModel, UnsupportedModel

USUAL = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "spiece.model",
    "source.spm",
    "vocab.json",
    "merges.txt",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "pytorch_model-00001-of-00002.bin",
    "pytorch_model-00002-of-00002.bin",
    "model.fp16.safetensors",
    "tf_model.h5",
    "flax_model.msgpack",
    "modeling_x.py",
    "tokenizer.py",
    "optimizer.pt",
    "scheduler.pkl",
    "onnx/model.onnx",
    "sub/model.safetensors",
    "../spiece.model",
    "/etc/x.model",
    ".env",
]
names = st.sets(st.sampled_from(USUAL) | st.text(max_size=20))


@given(names)
def test_only_flat_data_files_of_one_set_of_weights_are_chosen(present: set[str]) -> None:
    """Whatever a repository holds: no path, no script, no second framework, no second copy."""
    try:
        chosen = choose_files("o/n", present)
    except (UnsafeModel, UnsupportedModel):
        readable = {"model.safetensors", "model.safetensors.index.json"}
        readable |= {"pytorch_model.bin", "pytorch_model.bin.index.json"}
        assert "config.json" not in present or not present & readable
        return
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= present
    assert chosen[0] == "config.json"
    assert all(
        re.fullmatch(r"[\w-][\w.-]*\.(json|txt|model|spm|safetensors|bin)", n) for n in chosen
    )
    weights = [n for n in chosen if n.endswith((".safetensors", ".bin"))]
    assert len({n.rsplit(".", 1)[1] for n in weights}) <= 1
    assert not {"model.safetensors", "model.safetensors.index.json"} <= set(chosen)


@given(names)
def test_a_better_set_of_weights_is_never_passed_over(present: set[str]) -> None:
    chosen = set(choose_files("o/n", present | {"config.json", "model.safetensors"}))
    assert {n for n in chosen if n.endswith((".safetensors", ".bin"))} == {"model.safetensors"}
    sharded = present - {"model.safetensors"} | {"config.json", "model.safetensors.index.json"}
    shards = {n for n in sharded if re.fullmatch(r"model-\d{5}-of-\d{5}\.safetensors", n)}
    chosen = set(choose_files("o/n", sharded))
    assert {n for n in chosen if n.endswith((".safetensors", ".bin"))} == shards
