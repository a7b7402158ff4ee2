"""A long job in the openvino engine: memory stays what it was after some hundreds of records."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from support.ct2 import params_for
from support.driving import random_inputs
from support.tiny_models import tiny_model
from textmill.core import Batch, Completion, Request
from textmill.engines.base import Engine

pytest.importorskip("openvino")

from support.openvino import make_engine

FOLDER = tiny_model("flan-t5")
OF_A_ROUND = 300


def resident_mb() -> float:
    """Memory of this process that no file stands behind."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.split("RssAnon:")[1].split()[0]) / 1024


def requests(seed: int) -> list[Request]:
    """Different lengths, searches and numbers of tokens, other ones for each seed."""
    chance = random.Random(seed)
    return [
        Request(
            n,
            0,
            ids,
            params_for(
                FOLDER,
                max_new_tokens=chance.choice([2, 6, 20]),
                num_beams=chance.choice([1, 1, 1, 3]),
            ),
        )
        for n, ids in enumerate(random_inputs(OF_A_ROUND, seed=seed, end=1, longest=80))
    ]


def compute(engine: Engine, given: list[Request]) -> None:
    batches = [Batch(at, tuple(given[at : at + 50])) for at in range(0, len(given), 50)]
    left = len(given)
    while batches or left:
        while batches and engine.room():
            engine.add(batches.pop(0))
        outcomes = engine.step()
        assert all(isinstance(outcome, Completion) for outcome in outcomes)
        left -= len(outcomes)


@pytest.mark.parametrize(
    "rounds", [6, pytest.param(200, marks=pytest.mark.full)], ids=lambda n: f"{n * OF_A_ROUND}"
)
def test_memory_is_flat_once_all_shapes_were_seen(rounds: int) -> None:
    engine = make_engine(FOLDER)
    warm = max(3, rounds // 4)
    for number in range(warm):
        compute(engine, requests(number))
    before = resident_mb()
    for number in range(warm, warm + rounds):
        compute(engine, requests(number))
    after = resident_mb()
    engine.close()
    assert after - before < 15 + 0.1 * rounds, f"{before:.0f} MB, then {after:.0f} MB"
