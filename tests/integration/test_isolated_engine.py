"""An engine in a process of its own: whatever happens to it costs a record, never the job."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from support.command import environment
from support.ct2 import DEMO, demo_inputs, make_engine, params_for
from support.isolation import (
    FATES,
    PARAMS,
    TIMEOUT_S,
    Collected,
    is_gone,
    requests_with,
    run_loop,
    venomous,
    venomous_engine,
)
from support.waiting import wait_for
from textmill.core import Batch, Completion, Failure, Outcome, Request
from textmill.engines.base import BatchError
from textmill.engines.echo import EchoEngine
from textmill.engines.isolated import IsolatedEngine
from textmill.engines.loading import LoadedModel, load_model
from textmill.engines.wire import Order
from textmill.errors import CorruptModel, EngineError, ModelError
from textmill.testing.engines import Venom


def check(outcomes: list[Outcome], venoms: dict[int, Venom], count: int) -> None:
    """The poisoned have failed as they should, the others have their answers."""
    assert [outcome.request.ordinal for outcome in outcomes] == list(range(count))
    for position, outcome in enumerate(outcomes):
        if position in venoms:
            code, words = FATES[venoms[position]]
            assert isinstance(outcome, Failure)
            assert outcome.code is code, outcome.message
            assert words in outcome.message
        else:
            assert isinstance(outcome, Completion)
            assert outcome.sequences[0].ids == outcome.request.ids


def timeout_for(venom: Venom) -> float | None:
    """Only what hangs needs one, and whatever has one waits for it or is endangered by it."""
    return TIMEOUT_S if venom in (Venom.HANG, Venom.HANG_IN_NATIVE_CODE) else None


@pytest.mark.parametrize("venom", FATES)
def test_poison_alone_fails_with_its_code(venom: Venom) -> None:
    venoms = {0: venom}
    with venomous(timeout_s=timeout_for(venom)) as engine:
        outcomes = run_loop(engine, requests_with(venoms, 1))
        check(outcomes, venoms, 1)
        check(run_loop(engine, requests_with({}, 1)), {}, 1)  # and the engine goes on
    assert isinstance(outcomes[0], Failure)
    assert outcomes[0].attempts == (3 if venom is Venom.KILL else 1)


@pytest.mark.parametrize("venom", FATES)
def test_poison_among_50_neighbours_hurts_none_of_them(venom: Venom) -> None:
    venoms = {23: venom}
    with venomous(timeout_s=timeout_for(venom), parallel=2) as engine:
        check(run_loop(engine, requests_with(venoms, 51)), venoms, 51)


def test_every_poison_in_one_job() -> None:
    venoms = {5 * n + 2: venom for n, venom in enumerate(FATES)}
    with venomous(timeout_s=TIMEOUT_S, parallel=2) as engine:
        check(run_loop(engine, requests_with(venoms, 64), rows=4), venoms, 64)


class WatchedEngine(IsolatedEngine):
    """Notes the processes it had."""

    def step(self) -> Sequence[Outcome]:
        outcomes = super().step()
        self.pids = {*getattr(self, "pids", ()), self.pid}
        return outcomes


def test_a_bisected_crash_restarts_no_innocent_batch() -> None:
    """The halves of a batch that crashed are tried alone at once, so a level costs few crashes."""
    venoms = {9: Venom.SEGFAULT}
    order = Order("textmill.testing.engines:venomous", {})
    with closing(WatchedEngine(order, EchoEngine(), parallel=2)) as engine:
        check(run_loop(engine, requests_with(venoms, 64), rows=16), venoms, 64)
    assert len(engine.pids) <= 2 + 2 * 4  # two for the batch, at most two for each halving


def test_slow_progress_is_no_hang() -> None:
    """Twelve batches of 0.2 s wait for each other under a limit of 2 s for each."""
    venoms = dict.fromkeys(range(12), Venom.SLOW)
    with venomous(timeout_s=2.0, parallel=2) as engine:
        engine.wait_until_loaded()
        before = engine.pid
        outcomes = run_loop(engine, requests_with(venoms, 12), rows=1)
        assert all(isinstance(outcome, Completion) for outcome in outcomes)
        assert engine.pid == before


def test_no_time_limit_is_none() -> None:
    with venomous(timeout_s=None) as engine:
        outcomes = run_loop(engine, requests_with({0: Venom.SLOW}, 2))
        assert all(isinstance(outcome, Completion) for outcome in outcomes)


def test_time_while_the_parent_was_stopped_does_not_count() -> None:
    """A suspended terminal job is continued, and no record has timed out."""
    program = (
        "from support.isolation import *;"
        "engine = venomous_engine(timeout_s=1.5);"
        "engine.wait_until_loaded(); print(engine.pid, flush=True);"
        "outcomes = run_loop(engine, requests_with({n: Venom.SLOW for n in range(12)}, 12), 1);"
        "engine.close(); print(sum(hasattr(o, 'sequences') for o in outcomes))"
    )
    with start(program) as process:
        worker = first_number(process)
        time.sleep(0.3)
        for pid in (process.pid, worker):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(3)
        for pid in (process.pid, worker):
            os.kill(pid, signal.SIGCONT)
        assert process.stdout is not None
        assert process.stdout.read().split() == [b"12"]
        assert process.wait(120) == 0


def test_batches_with_equal_requests_are_told_apart() -> None:
    """Serials name batches, not their numbers or records."""
    with venomous(parallel=2) as engine:
        batch = Batch(0, (Request(0, 0, [1, 2], PARAMS),))
        rooms = []
        for _ in range(6):
            rooms.append(engine.room())
            engine.add(batch)
        assert [*rooms, engine.room()] == [6, 5, 4, 3, 2, 1, 0]
        assert sum(len(engine.step()) for _ in range(6)) == 6
        assert engine.step() == ()
        assert engine.room() == 6


def test_large_batches_pass_in_both_directions() -> None:
    """Megabytes each way at the same time: nobody waits for the other to read first."""
    requests = [Request(n, 0, list(range(10_000 + n, 300_000)), PARAMS) for n in range(6)]
    with venomous(parallel=2) as engine:
        outcomes = run_loop(engine, requests, rows=1)
    ids = [o.sequences[0].ids for o in outcomes if isinstance(o, Completion)]
    assert ids == [request.ids[: PARAMS.max_new_tokens] for request in requests]


def test_what_cannot_be_sent_fails_its_batch_only() -> None:
    """Half a surrogate pair in a stop string, a number of 65 bits, nothing at all."""
    with venomous() as engine:
        for requests in (
            (Request(0, 0, [1], replace(PARAMS, stop=("\ud800",))),),
            (Request(0, 0, [1 << 64], PARAMS),),
            (),
        ):
            with pytest.raises(BatchError) as error:
                engine.add(Batch(0, requests))
            assert isinstance(error.value.__cause__, EngineError)
        check(run_loop(engine, requests_with({}, 3)), {}, 3)


def test_an_interrupted_loop_leaves_nothing_for_the_next() -> None:
    """Neither answers nor a process that goes on computing what nobody wants."""

    class Interrupted(Collected):
        def give(self, outcomes: Sequence[Outcome]) -> None:
            raise KeyboardInterrupt

    with venomous(parallel=2) as engine:
        first = [Request(n, 0, [9] * (9 - n), PARAMS) for n in range(5)]
        with pytest.raises(KeyboardInterrupt):
            run_loop(engine, first, rows=1, sink=Interrupted())
        assert engine.pid is None
        assert engine.step() == ()
        check(run_loop(engine, requests_with({}, 3)), {}, 3)


@pytest.mark.parametrize("used", [False, True])
def test_close_ends_the_process_at_once(used: bool) -> None:
    with venomous() as engine:
        pid = engine.pid
        assert pid is not None
        if used:
            engine.wait_until_loaded()
            engine.add(Batch(0, (Request(0, 0, [int(Venom.HANG_IN_NATIVE_CODE)], PARAMS),)))
        engine.close()
        assert not Path(f"/proc/{pid}").exists()  # no zombie either
        engine.close()
        assert engine.step() == ()
        with pytest.raises(BatchError):
            engine.add(Batch(1, (Request(0, 0, [1], PARAMS),)))


def test_an_engine_that_is_dropped_ends_its_process() -> None:
    with venomous() as engine:
        pid = engine.pid
        again = venomous_engine()
        other = again.pid
        del again
        gc.collect()
        assert not Path(f"/proc/{other}").exists()
        assert Path(f"/proc/{pid}").exists()


def test_a_load_error_comes_back_as_it_was(tmp_path: Path) -> None:
    """Class, message and hint; other errors of loading are a ModelError."""
    engine = IsolatedEngine(Order("support.isolation:corrupt", {}), EchoEngine())
    with pytest.raises(CorruptModel) as error:
        engine.wait_until_loaded()
    assert (error.value.message, error.value.hint) == ("bad bytes", "fetch it again")
    engine = IsolatedEngine(
        Order("textmill.engines.ct2.engine:load", ct2_arguments(tmp_path)), EchoEngine()
    )
    with pytest.raises(ModelError, match="cannot load"):
        engine.wait_until_loaded()


def ct2_arguments(folder: Path) -> dict[str, object]:
    rules = {
        "precision": "int8",
        "workers": 1,
        "vocab_size": 9,
        "decoder_vocab_size": 9,
        "max_positions": None,
    }
    return {"model": str(folder), "rules": rules, "tokenizer": "", "seed": 0}


@pytest.mark.parametrize(
    ("venom", "words"),
    [
        (Venom.NO_MEMORY, "not enough memory"),
        (Venom.SEGFAULT, "3 times its process was ended by SIGSEGV"),
        (Venom.EXIT, "3 times its process ended with exit status 9"),
    ],
)
def test_an_engine_that_dies_loading_ends_the_job(venom: Venom, words: str) -> None:
    with venomous(load=venom) as engine, pytest.raises(ModelError, match=words):
        run_loop(engine, requests_with({}, 3))


def test_a_process_killed_while_it_loads_is_started_again() -> None:
    with venomous() as engine:
        first = engine.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        check(run_loop(engine, requests_with({}, 3)), {}, 3)
        assert engine.pid != first


def test_a_system_without_room_for_a_process_is_an_error() -> None:
    """Here: no file descriptors are left."""
    program = (
        "import resource; from support.isolation import *; from textmill.errors import ModelError\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (6, 6))\n"
        "try: venomous_engine()\n"
        "except ModelError as error: print('cannot be started' in error.message)"
    )
    with start(program) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"True\n"


def start(program: str) -> subprocess.Popen[bytes]:
    """A Python of its own."""
    tests = Path(__file__).parents[1]
    env = environment()
    env["PYTHONPATH"] += os.pathsep + str(tests)
    return subprocess.Popen(
        [sys.executable, "-c", program], env=env, stdout=subprocess.PIPE, stderr=sys.stderr
    )


def first_number(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


@pytest.mark.parametrize("venom", [None, Venom.HANG, Venom.HANG_IN_NATIVE_CODE])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_process_ends_with_its_parent(venom: Venom | None, how: signal.Signals) -> None:
    """Whatever it is doing: waiting, computing, hanging in native code."""
    requests = f"requests_with({{0: {int(venom)}}}, 1)" if venom else "()"
    program = (
        "import time; from support.isolation import *;"
        "engine = venomous_engine(timeout_s=None);"
        "engine.wait_until_loaded(); print(engine.pid, flush=True);"
        f"run_loop(engine, {requests}); time.sleep(60)"
    )
    with start(program) as process:
        worker = first_number(process)
        assert not is_gone(worker)
        time.sleep(0.2)
        process.send_signal(how)
        process.wait(120)
        wait_for(lambda: is_gone(worker))


def test_an_engine_left_open_does_not_hold_up_the_end() -> None:
    """The interpreter ends, says nothing, and leaves no process."""
    program = (
        "from support.isolation import *; engine = venomous_engine();"
        "print(engine.pid, flush=True); engine.wait_until_loaded()"
    )
    with start(program) as process:
        worker = first_number(process)
        assert process.wait(120) == 0
    assert is_gone(worker)


def test_ctrl_c_reaches_the_parent_only() -> None:
    with venomous() as engine:
        assert engine.pid is not None
        assert os.getpgid(engine.pid) == engine.pid
        assert os.getsid(engine.pid) == os.getsid(0)


def test_the_kernel_kills_the_process_before_its_parent() -> None:
    with venomous() as engine:
        engine.wait_until_loaded()
        ours = int(Path("/proc/self/oom_score_adj").read_text())
        theirs = int(Path(f"/proc/{engine.pid}/oom_score_adj").read_text())
        assert theirs == min(1000, ours + 500)


def test_what_the_engine_prints_never_reaches_our_output() -> None:
    program = (
        "from support.isolation import *; from textmill.engines.wire import Order;"
        "engine = IsolatedEngine(Order('support.isolation:chatty', {}), EchoEngine());"
        "n = len(run_loop(engine, requests_with({}, 40))); engine.close(); print(n)"
    )
    with start(program) as process:
        assert process.stdout is not None
        assert process.stdout.read() == b"40\n"
    assert process.returncode == 0


class Killer:
    """Kills an engine's process at random moments, while it is used."""

    def __init__(self, engine: IsolatedEngine, kills: int, seed: int) -> None:
        self._engine, self._left, self._random = engine, kills, random.Random(seed)
        self.kills = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def done(self) -> bool:
        return self._left <= self.kills

    def _run(self) -> None:
        while not self.done and not self._stop.wait(self._random.uniform(0, 1.6)):
            pid = self._engine.pid
            if pid is not None and not is_gone(pid):
                os.kill(pid, signal.SIGKILL)
                self.kills += 1


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """The demo model in int8, whose texts may depend on their batch: it must stay the same."""
    return load_model(DEMO / "model", threads=2, cache_dir=tmp_path_factory.mktemp("cache"))


