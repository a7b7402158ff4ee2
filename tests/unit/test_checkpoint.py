"""Opening model folders: what is in them, and what is refused and why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from support.tiny_models import MODEL_TYPES, tiny_model
from textmill.engines.checkpoint import BartArchitecture, T5Architecture, open_checkpoint
from textmill.engines.checkpoint.layout import layout
from textmill.errors import CorruptModel, ModelNotFound, UnsafeModel, UnsupportedModel
from textmill.params.foreign import REFUSED
from textmill.params.schema import PARAMETERS

DEMO = Path(__file__).parents[2] / "src" / "textmill" / "assets" / "demo" / "model"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A T5 v1.0 folder of one's own, to damage."""
    return shutil.copytree(tiny_model("t5"), tmp_path / "model")


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))


def shard(folder: Path, names: dict[str, str] | None = None) -> dict[str, str]:
    """Split the folder's weights over two files, with an index; return its weight_map."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    keys = sorted(tensors)
    parts = {
        "model-00001-of-00002.safetensors": keys[::2],
        "model-00002-of-00002.safetensors": keys[1::2],
    }
    for name, part in parts.items():
        save_file({k: tensors[k] for k in part}, folder / name)
    weight_map = {k: name for name, part in parts.items() for k in part} | (names or {})
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return weight_map


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_array_is_the_tensor_that_transformers_loads(model_type: str) -> None:
    """Arrays, moved to transformers' names, equal the state_dict of the loaded model."""
    from transformers import AutoModelForSeq2SeqLM

    folder = tiny_model(model_type)
    state = AutoModelForSeq2SeqLM.from_pretrained(folder).state_dict()
    theirs = {k.removeprefix("model."): v.numpy() for k, v in state.items()}
    checkpoint = open_checkpoint(folder)
    used = set()
    for name, slot in layout(checkpoint.architecture).items():
        if not slot.required and name not in checkpoint.arrays:
            continue
        source = next(s for s in slot.sources if s in theirs)
        expected = theirs[source][slot.skip_rows :].reshape(checkpoint.arrays[name].shape)
        np.testing.assert_array_equal(checkpoint.arrays[name], expected, err_msg=name)
        assert checkpoint.arrays[name].dtype == np.float32
        used.add(source)
    assert set(theirs) - used <= {"shared.weight"}, "the layout leaves tensors out"


def test_m2m_positions_are_those_of_transformers() -> None:
    """The shifted sinusoidal table is not in any file; it equals transformers' buffer."""
    from transformers import AutoModelForSeq2SeqLM

    model = AutoModelForSeq2SeqLM.from_pretrained(tiny_model("m2m_100"))
    buffer = model.get_encoder().embed_positions.weights.numpy()
    checkpoint = open_checkpoint(tiny_model("m2m_100"))
    arch = checkpoint.architecture
    assert isinstance(arch, BartArchitecture)
    table = buffer[arch.pad_token_id + 1 :][: arch.max_positions]
    np.testing.assert_allclose(checkpoint.arrays["encoder.positions"], table, atol=2e-5)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_generation_defaults_are_those_that_transformers_reads(
    model_type: str, tmp_path: Path
) -> None:
    """With generation_config.json, and without it, when config.json's keys count."""
    from transformers import AutoModelForSeq2SeqLM

    folder = shutil.copytree(tiny_model(model_type), tmp_path / "model")
    edit_config(
        folder, num_beams=3, no_repeat_ngram_size=2, task_specific_params={"x": {"num_beams": 9}}
    )
    for keep in (True, False):
        if not keep:
            (folder / "generation_config.json").unlink()
        theirs = AutoModelForSeq2SeqLM.from_pretrained(folder).generation_config.to_dict()
        ours = open_checkpoint(folder).generation_defaults
        assert said(theirs) == said(ours)


def said(defaults: dict[str, Any]) -> dict[str, Any]:
    """What decides something: no bookkeeping, nothing that is switched off."""
    decide = {row.name for row in PARAMETERS} | REFUSED.keys()
    return {k: v for k, v in defaults.items() if k in decide and v not in (None, False)}


def test_demo_model_is_described_with_digests() -> None:
    """bfloat16 weights, tied embeddings and all files are seen."""
    checkpoint = open_checkpoint(DEMO)
    assert isinstance(checkpoint.architecture, T5Architecture)
    assert checkpoint.architecture.gated
    assert checkpoint.architecture.output_scale == 256**-0.5
    assert checkpoint.max_input_tokens is None
    assert checkpoint.generation_defaults["max_new_tokens"] == 32
    assert checkpoint.arrays.origin("lm_head") == checkpoint.arrays.origin("encoder.embed_tokens")
    assert {f.name for f in checkpoint.files} == {p.name for p in DEMO.iterdir()}
    assert all(len(f.sha256) == 64 for f in checkpoint.files)


