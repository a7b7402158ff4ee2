"""Our safetensors reader against the library that defines the format, and against damage."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.torch import save

from textmill.engines.checkpoint.safetensors import SafetensorsFile
from textmill.errors import CorruptModel

shapes = st.lists(st.integers(0, 5), max_size=3).map(tuple)
tensors = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda s: s != "__metadata__" and s.isprintable()),
    shapes.flatmap(lambda s: arrays(np.float32, s, elements=st.floats(width=32, allow_nan=False))),
    min_size=1,
    max_size=4,
)
dtypes = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64])


@pytest.fixture(scope="module")
def path() -> Path:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "m.safetensors"


@given(tensors=tensors, dtype=dtypes)
def test_reads_what_the_library_writes(path: Path, tensors: dict, dtype: torch.dtype) -> None:
    """Values of every stored type come back as torch converts them to float32, bit for bit."""
    stored = {k: torch.from_numpy(v.copy()).to(dtype) for k, v in tensors.items()}
    path.write_bytes(save(stored))
    file = SafetensorsFile(path)
    assert set(file) == set(tensors)
    for name, tensor in stored.items():
        assert file.shape(name) == tuple(tensor.shape)
        np.testing.assert_array_equal(file.read(name), tensor.to(torch.float32).numpy())


@given(data=st.data())
def test_damage_is_corrupt_model_or_nothing(path: Path, data: st.DataObject) -> None:
    """Whatever is done to a file, opening and reading it raise CorruptModel or succeed."""
    good = save({"a": torch.ones(3, 2), "b": torch.zeros(4, dtype=torch.bfloat16)})
    length = struct.unpack("<Q", good[:8])[0]
    bad = bytearray(good[: data.draw(st.integers(0, len(good)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if bad:
            where = data.draw(st.integers(0, min(len(bad), 8 + length) - 1))
            bad[where] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(bad))
    try:
        file = SafetensorsFile(path)
        for name in file:
            file.read(name)
    except CorruptModel:
        pass