def demo_requests(count: int) -> list[Request]:
    params = params_for(DEMO / "model", max_new_tokens=32)
    return [Request(n, 0, ids, params) for n, ids in enumerate(demo_inputs(count))]


def check_kills(demo: LoadedModel, kills: int, seed: int) -> None:
    engine = demo.engine
    assert isinstance(engine, IsolatedEngine)
    requests = demo_requests(120)
    undisturbed = run_loop(engine, requests, rows=16)
    assert all(isinstance(outcome, Completion) for outcome in undisturbed)
    with Killer(engine, kills, seed) as killer:
        rounds = 0
        while not killer.done:
            assert run_loop(engine, requests, rows=16) == undisturbed
            rounds += 1
    print(f"{killer.kills} kills in {rounds} runs of 120 records")


def test_random_kills_change_nothing(demo: LoadedModel) -> None:
    check_kills(demo, kills=8, seed=1)


@pytest.mark.full
def test_200_random_kills_change_nothing(demo: LoadedModel) -> None:
    check_kills(demo, kills=200, seed=2)


def test_texts_are_those_of_the_engine_in_this_process(demo: LoadedModel) -> None:
    """Greedy, beams, samples, stop strings and scores."""
    assert demo.checkpoint is not None
    inside = make_engine(DEMO / "model", precision="int8", threads=2, decode=demo.tokenizer.decode)
    greedy = demo_requests(12)
    for settings in (
        {},
        {"num_beams": 3, "num_return_sequences": 2},
        {"do_sample": True, "top_k": 20, "seed": 3},
        {"do_sample": True, "top_k": 20},
        {"stop": (" a", "the")},
        {"max_time": 60.0},
    ):
        params = replace(greedy[0].params, **settings)
        requests = [replace(request, params=params) for request in greedy]
        assert run_loop(demo.engine, requests) == run_loop(inside, requests)
    inside.close()