@pytest.mark.parametrize(
    ("model_type", "config", "scale"),
    [
        ("t5", {}, 48**-0.5),
        ("t5", {"tie_word_embeddings": True, "scale_decoder_outputs": False}, 1.0),
        ("t5", {"tie_word_embeddings": False, "scale_decoder_outputs": ...}, 1.0),
        ("t5", {"tie_word_embeddings": ..., "scale_decoder_outputs": ...}, 48**-0.5),
        ("mt5", {"tie_word_embeddings": True}, 1.0),
        ("umt5", {"tie_word_embeddings": True}, 48**-0.5),
        ("umt5", {"tie_word_embeddings": False}, 1.0),
    ],
)
def test_output_scale_follows_the_configuration(
    model_type: str, config: dict[str, Any], scale: float, tmp_path: Path
) -> None:
    """T5 v1.0 scales, v1.1 does not, however the file says it; mT5 never does."""
    folder = shutil.copytree(tiny_model(model_type), tmp_path / "model")
    edit_config(folder, **config)
    architecture = open_checkpoint(folder).architecture
    assert isinstance(architecture, T5Architecture)
    assert architecture.output_scale == pytest.approx(scale)


@pytest.mark.parametrize("model_type", ["bart", "mbart", "pegasus", "marian", "m2m_100"])
def test_tables_of_positions_limit_the_input(model_type: str) -> None:
    assert open_checkpoint(tiny_model(model_type)).max_input_tokens == 64


def test_shards_are_one_model(folder: Path) -> None:
    """A sharded folder has the same arrays as a single file, and its index among its files."""
    whole = {k: v.copy() for k, v in open_checkpoint(folder).arrays.items()}
    shard(folder)
    checkpoint = open_checkpoint(folder)
    assert set(checkpoint.arrays) == set(whole)
    for name, array in checkpoint.arrays.items():
        np.testing.assert_array_equal(array, whole[name])
    assert "model.safetensors.index.json" in {f.name for f in checkpoint.files}


@pytest.mark.parametrize("prefix", ["", "model."])
def test_key_prefix_does_not_matter(prefix: str, tmp_path: Path) -> None:
    """BART files name tensors with or without "model."."""
    folder = shutil.copytree(tiny_model("bart"), tmp_path / "model")
    path = folder / "model.safetensors"
    tensors = {k.removeprefix("model."): v for k, v in load_file(path).items()}
    save_file({prefix + k: v for k, v in tensors.items()}, path)
    expected = open_checkpoint(tiny_model("bart")).arrays
    for name, array in open_checkpoint(folder).arrays.items():
        np.testing.assert_array_equal(array, expected[name])


def test_missing_shared_embedding_is_taken_from_the_decoder(folder: Path) -> None:
    """MADLAD stores the decoder's embedding and lm_head only; the encoder's is the decoder's."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["decoder.embed_tokens.weight"] = tensors.pop("shared.weight")
    tensors["lm_head.weight"] = tensors["decoder.embed_tokens.weight"] * 2
    save_file(tensors, path)
    arrays = open_checkpoint(folder).arrays
    assert arrays.origin("encoder.embed_tokens") == "decoder.embed_tokens.weight"
    assert arrays.origin("lm_head") == "lm_head.weight"


def test_equal_embeddings_are_tied_and_different_ones_are_not(folder: Path) -> None:
    """Files that hold tied tensors twice give one origin."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"lm_head.weight": tensors["shared.weight"].copy()}, path)
    arrays = open_checkpoint(folder).arrays
    assert arrays.origin("lm_head") == arrays.origin("encoder.embed_tokens")
    save_file(tensors | {"lm_head.weight": tensors["shared.weight"] + 1}, path)
    arrays = open_checkpoint(folder).arrays
    assert arrays.origin("lm_head") != arrays.origin("encoder.embed_tokens")


def test_digest_changes_with_the_weights_and_not_with_the_tokenizer(folder: Path) -> None:
    before = open_checkpoint(folder).weights_digest
    (folder / "tokenizer.json").write_text("{}")
    assert open_checkpoint(folder).weights_digest == before
    edit_config(folder, layer_norm_epsilon=1e-5)
    assert open_checkpoint(folder).weights_digest != before


