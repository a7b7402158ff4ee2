"""Slots in memory: the caches of texts that are decoded together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmill.engines.inflight.network import Encoded, Scores, Tokens
from textmill.engines.inflight.past import HIDDEN, Past
from textmill.engines.openvino.model import Model

_FIRST_PAST = 32
_SLOTS_AT_A_TIME = 4
"""Slots in use are rounded up to a multiple: each new shape costs OpenVINO a preparation."""


class EncodedText:
    """Keys and values of a text for every decoder layer.

    caches: [layers, 2, heads, tokens, head size], padding behind `tokens` included.
    """

    def __init__(self, caches: NDArray[Any], tokens: int) -> None:
        self.caches, self.tokens = caches, tokens


class OpenvinoBank:
    """Implements `inflight.network.Bank`. All caches of a kind are one array, layer by layer."""

    def __init__(self, model: Model, *, slots: int, width: int, capacity: int) -> None:
        shape = model.cache_shape
        self.slots, self.width, self.capacity = slots, width, capacity
        self._model, self._dtype = model, model.cache_dtype
        self._request = model.new_step_request()
        self._source = np.empty(  # a slot is cleared when it is taken
            (shape.layers, 2, slots, shape.heads, capacity, shape.size), self._dtype
        )
        self._source_mask = np.full((slots, 1, 1, capacity), HIDDEN)
        self._past = Past(slots, width, _FIRST_PAST)
        self._caches = self._new_caches(_FIRST_PAST)
        self._strips = model.past_strips(_FIRST_PAST)
        self._bound = 0

    def _new_caches(self, past: int) -> NDArray[Any]:
        shape = self._model.cache_shape
        return np.empty(
            (shape.layers, 2, self.slots, shape.heads, self.width, past, shape.size), self._dtype
        )

    def place(self, slot: int, encoded: Encoded) -> None:
        """Put a text into a slot; its rows begin anew.

        What nobody may see has to be finite all the same: 0 times infinity is not 0.
        """
        assert isinstance(encoded, EncodedText)  # noqa: S101  what our own `encode` made
        tokens = encoded.tokens
        self._source[:, :, slot, :, :tokens] = encoded.caches[:, :, :, :tokens]
        self._source[:, :, slot, :, tokens:] = 0
        self._caches[:, :, slot] = 0
        self._source_mask[slot, ..., :tokens] = 0.0
        self._source_mask[slot, ..., tokens:] = HIDDEN
        self._past.clear(slot)

    def move(self, origin: int, target: int) -> None:
        """Move what is in slot `origin` into slot `target`."""
        self._source[:, :, target] = self._source[:, :, origin]
        self._source_mask[target] = self._source_mask[origin]
        self._caches[:, :, target] = self._caches[:, :, origin]
        self._past.move(origin, target)

    def step(self, tokens: Tokens, parents: Tokens) -> Scores:
        """As `inflight.network.Bank.step`."""
        used = len(tokens)
        self._past.follow(parents)
        self._make_room(int(self._past.lengths[:used].max()))
        rounded = min(self.slots, -(-used // _SLOTS_AT_A_TIME) * _SLOTS_AT_A_TIME)
        if rounded != self._bound:
            self._bind(rounded)
        self._embed(tokens)
        self._request.infer()
        lengths = self._past.lengths[:used]
        new = self._new[:, :, :used].transpose(2, 0, 1, 3, 4, 5)
        self._caches[:, :, np.arange(used), :, :, lengths] = new
        self._past.fed(used)
        return self._logits[:used]

    def _make_room(self, length: int) -> None:
        """Let the caches grow before they are full."""
        if length < self._past.capacity:
            return
        old = self._caches
        self._past.grow(2 * self._past.capacity)
        self._caches = self._new_caches(self._past.capacity)
        self._caches[..., : old.shape[-2], :] = old
        self._caches[..., old.shape[-2] :, :] = 0
        self._strips = self._model.past_strips(self._past.capacity)
        self._bound = 0

    def _bind(self, used: int) -> None:
        """Hand the first slots' memory to the request; nothing is copied when it runs."""
        shape, past = self._model.cache_shape, self._past.capacity
        lanes = self.width * past
        for layer in range(shape.layers):
            for n, name in enumerate(("key", "value")):
                self._set(f"source_{name}.{layer}", self._source[layer, n, :used])
                cache = self._caches[layer, n, :used]
                self._set(
                    f"past_{name}.{layer}", cache.reshape(used, shape.heads, lanes, shape.size)
                )
        self._set("source_mask", self._source_mask[:used])
        self._set("past_mask", self._past.mask[:used].reshape(used, 1, self.width, lanes))
        self._bias = [
            np.zeros((used, shape.heads, self.width, past), np.float32) for _ in self._strips
        ]
        for n, bias in enumerate(self._bias):
            self._set(f"bias.{n}", bias.reshape(used, shape.heads, 1, lanes))
        self._embedded = np.zeros((used, self.width, self._model.d_model), np.float32)
        self._set("embedded", self._embedded)
        self._bind_outputs(used)
        self._bound = used

    def _bind_outputs(self, used: int) -> None:
        shape = self._model.cache_shape
        self._new = np.zeros(
            (shape.layers, 2, used, shape.heads, self.width, shape.size), self._dtype
        )
        self._logits = np.zeros((used, self.width, self._model.vocabulary), np.float32)
        self._set("logits", self._logits)
        for layer in range(shape.layers):
            self._set(f"key.{layer}", self._new[layer, 0])
            self._set(f"value.{layer}", self._new[layer, 1])

    def _set(self, name: str, array: NDArray[Any]) -> None:
        self._request.set_tensor(name, self._model.tensor(array))

    def _embed(self, tokens: Tokens) -> None:
        used, past = len(tokens), self._past.capacity
        lengths = self._past.lengths[:used]
        self._embedded[:used] = self._model.embed_step(tokens, lengths)
        for strip, bias in zip(self._strips, self._bias, strict=True):
            for slot, length in enumerate(lengths.tolist()):
                bias[slot] = strip[:, None, past - length : 2 * past - length]
