"""A model that is ready to compute: compiled graphs, and what the host adds to them.

The graphs begin at embedded tokens, so that a table of embeddings that is tied to the output
projection is not in memory twice: the host looks rows up in a mapped file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from textmill.engines.checkpoint import Architecture, BartArchitecture, T5Architecture
from textmill.engines.inflight.network import Tokens
from textmill.engines.openvino.bfloat16 import from_bfloat16
from textmill.engines.openvino.relative import RelativeBias
from textmill.engines.openvino.stack import stack_of

HostArrays = Mapping[str, NDArray[Any]]
"""What the host needs of the checkpoint: embeddings, positions and relative biases, by the names
of the checkpoint. uint16 holds bfloat16 numbers."""

STACKS = ("encoder", "decoder")


class CacheShape(Struct, frozen=True):
    """What a key or value cache has for each slot and token."""

    layers: int
    heads: int
    size: int


class Model:
    """Serves all decoders of a process; nothing in it changes."""

    def __init__(
        self, architecture: Architecture, host: HostArrays, encoder: Any, step: Any, *, half: bool
    ) -> None:
        """encoder, step: the compiled graphs. half: caches are bfloat16, otherwise float32."""
        decoder = stack_of(architecture, "decoder")
        self.cache_shape = CacheShape(decoder.layers, decoder.heads, decoder.head_size)
        self.cache_dtype: Any = np.uint16 if half else np.float32
        self.d_model = architecture.d_model
        self.vocabulary = architecture.decoder_vocab_size
        self._encoder, self._step = encoder, step
        self._tables = {name: host[f"{name}.embed_tokens"] for name in STACKS}
        self._scale = np.float32(1.0)
        self._positions: dict[str, NDArray[np.float32]] = {}
        self._biases: dict[str, RelativeBias] = {}
        if isinstance(architecture, BartArchitecture):
            self._scale = np.float32(architecture.embedding_scale)
            self._positions = {name: host[f"{name}.positions"] for name in STACKS}
        elif isinstance(architecture, T5Architecture):
            self._biases = {name: RelativeBias(architecture, host, name) for name in STACKS}

    @property
    def token_bytes(self) -> int:
        """Memory of the keys and values of one token in all decoder layers."""
        shape = self.cache_shape
        size = int(np.dtype(self.cache_dtype).itemsize)
        return 2 * shape.layers * shape.heads * shape.size * size

    def new_encoder_request(self) -> Any:
        """A request of the encoder graph, for one thread at a time."""
        return self._encoder.create_infer_request()

    def new_step_request(self) -> Any:
        """A request of the step graph, for one thread at a time."""
        return self._step.create_infer_request()

    def tensor(self, array: NDArray[Any]) -> Any:
        """The array as OpenVINO sees it; the memory is shared."""
        import openvino

        if array.dtype != np.uint16:
            return openvino.Tensor(array, shared_memory=True)
        return openvino.Tensor(array, array.shape, openvino.Type.bf16)

    def embed_texts(self, tokens: Tokens) -> NDArray[np.float32]:
        """[rows, tokens] to [rows, tokens, d_model], for the encoder."""
        embedded = self._look_up("encoder", tokens)
        if self._positions:
            embedded += self._positions["encoder"][: tokens.shape[1]]
        return embedded

    def embed_step(self, tokens: Tokens, positions: Tokens) -> NDArray[np.float32]:
        """[slots, width] to [slots, width, d_model]; each slot is at a position of its own."""
        embedded = self._look_up("decoder", tokens)
        if self._positions:
            embedded += self._positions["decoder"][positions][:, None]
        return embedded

    def _look_up(self, stack: str, tokens: Tokens) -> NDArray[np.float32]:
        embedded = self._tables[stack][tokens]
        if embedded.dtype == np.uint16:
            embedded = from_bfloat16(embedded)
        if self._scale != 1.0:
            embedded *= self._scale
        return embedded

    def text_biases(self, tokens: int) -> list[NDArray[np.float32]]:
        """The encoder's relative biases for texts of this length."""
        return self._biases["encoder"].square(tokens) if self._biases else []

    def past_strips(self, capacity: int) -> list[NDArray[np.float32]]:
        """The decoder's, as `RelativeBias.strips` has them."""
        return self._biases["decoder"].strips(capacity) if self._biases else []