@pytest.mark.parametrize("sharded", [False, True])
def test_torch_files_hold_the_same_arrays(folder: Path, sharded: bool) -> None:
    """pytorch_model.bin, whole or sharded, is read like safetensors, which are preferred."""
    import torch

    expected = {k: v.copy() for k, v in open_checkpoint(folder).arrays.items()}
    tensors = {k: torch.from_numpy(v) for k, v in load_file(folder / "model.safetensors").items()}
    assert "pytorch_model.bin" not in {f.name for f in open_checkpoint(folder).files}
    (folder / "model.safetensors").unlink()
    tensors["lm_head.weight"] = tensors["shared.weight"]
    if sharded:
        names = {k: f"pytorch_model-0000{1 + n % 2}.bin" for n, k in enumerate(sorted(tensors))}
        for part in set(names.values()):
            torch.save({k: v for k, v in tensors.items() if names[k] == part}, folder / part)
        index = folder / "pytorch_model.bin.index.json"
        index.write_text(json.dumps({"weight_map": names}))
    else:
        torch.save(tensors, folder / "pytorch_model.bin")
    arrays = open_checkpoint(folder).arrays
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name])
    assert arrays.origin("lm_head") == arrays.origin("encoder.embed_tokens")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="nothing-here"):
        open_checkpoint(tmp_path / "nothing-here")


def test_no_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(CorruptModel, match=r"config\.json"):
        open_checkpoint(folder)


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000])
def test_config_that_is_not_an_object(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(CorruptModel, match=r"config\.json"):
        open_checkpoint(folder)


@pytest.mark.parametrize("model_type", ["longt5", "llama", None, 3])
def test_unknown_type_lists_the_known_ones(folder: Path, model_type: object) -> None:
    edit_config(folder, model_type=model_type)
    with pytest.raises(UnsupportedModel) as error:
        open_checkpoint(folder)
    assert "m2m_100" in str(error.value)


def test_model_code_is_refused(folder: Path) -> None:
    edit_config(folder, auto_map={"AutoModel": "x.Y"})
    with pytest.raises(UnsafeModel, match="auto_map"):
        open_checkpoint(folder)


def test_quantized_weights_are_refused(folder: Path) -> None:
    edit_config(folder, quantization_config={"quant_method": "gptq"})
    with pytest.raises(UnsupportedModel, match="quantized"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("d_model", ...),
        ("d_model", 0),
        ("num_heads", "8"),
        ("num_layers", True),
        ("pad_token_id", -1),
        ("eos_token_id", [1, "a"]),
        ("feed_forward_proj", 3),
        ("layer_norm_epsilon", float("nan")),
    ],
)
def test_impossible_configuration_names_the_key(folder: Path, key: str, value: object) -> None:
    edit_config(folder, **{key: value})
    with pytest.raises(CorruptModel, match=key):
        open_checkpoint(folder)


def test_missing_tensor_is_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["encoder.block.1.layer.0.SelfAttention.q.weight"]
    save_file(tensors, path)
    with pytest.raises(
        CorruptModel, match=r"encoder\.block\.1\.layer\.0\.SelfAttention\.q\.weight"
    ):
        open_checkpoint(folder)


def test_wrong_shape_is_named(folder: Path) -> None:
    edit_config(folder, d_ff=65)
    with pytest.raises(CorruptModel, match=r"DenseReluDense.*\[64, 48\].*\[65, 48\]"):
        open_checkpoint(folder)


def test_wrong_type_is_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = "encoder.final_layer_norm.weight"
    save_file(tensors | {name: tensors[name].astype(np.int32)}, path)
    checkpoint = open_checkpoint(folder)
    with pytest.raises(CorruptModel, match=rf"{name} has type I32"):
        checkpoint.arrays["encoder.norm.weight"]


def test_truncated_file_names_file_and_tensor(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptModel, match=r"model\.safetensors: tensor .* ends at byte"):
        open_checkpoint(folder)


def test_lfs_pointer_is_not_a_model(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.example/spec/v1\noid x\n")
    with pytest.raises(CorruptModel, match="not a safetensors file"):
        open_checkpoint(folder)


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "a/b", "..", "", "C:x", 7])
def test_index_that_points_outside_is_refused(folder: Path, name: str) -> None:
    shard(folder, {"shared.weight": name})
    with pytest.raises(CorruptModel, match=r"shared\.weight.*outside"):
        open_checkpoint(folder)


def test_missing_shard_is_named(folder: Path) -> None:
    shard(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CorruptModel, match="model-00002-of-00002"):
        open_checkpoint(folder)


def test_tensor_that_is_not_in_its_shard_is_named(folder: Path) -> None:
    weight_map = shard(folder)
    other = next(s for s in weight_map.values() if s != weight_map["shared.weight"])
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map | {"shared.weight": other}}))
    with pytest.raises(CorruptModel, match=r"lacks tensor shared\.weight"):
        open_checkpoint(folder)


def test_no_weights_says_what_to_do(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "tf_model.h5")
    with pytest.raises(CorruptModel, match=r"tf_model\.h5") as error:
        open_checkpoint(folder)
    assert "save_pretrained" in str(error.value)


def test_weights_that_are_code_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.ckpt")
    with pytest.raises(UnsafeModel, match=r"model\.ckpt"):
        open_checkpoint(folder)
