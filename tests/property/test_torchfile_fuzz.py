"""Whatever is done to a torch file, the answer is tensors or a refusal, at a bounded cost."""

from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from support import torchfiles
from textmill.engines.checkpoint.torchfile import open_torch_file
from textmill.engines.checkpoint.torchpickle import interpret
from textmill.engines.checkpoint.torchvalues import Source
from textmill.errors import ModelError

NAMES = ["weight", "bias", "tied", "transposed", "half", "count", "scalar"]
SLACK_BYTES = 4 << 20


@cache
def sound_file(kind: str) -> bytes:
    torch.manual_seed(3)
    base = torch.randn(6, 5)
    values = [base, torch.randn(5), base, base.T, base.half(), torch.arange(9), torch.tensor(1.5)]
    state = torch.nn.Linear(1, 1).state_dict()
    state.clear()
    state.update(zip(NAMES, values, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m"
        protocol = 4 if kind.endswith("4") else 2
        torchfiles.save(state, path, legacy=kind.startswith("legacy"), protocol=protocol)
        return path.read_bytes()


KINDS = ["zip", "zip4", "legacy", "legacy4"]

Mutation = Callable[[bytes], bytes]


def flip(at: int, bits: int) -> Mutation:
    def apply(raw: bytes) -> bytes:
        where = at % len(raw)
        return raw[:where] + bytes([raw[where] ^ bits]) + raw[where + 1 :]

    return apply


def overwrite(at: int, data: bytes) -> Mutation:
    def apply(raw: bytes) -> bytes:
        where = at % len(raw)
        return raw[:where] + data + raw[where + len(data) :]

    return apply


def insert(at: int, data: bytes) -> Mutation:
    def apply(raw: bytes) -> bytes:
        where = at % len(raw)
        return raw[:where] + data + raw[where:]

    return apply


def cut(at: int, size: int) -> Mutation:
    def apply(raw: bytes) -> bytes:
        where = at % len(raw)
        return raw[:where] + raw[where + size :] or b"\0"

    return apply


def copy(source: int, size: int, to: int) -> Mutation:
    def apply(raw: bytes) -> bytes:
        piece = raw[source % len(raw) :][:size]
        return insert(to, piece)(raw)

    return apply


def splice(kind: str, source: int, size: int, to: int) -> Mutation:
    def apply(raw: bytes) -> bytes:
        other = sound_file(kind)
        return overwrite(to, other[source % len(other) :][:size])(raw)

    return apply


def truncate(at: int) -> Mutation:
    return lambda raw: raw[: at % len(raw)]


places = st.integers(0, 1 << 16)
lengths = st.integers(1, 200)
telling = st.sampled_from(
    [b"\xff" * 4, b"\xff" * 8, b"\0" * 8, b"\x7f" + b"\xff" * 7, b"(", b".", b"R", b"b", b"Q", b"}"]
)
mutations = st.lists(
    st.one_of(
        st.builds(flip, places, st.integers(1, 255)),
        st.builds(overwrite, places, st.binary(min_size=1, max_size=8) | telling),
        st.builds(insert, places, st.binary(min_size=1, max_size=8) | telling),
        st.builds(cut, places, lengths),
        st.builds(copy, places, lengths, places),
        st.builds(splice, st.sampled_from(KINDS), places, lengths, places),
        st.builds(truncate, places),
    ),
    min_size=1,
    max_size=4,
)


def mutated(raw: bytes, changes: list[Mutation]) -> bytes:
    for change in changes:
        raw = change(raw) if raw else raw
    return raw


def read_all(path: Path) -> dict[str, tuple[int, ...]] | None:
    """Shapes by name when every tensor can be read, None when the file is refused."""
    try:
        with open_torch_file(path) as file:
            shapes = {name: file.load(name).shape for name in file}
            assert shapes == {name: file.shape(name) for name in file}
            return shapes
    except ModelError as error:
        message = error.message
    assert str(path) in message
    assert len(message) < 3000
    return None


def check_file(path: Path, raw: bytes) -> dict[str, tuple[int, ...]] | None:
    path.write_bytes(raw)
    tracemalloc.start()
    try:
        shapes = read_all(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 2 * len(raw) + SLACK_BYTES
    return shapes


def check_changed_file(folder: Path, kind: str, changes: list[Mutation]) -> None:
    shapes = check_file(folder / "changed.bin", mutated(sound_file(kind), changes))
    if shapes is not None and kind.startswith("zip"):
        assert list(shapes) == NAMES  # the checksum of data.pkl keeps names as they were


def check_changed_pickle(folder: Path, kind: str, changes: list[Mutation]) -> None:
    """The checksum is made right again, so the pickle machine itself has to see the damage."""
    raw = sound_file(kind)
    pickle = mutated(torchfiles.pickle_of(raw), changes)
    check_file(folder / "changed.bin", torchfiles.rewritten_pickle(raw, pickle))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@given(kind=st.sampled_from(KINDS), changes=mutations)
@settings(max_examples=800, deadline=None)
def test_a_changed_file_is_read_or_refused(
    folder: Path, kind: str, changes: list[Mutation]
) -> None:
    check_changed_file(folder, kind, changes)


@given(kind=st.sampled_from(["zip", "zip4"]), changes=mutations)
@settings(max_examples=800, deadline=None)
def test_a_changed_pickle_is_read_or_refused(
    folder: Path, kind: str, changes: list[Mutation]
) -> None:
    check_changed_pickle(folder, kind, changes)


@pytest.mark.full
@given(kind=st.sampled_from(KINDS), changes=mutations)
@settings(max_examples=30_000, deadline=None)
def test_a_changed_file_is_read_or_refused_at_length(
    folder: Path, kind: str, changes: list[Mutation]
) -> None:
    check_changed_file(folder, kind, changes)


@pytest.mark.full
@given(kind=st.sampled_from(["zip", "zip4"]), changes=mutations)
@settings(max_examples=30_000, deadline=None)
def test_a_changed_pickle_is_read_or_refused_at_length(
    folder: Path, kind: str, changes: list[Mutation]
) -> None:
    check_changed_pickle(folder, kind, changes)


# Programs made of opcodes, so that most of them get far

fragments = st.one_of(
    st.sampled_from([bytes([opcode]) for opcode in b"(N\x88\x89)t\x85\x86\x87]ae}suRbQ\x94\x93"]),
    st.sampled_from([b"K", b"q", b"h"]).flatmap(
        lambda opcode: st.integers(0, 5).map(lambda n: opcode + bytes([n]))
    ),
    st.integers(-(2**64), 2**64).map(torchfiles.integer),
    st.sampled_from(["storage", "0", "cpu", "torch", "FloatStorage", "w", "meta"]).map(
        torchfiles.text
    ),
    st.sampled_from(
        [
            torchfiles.ORDERED_DICT,
            torchfiles.REBUILD_TENSOR,
            torchfiles.REBUILD_PARAMETER,
            torchfiles.NO_HOOKS,
            b"ctorch\nFloatStorage\n",
            torchfiles.storage("0", 4),
            torchfiles.tensor(torchfiles.storage("0", 4), [2, 2], [2, 1]),
            torchfiles.sizes([2, 2]),
        ]
    ),
    st.binary(min_size=1, max_size=3),
)


def check_program(pieces: list[bytes]) -> None:
    program = torchfiles.pickled(b"".join(pieces), protocol=4)
    try:
        interpret(Source(Path("m.bin"), program), 0, len(program), storage_fields=5)
    except ModelError as error:
        message = error.message
    else:
        return
    assert "m.bin" in message


@given(st.lists(fragments, max_size=40))
@settings(max_examples=1500, deadline=None)
def test_any_program_of_opcodes_is_read_or_refused(pieces: list[bytes]) -> None:
    check_program(pieces)


@pytest.mark.full
@given(st.lists(fragments, max_size=100))
@settings(max_examples=50_000, deadline=None)
def test_any_program_of_opcodes_is_read_or_refused_at_length(pieces: list[bytes]) -> None:
    check_program(pieces)


# Tensors as torch makes them


@st.composite
def views(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    """Views on two storages: any dtype, slices, steps, permutations, offsets."""
    dtypes = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.bool]
    found = {}
    for base in range(2):
        shape = draw(st.lists(st.integers(0, 6), max_size=4))
        whole = (torch.randn(shape) * 100).to(draw(st.sampled_from(dtypes)))
        for nth in range(draw(st.integers(1, 3))):
            view = whole.permute(draw(st.permutations(range(whole.dim()))))
            for axis in range(view.dim()):
                start, step = draw(st.integers(0, 6)), draw(st.integers(1, 3))
                view = view.movedim(axis, 0)[start::step].movedim(0, axis)
            found[f"{base}.{nth}"] = view
    return found


@given(tensors=views(), legacy=st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_view_is_read_as_torch_has_it(
    folder: Path, tensors: dict[str, torch.Tensor], legacy: bool
) -> None:
    path = torchfiles.save(tensors, folder / "views.bin", legacy=legacy)
    torchfiles.assert_same(path, torch.load(path, weights_only=True))
