"""A step can be ended early, so that what arrives meanwhile reaches a free engine at once."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from queue import SimpleQueue

from support.ct2 import DEMO, demo_inputs, make_engine, params_for
from support.isolation import PARAMS, requests_with, venomous
from textmill.batching.clock import ManualClock
from textmill.batching.loop import Loop
from textmill.batching.scheduler import BatchLimits, Scheduler
from textmill.core import Batch, Request
from textmill.engines.echo import EchoEngine
from textmill.testing.engines import Venom

MODEL = DEMO / "model"


def later(seconds, call):
    timer = threading.Timer(seconds, call)
    timer.start()
    return timer


def test_a_step_that_is_interrupted_returns_nothing_and_the_next_one_goes_on():
    with venomous() as engine:
        engine.wait_until_loaded()
        engine.add(Batch(0, tuple(requests_with({0: Venom.SLOW}, 1))))
        timer = later(0.02, engine.interrupt)
        assert engine.step() == ()
        timer.join()
        (outcome,) = engine.step()
        assert outcome.request.ordinal == 0


def test_an_interrupt_before_a_step_counts_for_it_once():
    with venomous() as engine:
        engine.wait_until_loaded()
        engine.interrupt()
        engine.interrupt()
        engine.add(Batch(0, tuple(requests_with({0: Venom.SLOW}, 1))))
        steps = [engine.step()]
        while not steps[-1]:
            steps.append(engine.step())
        assert len(steps) <= 3


def test_a_worker_that_is_free_starts_what_comes_while_another_computes():
    """In CTranslate2: the short batch that comes later is done first."""
    with closing(make_engine(MODEL, threads=2)) as engine:
        ids = demo_inputs(2)
        long = Request(0, 0, ids[0], params_for(MODEL, max_new_tokens=400, min_new_tokens=400))
        short = Request(1, 0, ids[1], params_for(MODEL, max_new_tokens=1))
        engine.add(Batch(0, (long,)))
        timer = later(0.01, engine.interrupt)
        assert engine.step() == ()
        timer.join()
        engine.add(Batch(1, (short,)))
        assert [outcome.request.ordinal for outcome in engine.step()] == [1]


class Arriving:
    """A source that has more only after the loop has begun to wait for the engine."""

    def __init__(self):
        self.windows = SimpleQueue()
        self.given = 0

    def take(self, *, wait):
        if not wait and self.windows.empty():
            return ()
        window = self.windows.get()
        self.given += window is not None
        return window

    def wanted(self, batch):
        return batch


def test_a_loop_that_is_woken_takes_what_came_while_the_engine_computes():
    source = Arriving()
    order = []

    class Sink:
        def give(self, outcomes):
            order.append([outcome.request.ordinal for outcome in outcomes])

    slow, quick = requests_with({0: Venom.SLOW}, 2)
    with venomous(parallel=1) as engine:
        engine.wait_until_loaded()
        scheduler = Scheduler(BatchLimits(), engine.group, padded=True)
        loop = Loop(source, scheduler, engine, Sink())
        thread = threading.Thread(target=loop.run)
        thread.start()
        source.windows.put([slow])
        time.sleep(0.05)
        source.windows.put([quick])
        loop.wake()
        for _ in range(100):
            if source.given == 2:
                break
            time.sleep(0.001)
        assert source.given == 2
        assert order == []  # the slow one still computes: nobody waited for it
        source.windows.put(None)
        thread.join()
    assert order == [[0], [1]]


def test_waking_an_engine_that_cannot_be_interrupted_does_nothing():
    source = Arriving()
    source.windows.put([Request(0, 0, [1], PARAMS)])
    source.windows.put(None)
    given = []

    class Sink:
        def give(self, outcomes):
            given.extend(outcomes)

    engine = EchoEngine()
    loop = Loop(
        source,
        Scheduler(BatchLimits(), engine.group, padded=False),
        engine,
        Sink(),
        clock=ManualClock(),
    )
    loop.wake()
    loop.run()
    assert len(given) == 1
