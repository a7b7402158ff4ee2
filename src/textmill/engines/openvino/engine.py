"""The OpenVINO engine in this process: lanes of in-flight decoding over one model."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from textmill.core import Batch, Outcome, Params, Request
from textmill.engines.allocator import keep_freed_memory
from textmill.engines.base import BatchError, Capabilities, Tokenizer
from textmill.engines.inflight.decoder import Decoder
from textmill.engines.inflight.limits import Limits
from textmill.engines.openvino.lane import Desk, Lane
from textmill.engines.openvino.model import Model
from textmill.engines.openvino.network import OpenvinoNetwork
from textmill.engines.openvino.rules import OpenvinoRules
from textmill.engines.stopping import Decode
from textmill.errors import EngineError, engine_error

_BATCHES_AHEAD = 64


class OpenvinoEngine:
    """Implements `engines.base.Engine`. See `docs/decisions/openvino-engine.md`."""

    def __init__(
        self,
        model: Model,
        rules: OpenvinoRules,
        limits: Limits,
        *,
        decode: Decode,
        seed: int = 0,
    ) -> None:
        """model: compiled for the threads and lanes of the rules. limits: of each lane.

        decode: token ids to texts, for stop strings. seed: of requests without one of their own.
        """
        self._rules = rules
        self._open: dict[int, Request] = {}
        self._desk = Desk()
        self._closed = False
        keep_freed_memory()

        def open_decoder() -> Decoder:
            network = OpenvinoNetwork(model)
            return Decoder(network, self._desk.waiting, limits, decode=decode, seed=seed)

        self._lanes = [Lane(self._desk, open_decoder) for _ in range(rules.lanes)]
        for lane in self._lanes:
            lane.start()

    @property
    def capabilities(self) -> Capabilities:
        """Those of the rules."""
        return self._rules.capabilities

    def check(self, params: Params) -> None:
        """As the rules do."""
        self._rules.check(params)

    def group(self, params: Params) -> None:
        """All requests may share a batch."""

    def room(self) -> int:
        """As long as few requests wait; what is in slots does not count."""
        waiting = len(self._desk.waiting) // self.capabilities.max_batch_rows
        return max(0, _BATCHES_AHEAD - waiting)

    def add(self, batch: Batch) -> None:
        """Take a batch. Raises `BatchError` when it is empty, has ids that the model does not
        have, or the engine is closed."""
        try:
            self._accept(batch)
        except EngineError as error:
            raise BatchError(batch) from error
        self._open.update((id(request), request) for request in batch.requests)
        self._desk.hand_in(batch.requests)

    def _accept(self, batch: Batch) -> None:
        if self._closed:
            raise EngineError("the engine is closed")
        if not batch.requests:
            raise EngineError("the batch is empty")
        size, limit = self._rules.vocab_size, self._rules.max_positions
        for request in batch.requests:
            if not request.ids or min(request.ids) < 0 or max(request.ids) >= size:
                raise EngineError(f"token ids have to be 0 to {size - 1}, and some")
            if limit is not None and len(request.ids) > limit:
                raise EngineError(f"{len(request.ids)} tokens, but the model has {limit} positions")

    def step(self) -> Sequence[Outcome]:
        """What has ended, as soon as anything has; nothing if it is interrupted."""
        while self._open:
            result = self._desk.results.get()
            if result is None:
                break
            outcomes = self._outcomes(result)
            if outcomes:
                return outcomes
        return ()

    def interrupt(self) -> None:
        """Let `step` return, so that it can be given more."""
        self._desk.results.put(None)

    def _outcomes(self, result: list[Outcome] | Exception) -> list[Outcome]:
        """Those that are waited for; a lane may still tell of what was abandoned."""
        if isinstance(result, Exception):
            raise engine_error(result) from result
        return [one for one in result if self._open.pop(id(one.request), None) is one.request]

    def abandon(self) -> None:
        """Forget the batches in flight; lanes notice after their step."""
        self._desk.clear()
        self._open.clear()

    def close(self) -> None:
        """End the lanes and give the model's memory back."""
        if self._closed:
            return
        self._closed = True
        self.abandon()
        self._desk.close()
        for lane in self._lanes:
            lane.join()
        self._lanes.clear()


def load(
    *,
    entry: str,
    folder: str,
    rules: dict[str, Any],
    limits: dict[str, Any],
    seed: int,
) -> OpenvinoEngine:
    """The engine of plain data, as a worker process is ordered to make it.

    entry: where the compiled model is, or is to be. folder: of the checkpoint, which is read when
    it is not, and whose tokenizer is read when the first stop string has to be found.
    """
    from textmill.engines.checkpoint import open_checkpoint
    from textmill.engines.checkpoint.architecture import read_architecture
    from textmill.engines.openvino.compiled import open_model

    known = msgspec.convert(rules, OpenvinoRules)
    config = Path(folder) / "config.json"
    model = open_model(
        Path(entry),
        read_architecture(msgspec.json.decode(config.read_bytes()), str(config)),
        known.arithmetic,
        functools.partial(open_checkpoint, Path(folder)),
        threads=known.threads,
        streams=known.lanes,
    )

    @functools.cache
    def opened() -> Tokenizer:
        from textmill.engines.tokenizing import open_tokenizer

        return open_tokenizer(Path(folder))

    def decode(sequences: Sequence[Sequence[int]]) -> list[str]:
        return opened().decode(sequences)

    return OpenvinoEngine(model, known, msgspec.convert(limits, Limits), decode=decode, seed=seed)
