"""`pytorch_model.bin` read without torch equals what torch reads, bit for bit."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from support import torchfiles
from support.torchfiles import assert_same, save
from textmill.engines.checkpoint.torchfile import open_torch_file
from textmill.errors import CorruptModel, ModelError, UnsafeModel, UnsupportedModel

FORMATS = pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
INTEGERS = [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
SPECIAL = [0.0, -0.0, float("inf"), float("-inf"), float("nan"), 1e-7, 6e-8, 1e-45, 65504.0, 1 / 3]


def reference(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True, map_location="cpu")


@FORMATS
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_floats_become_float32_as_torch_converts_them(
    tmp_path: Path, dtype: torch.dtype, legacy: bool
) -> None:
    values = torch.cat([torch.tensor(SPECIAL, dtype=torch.float64), torch.randn(501).double()])
    path = save(
        {"a": values.to(dtype), "b": torch.randn(3, 5, 7).to(dtype)}, tmp_path / "m", legacy=legacy
    )
    assert_same(path, reference(path))


@FORMATS
@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_stay_as_they_are(tmp_path: Path, dtype: torch.dtype, legacy: bool) -> None:
    values = torch.tensor([0, 1, 2, 127, -1, -128]).to(dtype)
    path = save({"a": values, "b": values.reshape(2, 3).T}, tmp_path / "m", legacy=legacy)
    assert_same(path, reference(path))


def test_dtype_names_are_those_of_safetensors(tmp_path: Path) -> None:
    words = ["F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"]
    tensors = {
        word: torch.ones(2, dtype=d) for word, d in zip(words, FLOATS + INTEGERS, strict=True)
    }
    with open_torch_file(save(tensors, tmp_path / "m")) as file:
        assert {name: file.dtype(name) for name in file} == {word: word for word in words}


@FORMATS
def test_views_of_one_storage(tmp_path: Path, legacy: bool) -> None:
    """Tied weights, transposed, sliced, stepped and repeated views, at offsets."""
    base = torch.randn(12, 10)
    tensors = {
        "whole": base,
        "tied": base,
        "transposed": base.T,
        "rows": base[3:7],
        "columns": base[:, 2:5],
        "steps": base[1::3, ::4],
        "permuted": base.reshape(3, 4, 10).permute(2, 0, 1),
        "one": base[5, 5],
        "repeated": base[0].expand(7, 10),
        "odd stride of a single row": base.as_strided((1, 10), (2**40, 1)),
    }
    path = save(tensors, tmp_path / "m", legacy=legacy)
    assert_same(path, reference(path))


@FORMATS
def test_scalars_and_empty_tensors(tmp_path: Path, legacy: bool) -> None:
    tensors = {
        "scalar": torch.tensor(2.5),
        "half": torch.tensor(2.5, dtype=torch.bfloat16),
        "count": torch.tensor(7),
        "empty": torch.empty(0),
        "flat": torch.empty(3, 0, 4),
        "no columns": torch.randn(4, 4)[:, :0],
    }
    path = save(tensors, tmp_path / "m", legacy=legacy)
    assert_same(path, reference(path))


@FORMATS
def test_parameters_and_the_metadata_of_a_module(tmp_path: Path, legacy: bool) -> None:
    """state_dict() is an OrderedDict with an attribute; parameters() keeps Parameters."""
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    path = save(module.state_dict(), tmp_path / "s", legacy=legacy)
    assert_same(path, reference(path))
    assert reference(path)._metadata  # the attribute was there to be read
    path = save(OrderedDict(module.named_parameters()), tmp_path / "p", legacy=legacy)
    assert_same(path, reference(path))


@FORMATS
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol_that_torch_save_takes(
    tmp_path: Path, protocol: int, legacy: bool
) -> None:
    wanted = torch.nn.Linear(300, 3).state_dict()
    assert_same(save(wanted, tmp_path / "m", legacy=legacy, protocol=protocol), wanted)


@FORMATS
def test_more_tensors_than_one_pickle_batch(tmp_path: Path, legacy: bool) -> None:
    tensors = {f"layer.{n}.weight": torch.full((n % 3, 2), float(n)) for n in range(2345)}
    path = save(tensors, tmp_path / "m", legacy=legacy)
    assert_same(path, reference(path))


@FORMATS
@pytest.mark.parametrize("family", ["marian", "pegasus", "m2m100"])
def test_state_dicts_of_models(tmp_path: Path, family: str, legacy: bool) -> None:
    import transformers as hf

    sizes = {
        "vocab_size": 50, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 8,
        "decoder_ffn_dim": 8, "max_position_embeddings": 20, "pad_token_id": 1,
        "decoder_start_token_id": 2,
    }  # fmt: skip
    model = {
        "marian": lambda: hf.MarianMTModel(hf.MarianConfig(**sizes)),
        "pegasus": lambda: hf.PegasusForConditionalGeneration(hf.PegasusConfig(**sizes)),
        "m2m100": lambda: hf.M2M100ForConditionalGeneration(hf.M2M100Config(**sizes)),
    }[family]()
    path = save(model.half().state_dict(), tmp_path / "pytorch_model.bin", legacy=legacy)
    assert_same(path, reference(path))


@FORMATS
def test_one_dict_of_tensors_among_other_entries(tmp_path: Path, legacy: bool) -> None:
    wanted = torch.nn.Linear(2, 3).state_dict()
    other = {"state": {0: {"step": torch.tensor(3.0)}}, "lr": 0.1, "betas": (0.9, 0.99)}
    nested = {"epoch": 3, "state_dict": wanted, "optimizer": other, "names": ["a", None, True]}
    assert_same(save(nested, tmp_path / "m", legacy=legacy), wanted)


@FORMATS
@pytest.mark.parametrize(
    "value",
    [
        {"model": {"w": torch.ones(1)}, "ema": {"w": torch.ones(1)}},
        {"w": torch.ones(1), "state_dict": {"v": torch.ones(1)}},
        {"w": torch.ones(1), "step": 3},
        {"a": {"b": {"w": torch.ones(1)}}},
        {3: torch.ones(1)},
        {},
        [torch.ones(1)],
        torch.ones(1),
    ],
    ids=[
        "two dicts",
        "loose tensor",
        "loose number",
        "two levels",
        "numbers",
        "empty",
        "list",
        "tensor",
    ],
)
def test_anything_else_than_one_dict_of_tensors_is_refused(
    tmp_path: Path, value: object, legacy: bool
) -> None:
    path = save(value, tmp_path / "m.bin", legacy=legacy)
    with pytest.raises(UnsupportedModel, match=r"m\.bin"):
        open_torch_file(path)


def test_ambiguity_names_the_keys(tmp_path: Path) -> None:
    path = save({"model": {"w": torch.ones(1)}, "ema": {"w": torch.ones(1)}}, tmp_path / "m")
    with pytest.raises(UnsupportedModel, match='"model", "ema"') as error:
        open_torch_file(path)
    assert "state_dict()" in str(error.value)


@pytest.mark.parametrize(
    "value",
    [
        torch.ones(2, dtype=torch.uint16),
        torch.ones(2, dtype=torch.cfloat),
        torch.ones(2).to_sparse(),
    ],
    ids=["uint16", "complex", "sparse"],
)
def test_tensors_that_are_not_plain_are_refused_with_the_way_out(
    tmp_path: Path, value: torch.Tensor
) -> None:
    path = save({"w": value}, tmp_path / "m.bin")
    with pytest.raises(UnsafeModel, match=r"m\.bin: it asks for .torch\.") as error:
        open_torch_file(path)
    assert "safetensors" in str(error.value)


def test_a_negative_view_is_refused(tmp_path: Path) -> None:
    """Its numbers are the negative of what is stored; reading them plainly would be wrong."""
    value = torch.randn(3, dtype=torch.cfloat).conj().imag
    assert value.is_neg()
    with pytest.raises(UnsafeModel, match="unknown properties"):
        open_torch_file(save({"w": value}, tmp_path / "m"))


def test_torchscript_is_refused(tmp_path: Path) -> None:
    path = save({"w": torch.ones(1)}, tmp_path / "m.bin")
    raw = torchfiles.pickle_of(path.read_bytes())
    torchfiles.write_zip(path, raw, {"0": bytes(4)}, **{"constants.pkl": b"\x80\x02)."})
    with pytest.raises(UnsafeModel, match="TorchScript"):
        open_torch_file(path)


def test_checksums_that_torch_was_told_to_leave_out(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        path = save({"w": torch.randn(30)}, tmp_path / "m")
    finally:
        torch.serialization.set_crc32_options(before)
    assert_same(path, reference(path))


def test_arrays_outlive_the_file_and_belong_to_the_caller(tmp_path: Path) -> None:
    path = save({"w": torch.arange(4.0), "n": torch.arange(4)}, tmp_path / "m")
    with open_torch_file(path) as file:
        first, again, numbers = file.load("w"), file.load("w"), file.load("n")
    file.close()
    first[:] = 0
    numbers += 1
    assert again.tolist() == [0, 1, 2, 3]
    assert numbers.tolist() == [1, 2, 3, 4]


def test_unknown_names_are_key_errors(tmp_path: Path) -> None:
    with open_torch_file(save({"w": torch.ones(1)}, tmp_path / "m")) as file:
        assert "w" in file
        assert "v" not in file
        assert len(file) == 1
        with pytest.raises(KeyError):
            file.load("v")


# Damage


@FORMATS
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, legacy: bool) -> None:
    whole = save(
        {"w": torch.randn(5), "v": torch.ones(2, 3)}, tmp_path / "m", legacy=legacy
    ).read_bytes()
    cut = tmp_path / "cut.bin"
    for size in {*range(0, len(whole), 3), *range(len(whole) - 120, len(whole))}:
        cut.write_bytes(whole[:size])
        with pytest.raises(CorruptModel, match=r"cut\.bin"):
            open_torch_file(cut)


@FORMATS
def test_a_file_with_bytes_behind_it_is_refused(tmp_path: Path, legacy: bool) -> None:
    path = save({"w": torch.randn(5)}, tmp_path / "m", legacy=legacy)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CorruptModel):
        open_torch_file(path)


def test_a_flipped_bit_of_a_weight_is_found_when_it_is_loaded(tmp_path: Path) -> None:
    path = save({"w": torch.full((100,), 1.5)}, tmp_path / "m.bin")
    raw = bytearray(path.read_bytes())
    raw[raw.index(np.float32(1.5).tobytes() * 3) + 2] ^= 1
    path.write_bytes(raw)
    with open_torch_file(path) as file, pytest.raises(CorruptModel, match=r"m\.bin.*checksum"):
        file.load("w")


def test_a_file_that_shrinks_while_open_is_an_error_not_a_crash(tmp_path: Path) -> None:
    path = save({"w": torch.ones(100_000)}, tmp_path / "m.bin")
    with open_torch_file(path) as file:
        os.truncate(path, 1000)
        with pytest.raises(CorruptModel, match="changed while"):
            file.load("w")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.example/spec/v1\noid sha256:00\nsize 3\n", "Git LFS pointer"),
        (b"<html>Not found</html>", "neither a zip file nor a pickle"),
        (b"PK\x03\x04" + bytes(100), "end of the zip file is missing"),
        (b"\x80", "cut off"),
        (b"\x80\x02}.", "not one that torch.save wrote"),
    ],
)
def test_what_is_not_a_torch_file(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"model\.bin: .*{message}"):
        open_torch_file(path)


def test_what_is_not_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "missing", tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(CorruptModel):
            open_torch_file(path)


# Files that lie


FOUR = torchfiles.storage("0", 4)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (torchfiles.tensor(torchfiles.storage("0", 2**31 + 5), [2], [1]), "another size"),
        (torchfiles.tensor(torchfiles.storage("0", 2**63 - 1), [2**40], [1]), "another size"),
        (torchfiles.tensor(torchfiles.storage("0", 2**63), [1], [1]), "impossible key or size"),
        (torchfiles.tensor(torchfiles.storage("0", -4), [1], [1]), "impossible key or size"),
        (torchfiles.tensor(torchfiles.storage("0", 3), [1], [1]), "another size"),
        (torchfiles.tensor(torchfiles.storage("0", 4, "LongStorage"), [1], [1]), "another size"),
        (torchfiles.tensor(torchfiles.storage("1", 4), [1], [1]), "missing"),
        (torchfiles.tensor(torchfiles.storage("../0", 4), [1], [1]), "missing"),
        (torchfiles.tensor(FOUR, [5], [1]), "does not fit"),
        (torchfiles.tensor(FOUR, [2, 2], [3, 1]), "does not fit"),
        (torchfiles.tensor(FOUR, [1], [1], offset=4), "does not fit"),
        (torchfiles.tensor(FOUR, [2**62], [0]), "does not fit"),
        (torchfiles.tensor(FOUR, [2**40, 2**40], [0, 0]), "does not fit"),
        (torchfiles.tensor(FOUR, [0, 2**62], [1, 1]), "does not fit"),
        (torchfiles.tensor(FOUR, [2], [2**62]), "does not fit"),
        (torchfiles.tensor(FOUR, [1], [1], offset=-1), "impossible offset"),
        (torchfiles.tensor(FOUR, [-1], [1]), "impossible shape"),
        (torchfiles.tensor(FOUR, [2], [-1]), "impossible strides"),
        (torchfiles.tensor(FOUR, [2**1000], [1]), "impossible shape"),
        (torchfiles.tensor(FOUR, [2], [1, 1]), "impossible strides"),
        (torchfiles.tensor(FOUR, [1] * 33, [1] * 33), "impossible shape"),
        (torchfiles.tensor(b"N", [1], [1]), "without a storage"),
    ],
)
@FORMATS
def test_sizes_that_lie_are_refused(
    tmp_path: Path, entry: bytes, message: str, legacy: bool
) -> None:
    path = tmp_path / "m.bin"
    if legacy:
        tail = (4).to_bytes(8, "little") + bytes(16)
        torchfiles.write_legacy(path, torchfiles.table(w=entry), ["0"], tail)
    else:
        torchfiles.write_zip(path, torchfiles.pickled(torchfiles.table(w=entry)), {"0": bytes(16)})
    with pytest.raises(CorruptModel, match=r"m\.bin") as error:
        open_torch_file(path)
    assert legacy or message in str(error.value)


def test_hand_made_files_are_read_when_they_tell_the_truth(tmp_path: Path) -> None:
    """The files that lie differ from these in one number."""
    body = torchfiles.table(w=torchfiles.tensor(FOUR, [2, 2], [1, 2]))
    data = np.arange(4, dtype="<f4").tobytes()
    one = torchfiles.write_zip(tmp_path / "z", torchfiles.pickled(body), {"0": data})
    two = torchfiles.write_legacy(tmp_path / "l", body, ["0"], (4).to_bytes(8, "little") + data)
    for path in (one, two):
        with open_torch_file(path) as file:
            assert file.load("w").tolist() == [[0, 2], [1, 3]]
        assert_same(path, reference(path))


@pytest.mark.parametrize(
    ("keys", "tail"),
    [
        ([], b""),
        (["0", "0"], 2 * ((4).to_bytes(8, "little") + bytes(16))),
        (["1"], (4).to_bytes(8, "little") + bytes(16)),
        (["0"], (5).to_bytes(8, "little") + bytes(16)),
        (["0"], (2**63).to_bytes(8, "little") + bytes(16)),
        (["0"], (3).to_bytes(8, "little") + bytes(12)),
        (["0"], (3).to_bytes(8, "little") + bytes(16)),
    ],
)
def test_old_files_whose_storages_disagree(tmp_path: Path, keys: list[str], tail: bytes) -> None:
    body = torchfiles.table(w=torchfiles.tensor(FOUR, [2], [1]))
    path = torchfiles.write_legacy(tmp_path / "m.bin", body, keys, tail)
    with pytest.raises(CorruptModel, match=r"m\.bin"):
        open_torch_file(path)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({"byteorder": b"big"}, 'byte order "big"'),
        ({"version": b"99\n"}, 'version "99"'),
        ({"version": b"\xb2"}, "version"),
        ({"version": b"9" * 100_000}, "version"),
    ],
)
def test_other_byte_orders_and_versions_are_refused(
    tmp_path: Path, records: dict[str, bytes], message: str
) -> None:
    body = torchfiles.pickled(torchfiles.table(w=torchfiles.tensor(FOUR, [2], [1])))
    path = torchfiles.write_zip(tmp_path / "m.bin", body, {"0": bytes(16)}, **records)
    with pytest.raises(UnsupportedModel, match=message):
        open_torch_file(path)


def test_an_old_file_of_a_big_endian_machine_is_refused(tmp_path: Path) -> None:
    path = save({"w": torch.ones(1)}, tmp_path / "m.bin", legacy=True)
    raw = path.read_bytes()
    at = raw.index(b"little_endian") + len(b"little_endian") + 2
    assert raw[at] == 0x88
    path.write_bytes(raw[:at] + b"\x89" + raw[at + 1 :])
    with pytest.raises(UnsupportedModel, match="little-endian"):
        open_torch_file(path)
