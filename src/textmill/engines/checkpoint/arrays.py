"""The tensors of a checkpoint under our names: what the layout wants, from what the files have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from textmill.engines.checkpoint.architecture import Architecture, BartArchitecture
from textmill.engines.checkpoint.layout import Slot, layout
from textmill.engines.checkpoint.positions import position_table
from textmill.engines.checkpoint.weights import Weights
from textmill.errors import CorruptModel

Array = NDArray[np.float32]


class Arrays(Mapping[str, Array]):
    """Float32 arrays by the names of `layout`, loaded each time they are asked for.

    An array may be a read-only view of the file. Names with equal `origin` are one tensor.
    """

    def __init__(self, load: Mapping[str, Callable[[], Array]], origin: Mapping[str, str]) -> None:
        self._load = load
        self._origin = origin

    def __getitem__(self, name: str) -> Array:
        return self._load[name]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._load)

    def __len__(self) -> int:
        return len(self._load)

    def origin(self, name: str) -> str:
        """What the array is made of: tied embeddings have the same origin."""
        return self._origin[name]


def resolve(architecture: Architecture, weights: Weights, where: str) -> Arrays:
    """The architecture's arrays, from the weights.

    Raises `CorruptModel` for a tensor that is missing or has another shape. `where` names the
    folder in messages.
    """
    present = {name.removeprefix("model."): name for name in weights}
    load: dict[str, Callable[[], Array]] = {}
    origin: dict[str, str] = {}
    for name, slot in layout(architecture).items():
        source = next((present[s] for s in slot.sources if s in present), None)
        if source is None:
            if slot.required:
                raise _missing(slot, weights, where)
            continue
        _check_shape(slot, source, weights, where)
        load[name] = _loader(weights, source, slot)
        origin[name] = source
    if isinstance(architecture, BartArchitecture):
        _complete_bart(architecture, load, origin)
    _tie_equal(load, origin)
    return Arrays(load, origin)


def _loader(weights: Weights, source: str, slot: Slot) -> Callable[[], Array]:
    def load() -> Array:
        return weights.read(source)[slot.skip_rows :]

    return load


def _check_shape(slot: Slot, source: str, weights: Weights, where: str) -> None:
    expected = (slot.shape[0] + slot.skip_rows, *slot.shape[1:])
    if weights.shape(source) != expected:
        raise CorruptModel(
            f"{where}: tensor {source} has shape {list(weights.shape(source))}, "
            f"but config.json makes it {list(expected)}"
        )


def _missing(slot: Slot, weights: Weights, where: str) -> CorruptModel:
    names = " or ".join(slot.sources)
    return CorruptModel(
        f"{where}: the weights lack tensor {names}",
        hint=f"they hold {sum(1 for _ in weights)} tensors; is it a text-to-text model, complete?",
    )


def _complete_bart(
    arch: BartArchitecture, load: dict[str, Callable[[], Array]], origin: dict[str, str]
) -> None:
    """Compute the position tables that files leave out; drop a logits bias that does nothing."""
    for name in ("encoder.positions", "decoder.positions"):
        if name not in load:
            load[name] = lambda: position_table(arch)
            origin[name] = "computed positions"
    if "final_logits_bias" in load:
        bias = load["final_logits_bias"]().reshape(-1)
        if bias.any():
            load["final_logits_bias"] = lambda: bias
        else:
            del load["final_logits_bias"], origin["final_logits_bias"]


def _tie_equal(load: Mapping[str, Callable[[], Array]], origin: dict[str, str]) -> None:
    """Give embeddings that are stored twice but equal one origin, as transformers ties them."""
    names = ("encoder.embed_tokens", "decoder.embed_tokens", "lm_head")
    for n, name in enumerate(names):
        for earlier in names[:n]:
            if origin[name] != origin[earlier] and _equal(load[name](), load[earlier]()):
                origin[name] = origin[earlier]
                break


def _equal(a: Array, b: Array) -> bool:
    """First rows first: embeddings that differ differ there, and need not be read whole."""
    return a.shape == b.shape and np.array_equal(a[:8], b[:8]) and np.array_equal(a, b)
