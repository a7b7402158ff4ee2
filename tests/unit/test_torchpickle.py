"""The pickle of a torch file is data: whatever asks to be run is refused, cheaply."""

from __future__ import annotations

import re
import tracemalloc
from pathlib import Path

import pytest

from support import hostile, torchfiles
from support.torchfiles import integer, pickled, tensor, text
from textmill.engines.checkpoint.torchfile import open_torch_file
from textmill.engines.checkpoint.torchpickle import interpret
from textmill.engines.checkpoint.torchvalues import Source
from textmill.errors import CorruptModel, ModelError, UnsafeModel

HOSTILE = hostile.python_pickles("/nonexistent/mark") | hostile.opcode_pickles("/nonexistent/mark")
BOMBS = hostile.bombs()


def read(pickle: bytes) -> object:
    source = Source(Path("model.bin"), pickle)
    return interpret(source, 0, len(pickle), storage_fields=5).value


@pytest.mark.parametrize("name", HOSTILE)
def test_pickles_that_run_something_are_refused(tmp_path: Path, name: str) -> None:
    path = torchfiles.write_zip(tmp_path / "model.bin", HOSTILE[name], {"0": bytes(16)})
    with pytest.raises(UnsafeModel, match=r"model\.bin"):
        open_torch_file(path)


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("os.system, protocol 2", "posix.system"),
        ("os.system, protocol 4", "posix.system"),
        ("eval, protocol 3", "builtins.eval"),
        ("as metadata, protocol 2", "posix.system"),
        ("GLOBAL REDUCE", "os.system"),
        ("STACK_GLOBAL REDUCE", "os.system"),
        ("INST", "opcode STRING"),
        ("OBJ", "os.system"),
        ("NEWOBJ of an allowed name", "opcode NEWOBJ"),
        ("EXT1", "opcode EXT1"),
        ("PERSID", "opcode PERSID"),
        ("module path", "torch.hub.load"),
        ("attribute path", "collections.OrderedDict.__init__"),
    ],
)
def test_the_refusal_names_what_was_asked_for_and_the_way_out(name: str, named: str) -> None:
    with pytest.raises(UnsafeModel, match=re.escape(named)) as error:
        read(HOSTILE[name])
    assert "model.bin" in str(error.value)
    assert "at byte" in str(error.value)
    assert "safetensors" in str(error.value)


LONG_FUSES = ("opcodes", "memo", "deep tuples")
"""Bombs of a million opcodes and more, each of which takes longer where memory is traced."""


def set_off(bomb: bytes, path: Path) -> None:
    torchfiles.write_zip(path, bomb, {"0": bytes(4)})
    with pytest.raises(ModelError, match=r"model\.bin") as error:
        open_torch_file(path)
    assert len(str(error.value)) < 2000


@pytest.mark.parametrize("name", LONG_FUSES)
def test_long_bombs_are_refused(tmp_path: Path, name: str) -> None:
    set_off(BOMBS[name], tmp_path / "model.bin")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.full if n in LONG_FUSES else ()) for n in BOMBS],
)
def test_bombs_cost_little(tmp_path: Path, name: str) -> None:
    """Less than 200 MB above the file, whatever 16 MB of pickle say."""
    path = tmp_path / "model.bin"
    tracemalloc.start()
    try:
        set_off(BOMBS[name], path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * path.stat().st_size + (200 << 20)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "does not end with one value"),
        (b"NN", "does not end with one value"),
        (b"(N", "does not end with one value"),
        (b"t", "closes what it did not open"),
        (b"\x85", "takes a value that is not there"),
        (b"N(\x85t", "takes a value that is not there"),
        (b"(q\x00", "takes a value that is not there"),
        (b"h\x00", "recalls value 0"),
        (b"j\x00\x00\x00\x01", "recalls value 16777216"),
        (b"}Na", "not a list"),
        (b"}(NNe", "not a list"),
        (b"]NNs", "not a dict"),
        (b"}(NNNu", "not a dict"),
        (b"}" + text("a") + b"Ns" + text("a") + b"Ns", '"a" comes twice'),
        (b"U\x01\xff", "not UTF-8"),
        (b"\xff", "0xff is no pickle opcode"),
        (b"X\x09\x00\x00\x00short", "cut off"),
        (b"ctorch\n", "does not end"),
        (tensor(b"N", [], []), "without a storage"),
        (b"(" + torchfiles.storage("0", 1) + torchfiles.storage("0", 2) + b"t", "two forms"),
    ],
)
def test_pickles_that_make_no_sense_are_damage(body: bytes, message: str) -> None:
    with pytest.raises(CorruptModel, match=message):
        read(pickled(body))


@pytest.mark.parametrize("protocol", [0, 1, 6, 255])
def test_other_protocols_are_refused(protocol: int) -> None:
    with pytest.raises(UnsafeModel, match="protocol 2 to 5"):
        read(pickled(b"N", protocol))


def test_plain_values_are_what_python_reads() -> None:
    import pickle as python

    value = {
        "n": [0, 255, 256, 65535, 65536, -1, -(2**31), 2**63, -(2**700)],
        "f": [0.0, -1.5, float("inf")],
        "t": [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        "s": ["", "é", "long" * 100],
        "o": [None, True, False, {}, {1: "x"}, []],
    }
    for protocol in (2, 3, 4, 5):
        assert read(python.dumps(value, protocol)) == value


def test_long_texts_and_numbers_of_the_file_do_not_flood_the_message() -> None:
    huge = integer(2**2000)
    for body in (b"c" + b"a" * 200 + b"\nb\n", b"}" + (huge + b"Ns") * 2):
        with pytest.raises(ModelError) as error:
            read(pickled(body))
        assert len(error.value.message) < 500
