"""The openvino engine as an engine: faults, slots, memory, cache, process."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.ct2 import DEMO, checkpoint_of, demo_inputs, numbers, params_for
from support.driving import drive, random_inputs, texts
from support.tiny_models import tiny_model
from textmill.core import Batch, Completion, Failure, FinishReason, Request
from textmill.engines.base import BatchError
from textmill.errors import ErrorCode

pytest.importorskip("openvino")

from support.openvino import LIMITS, make_engine, model_of, rules_of
from textmill.engines.inflight.decoder import Decoder
from textmill.engines.inflight.limits import Limits
from textmill.engines.loading import load_model
from textmill.engines.openvino.network import OpenvinoNetwork

FOLDER = tiny_model("flan-t5")


def requests_for(inputs: list[list[int]], **settings: Any) -> list[Request]:
    params = params_for(FOLDER, **settings)
    return [Request(n, 0, ids, params) for n, ids in enumerate(inputs)]


def decode_all(decoder: Decoder, count: int) -> list[Any]:
    outcomes: list[Any] = []
    while len(outcomes) < count:
        outcomes += decoder.step()
    return outcomes


def decoder_of(network: Any, requests: list[Request], **limits: int) -> Decoder:
    given = {"rows": 8, "bytes": 1 << 26, "encode_tokens": 64}
    return Decoder(network, deque(requests), Limits(**(given | limits)), decode=numbers)


class Faulty(OpenvinoNetwork):
    """A network that fails on texts with a certain token: when encoding them, or as NaN."""

    def __init__(self, token: int, *, nan: bool) -> None:
        super().__init__(model_of(FOLDER))
        self._token, self._nan = token, nan

    def encode(self, given):
        encoded = super().encode(given)
        for text, one in zip(given, encoded, strict=True):
            if self._token in text:
                if not self._nan:
                    raise RuntimeError("a fault on purpose")
                one.caches[:] = np.nan  # longer than what comes after it
        return encoded


@pytest.mark.parametrize("nan", [True, False])
def test_a_fault_costs_its_record_alone(nan: bool) -> None:
    """The record fails with an engine error; neighbours and who takes its slot notice nothing."""
    inputs = random_inputs(12, seed=3, end=1)
    inputs[5] = [310] * 40 + [1]
    outcomes = decode_all(decoder_of(Faulty(310, nan=nan), requests_for(inputs), rows=2), 12)
    clean = decode_all(decoder_of(OpenvinoNetwork(model_of(FOLDER)), requests_for(inputs)), 12)
    failed = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert [f.request.ordinal for f in failed] == [5]
    assert failed[0].code is ErrorCode.ENGINE_ERROR
    assert ("not numbers" in failed[0].message) == nan
    expected = {o.request.ordinal: o.sequences for o in clean if o.request.ordinal != 5}
    assert {o.request.ordinal: o.sequences for o in outcomes if o not in failed} == expected


def test_a_step_that_fails_is_computed_again_one_by_one() -> None:
    """A fault of a moment costs nobody anything."""

    class Stumbling(OpenvinoNetwork):
        def open_bank(self, **shape):
            bank = super().open_bank(**shape)
            step, calls = bank.step, iter(range(10**6))

            def stumble(*given):
                if next(calls) == 3 and bank.slots > 1:
                    raise RuntimeError("a fault on purpose")
                return step(*given)

            bank.step = stumble
            return bank

    inputs = random_inputs(6, seed=4, end=1)
    network = Stumbling(model_of(FOLDER))
    outcomes = decode_all(decoder_of(network, requests_for(inputs)), 6)
    outcomes.sort(key=lambda outcome: outcome.request.ordinal)
    engine = make_engine(FOLDER)
    assert texts(outcomes) == texts(drive(engine, inputs, params_for(FOLDER)))
    engine.close()


def test_short_texts_do_not_wait_for_long_ones() -> None:
    """Outcomes come in the order in which texts end, and freed slots are filled at once."""
    inputs = random_inputs(20, seed=5, end=1)
    lengths = [2, 20, 2, 2, 2] * 4
    requests = [
        Request(n, 0, ids, params_for(FOLDER, max_new_tokens=k, min_new_tokens=k))
        for n, (ids, k) in enumerate(zip(inputs, lengths, strict=True))
    ]
    decoder = decoder_of(OpenvinoNetwork(model_of(FOLDER)), requests, rows=4)
    steps, order = 0, []
    while len(order) < 20:
        order += [len(outcome.sequences[0].ids) for outcome in decoder.step()]
        steps += 1
    assert order[0] == 2
    assert order[-1] == 20
    assert steps < sum(lengths) / 4 + 20, "slots stood empty"


def test_little_memory_gives_the_same_texts() -> None:
    """One slot at a time, and banks that have to wait for each other."""
    inputs = [*random_inputs(9, seed=6, end=1), [5] * 200 + [1]]
    requests = requests_for(inputs)
    little = decode_all(
        decoder_of(OpenvinoNetwork(model_of(FOLDER)), requests, bytes=20_000, rows=2), 10
    )
    much = decode_all(decoder_of(OpenvinoNetwork(model_of(FOLDER)), requests), 10)
    key = lambda outcome: outcome.request.ordinal  # noqa: E731
    assert texts(sorted(little, key=key)) == texts(sorted(much, key=key))


def test_max_time_ends_a_text_where_it_stands() -> None:
    ticks = iter(range(10**6))
    requests = requests_for([[5, 6, 1]], max_time=6.0, max_new_tokens=60, min_new_tokens=60)
    network = OpenvinoNetwork(model_of(FOLDER))
    decoder = Decoder(
        network, deque(requests), LIMITS, decode=numbers, clock=lambda: float(next(ticks))
    )
    (outcome,) = decode_all(decoder, 1)
    assert outcome.sequences[0].finish is FinishReason.TIME
    assert 3 <= len(outcome.sequences[0].ids) <= 8


@pytest.mark.parametrize("ids", [[], [320], [-1]])
def test_ids_that_the_model_does_not_have_fail_the_batch(ids: list[int]) -> None:
    engine = make_engine(FOLDER)
    with pytest.raises(BatchError) as error:
        engine.add(Batch(0, tuple(requests_for([[5, 1], ids]))))
    assert "token ids have to be 0 to 319" in str(error.value.__cause__)
    engine.close()


def test_too_many_tokens_for_the_models_positions_fail_the_batch() -> None:
    engine = make_engine(tiny_model("bart"))
    with pytest.raises(BatchError) as error:
        engine.add(Batch(0, tuple(requests_for([[5] * 65]))))
    assert "65 tokens, but the model has 64 positions" in str(error.value.__cause__)
    engine.close()


def test_a_step_that_is_interrupted_returns_nothing_and_loses_nothing() -> None:
    engine = make_engine(FOLDER)
    inputs, params = random_inputs(6, seed=8, end=1), params_for(FOLDER)
    engine.interrupt()
    engine.add(Batch(0, tuple(requests_for(inputs))))
    outcomes: list[Any] = []
    steps = 0
    while len(outcomes) < 6:
        outcomes += engine.step()
        steps += 1
    outcomes.sort(key=lambda outcome: outcome.request.ordinal)
    assert steps > 1
    assert texts(outcomes) == texts(drive(engine, inputs, params))
    engine.close()


def test_what_was_abandoned_is_not_answered() -> None:
    engine = make_engine(FOLDER, threads=2)
    inputs, params = random_inputs(8, seed=8, end=1), params_for(FOLDER)
    before = texts(drive(engine, inputs, params))
    engine.add(Batch(0, tuple(requests_for(inputs))))
    engine.abandon()
    assert engine.step() == ()
    assert texts(drive(engine, inputs, params)) == before
    engine.close()
    engine.close()
    with pytest.raises(BatchError):
        engine.add(Batch(1, tuple(requests_for(inputs))))


def test_a_damaged_cache_is_written_anew(tmp_path: Path) -> None:
    """Whatever byte of it changes; the second opening changes nothing."""
    checkpoint_of(FOLDER)
    model_of(FOLDER, "float32", 1, tmp_path)
    (entry,) = [p for p in (tmp_path / "openvino").iterdir() if p.is_dir()]
    written = {p.name: p.read_bytes() for p in entry.iterdir()}
    blob = entry / "step.blob"
    damaged = bytearray(blob.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    blob.write_bytes(damaged)
    model_of.cache_clear()
    model_of(FOLDER, "float32", 1, tmp_path)
    assert {p.name for p in entry.iterdir()} == set(written)
    assert blob.read_bytes() != bytes(damaged)


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    """By its name, with two lanes: the texts of the engine in this process."""
    folder = DEMO / "model"
    model = load_model(
        folder, engine="openvino", precision="float32", threads=2, cache_dir=tmp_path
    )
    inputs, params = demo_inputs(12), params_for(folder, max_new_tokens=16)
    outcomes = drive(model.engine, inputs, params)
    model.close()
    engine = make_engine(folder)
    assert texts(outcomes) == texts(drive(engine, inputs, params))
    engine.close()
    assert model.engine.capabilities.continuous
    assert all(isinstance(outcome, Completion) for outcome in outcomes)


def test_the_rules_are_plain_data() -> None:
    """They cross to the process and back unchanged."""
    import msgspec

    rules = rules_of(FOLDER)
    assert msgspec.convert(msgspec.to_builtins(rules), type(rules)) == rules
