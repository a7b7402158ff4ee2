"""What happens to a run is told as it happens, and counted."""

from __future__ import annotations

from support.isolation import requests_with, run_loop, venomous
from textmill.engines.echo import EchoEngine
from textmill.telemetry import Notes
from textmill.testing.engines import PoisonEngine, Venom


def test_a_process_that_dies_is_told_with_how_it_died():
    told: list[str] = []
    with Notes(told.append) as notes, venomous() as engine:
        run_loop(engine, requests_with({1: Venom.ABORT}, 4))
    assert set(notes.counts) == {"restarted"}
    assert notes.counts["restarted"] >= 2, "among its neighbours, and alone"
    assert "SIGABRT" in told[0]
    assert told[0].endswith("it is started again")


def test_batches_that_shrink_are_told_with_their_new_size():
    told: list[str] = []
    engine = PoisonEngine(EchoEngine(), lambda request: request.ordinal == 1, error=MemoryError())
    with Notes(told.append) as notes:
        run_loop(engine, requests_with({}, 4))
    assert notes.counts["shrunk"] >= 1
    assert told[0].startswith("memory ran out: batches have at most ")
