"""Compiled graphs on disk, by content, and the model that they make.

An entry holds the two graphs as OpenVINO exports them, and as plain arrays what the host adds.
All of it is mapped, so that processes share it and the system can drop it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmill.engines.checkpoint import Architecture, Arrays, Checkpoint
from textmill.engines.converted import converted, entry_name
from textmill.engines.openvino.bfloat16 import to_bfloat16
from textmill.engines.openvino.graphs import GraphWriter
from textmill.engines.openvino.model import STACKS, HostArrays, Model
from textmill.engines.openvino.precision import Arithmetic
from textmill.engines.openvino.stack import stack_of
from textmill.telemetry import versions_of

BUILDER_VERSION = 2
"""Part of the cache key; to be raised when the same checkpoint gives another model."""

_GROUP_SIZE = 128
"""Numbers that share a scale when activations are made bytes."""

_GRAPHS = ("encoder", "step")
_HOST = "host.json"
"""Which file has which array: tied embeddings share one."""


def entry_for(weights_digest: str, arithmetic: Arithmetic, cache_dir: Path) -> Path:
    """Where the compiled model of a checkpoint is kept."""
    library = versions_of("openvino")["openvino"]  # importing it would take 30 MB
    how = f"int8={arithmetic.int8} half={arithmetic.half}"
    return cache_dir / "openvino" / entry_name(weights_digest, how, library, str(BUILDER_VERSION))


def open_model(
    entry: Path,
    architecture: Architecture,
    arithmetic: Arithmetic,
    open_checkpoint: Callable[[], Checkpoint],
    *,
    threads: int,
    streams: int,
) -> Model:
    """The model of an entry, which is compiled now if it is not there intact.

    threads: in all; streams: computations at a time, each on its share of the threads.

    Raises `OutputError` when the cache cannot be written, and what `GraphWriter` raises.
    """
    settings = _settings(arithmetic, threads=threads, streams=streams)

    def write(folder: Path) -> None:
        _write(open_checkpoint(), arithmetic, settings, folder)

    converted(entry, write, room="as much as the model's float32 size, or a quarter in int8")
    encoder, step = (_Graph(entry / f"{name}.blob", settings) for name in _GRAPHS)
    return Model(architecture, _host_arrays(entry), encoder, step, half=arithmetic.half)


def _settings(arithmetic: Arithmetic, *, threads: int, streams: int) -> dict[str, Any]:
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16" if arithmetic.half else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
        "ENABLE_CPU_PINNING": False,  # two processes would be pinned to the same cores
    }
    if arithmetic.int8:
        settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = _GROUP_SIZE
    return settings


def _write(
    checkpoint: Checkpoint, arithmetic: Arithmetic, settings: dict[str, Any], folder: Path
) -> None:
    import openvino

    architecture, arrays = checkpoint.architecture, checkpoint.arrays
    writer = GraphWriter(
        stack_of(architecture, "encoder"),
        stack_of(architecture, "decoder"),
        arrays,
        int8=arithmetic.int8,
        cache_type=openvino.Type.bf16 if arithmetic.half else openvino.Type.f32,
    )
    core = openvino.Core()
    for name, write in zip(_GRAPHS, (writer.encoder, writer.step), strict=True):
        compiled = core.compile_model(write(), "CPU", settings)
        with (folder / f"{name}.blob").open("wb") as file:
            file.write(compiled.export_model().getbuffer())
    _write_host_arrays(arrays, folder, half=arithmetic.half)


def _write_host_arrays(arrays: Arrays, folder: Path, *, half: bool) -> None:
    files: dict[str, str] = {}
    embeddings = [f"{stack}.embed_tokens" for stack in STACKS]
    others = [name for name in arrays if name.endswith((".positions", ".relative_bias"))]
    for name in (*embeddings, *others):
        origin = arrays.origin(name)
        if origin not in files.values():
            array = to_bfloat16(arrays[name]) if half and name in embeddings else arrays[name]
            np.save(folder / f"{origin}.npy", array)
        files[name] = origin
    (folder / _HOST).write_text(json.dumps(files), encoding="utf-8")


def _host_arrays(entry: Path) -> HostArrays:
    files: dict[str, str] = json.loads((entry / _HOST).read_bytes())
    mapped: dict[str, NDArray[Any]] = {
        file: np.load(entry / f"{file}.npy", mmap_mode="r") for file in set(files.values())
    }
    return {name: mapped[file] for name, file in files.items()}


class _Graph:
    """A compiled graph over a mapped file, which stays mapped as long as the graph is there."""

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        import openvino

        self._file = np.memmap(path, np.uint8, "c")  # OpenVINO shares writable arrays only
        blob = openvino.Tensor(self._file, shared_memory=True)
        self._compiled = openvino.Core().import_model(blob, "CPU", settings)

    def create_infer_request(self) -> Any:
        """A request, for one thread at a time."""
        return self._compiled.create_infer_request()
