"""The in-flight decoder's view of a compiled model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from textmill.engines.inflight.network import Bank, Encoded
from textmill.engines.inflight.past import HIDDEN
from textmill.engines.openvino.bank import EncodedText, OpenvinoBank
from textmill.engines.openvino.model import Model

_KEPT_BIASES = 4


class OpenvinoNetwork:
    """Implements `inflight.network.Network`; one for each thread."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._request = model.new_encoder_request()
        self._biases: OrderedDict[int, list[NDArray[np.float32]]] = OrderedDict()

    def encode(self, texts: Sequence[Sequence[int]]) -> list[Encoded]:
        """As `inflight.network.Network.encode`."""
        model, shape = self._model, self._model.cache_shape
        length = padded_length(max(map(len, texts)))
        tokens = np.zeros((len(texts), length), np.int64)
        mask = np.full((len(texts), 1, 1, length), HIDDEN)
        for row, text in enumerate(texts):
            tokens[row, : len(text)] = text
            mask[row, ..., : len(text)] = 0.0
        caches = np.empty(
            (shape.layers, 2, len(texts), shape.heads, length, shape.size), model.cache_dtype
        )
        self._run(model.embed_texts(tokens), mask, caches)
        return [EncodedText(caches[:, :, row], len(text)) for row, text in enumerate(texts)]

    def _run(
        self, embedded: NDArray[np.float32], mask: NDArray[np.float32], caches: NDArray[np.generic]
    ) -> None:
        request, model = self._request, self._model
        request.set_tensor("embedded", model.tensor(embedded))
        request.set_tensor("mask", model.tensor(mask))
        for n, bias in enumerate(self._bias(embedded.shape[1])):
            request.set_tensor(f"bias.{n}", model.tensor(bias))
        layers, _, *rest = caches.shape
        request.set_tensor("caches", model.tensor(caches.reshape(2 * layers, *rest)))
        request.infer()

    def _bias(self, tokens: int) -> list[NDArray[np.float32]]:
        """Neighbours are of similar length, so the last few are kept."""
        if tokens not in self._biases:
            self._biases[tokens] = self._model.text_biases(tokens)
            while len(self._biases) > _KEPT_BIASES:
                self._biases.popitem(last=False)
        return self._biases[tokens]

    def open_bank(self, *, slots: int, width: int, capacity: int) -> Bank:
        """A new bank. Its memory is given back with it."""
        return OpenvinoBank(self._model, slots=slots, width=width, capacity=capacity)

    def slot_bytes(self, *, width: int, capacity: int, past: int) -> int:
        """Memory of one slot of such a bank, when texts of `past` tokens are written."""
        return self._model.token_bytes * (capacity + width * past)


def padded_length(tokens: int) -> int:
    """Tokens that a text is computed as: few different lengths, little padding."""
    step = 16 if tokens <= 256 else 32
    return -(-tokens // step) * step
