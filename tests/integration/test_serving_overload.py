"""The endpoint under load, against a machine whose time is modelled: no test here takes a while.

Sources, policy, budget, admission and health are the real ones (`support/simulation.py`).
"""

from __future__ import annotations

import pytest

from support.simulation import Machine, Simulation, percentile
from textmill.batching.scheduler import BatchLimits

MACHINES = {
    "one worker": Machine(),
    "two workers": Machine(parallel=2, jitter=0.3),
    "slow": Machine(fixed=0.02, per_token=0.0004, per_step=0.008, per_row_step=0.0012, parallel=4),
    "encoder-bound": Machine(parallel=2, per_token=0.0002),
}
ALONE = {
    name: m.fixed + 80 * m.per_token + 20 * (m.per_step + m.per_row_step)
    for name, m in MACHINES.items()
}


def capacity(machine):
    """Texts a second, of a queue that never ends."""
    simulation = Simulation(machine)
    for _ in range(600):
        simulation.at(0.0, simulation.arrive)
    simulation.run()
    return 600 / simulation.bench.clock.now()


def warmed_up(machine, **settings):
    simulation = Simulation(machine, **settings)
    for n, texts in enumerate((1, 4, 1, 8, 2, 16)):
        simulation.at(0.2 * n, lambda texts=texts: simulation.arrive("warm-up", texts))
    return simulation


@pytest.mark.parametrize("name", MACHINES)
def test_threefold_overload_is_refused_and_what_is_taken_is_answered_in_time(name):
    """In the steady state: p99 within a few percent of the target, at nearly full throughput."""
    machine, slo = MACHINES[name], ALONE[name] * 20
    most = capacity(machine)
    simulation = warmed_up(machine, slo_seconds=slo)
    seconds = 20_000 / (3 * most)
    simulation.users(3 * most, 2.0, 2.0 + seconds)
    simulation.run()
    begin = 2.0 + 10 * slo
    taken = simulation.latencies("", begin=begin)
    assert percentile(taken, 0.95) <= slo
    assert percentile(taken, 0.99) <= slo * 1.1
    assert len(taken) / (2.0 + seconds - begin) >= 0.7 * most
    refused = [s for s in simulation.seen if s.refused]
    assert len(refused) > 0.4 * len(simulation.seen)


@pytest.mark.parametrize("name", MACHINES)
def test_nobody_is_refused_while_there_is_room(name):
    machine, slo = MACHINES[name], ALONE[name] * 40
    simulation = warmed_up(machine, slo_seconds=slo)
    simulation.users(0.5 * capacity(machine), 3.0, 30.0)
    simulation.run()
    assert not any(s.refused for s in simulation.seen)
    assert percentile(simulation.latencies("", begin=3.0), 0.99) < slo


def test_after_an_overload_it_is_as_before_within_a_second():
    machine, slo = MACHINES["two workers"], 0.5
    most = capacity(machine)
    simulation = warmed_up(machine, slo_seconds=slo)
    simulation.users(3 * most, 3.0, 23.0)
    simulation.users(0.3 * most, 24.0, 30.0, kind="after")
    simulation.run()
    after = [s for s in simulation.seen if s.kind == "after"]
    assert not any(s.refused for s in after)
    assert percentile(simulation.latencies("after"), 0.99) < slo / 2


@pytest.mark.parametrize("slo", [None, 0.5])
def test_lists_of_one_client_do_not_starve_the_texts_of_others(slo):
    """Lists of 200 texts come all the time; single texts are answered in a fraction of a list."""
    machine = MACHINES["two workers"]
    most = capacity(machine)
    simulation = warmed_up(machine, slo_seconds=slo)
    for n in range(12):
        simulation.at(2.0 + n * 150 / most, lambda: simulation.arrive("list", 200))
    simulation.users(0.1 * most, 2.0, 2.0 + 1500 / most, kind="single")
    simulation.run()
    lists, singles = simulation.latencies("list"), simulation.latencies("single")
    assert len(lists) >= 6
    assert percentile(singles, 0.95) < 0.5 * percentile(lists, 0.5)
    assert all(s.seconds is not None or s.refused for s in simulation.seen)


def test_without_a_target_batches_fill_up_and_all_are_answered():
    machine = MACHINES["one worker"]
    simulation = warmed_up(machine, limits=BatchLimits(max_batch_tokens=2048))
    for _ in range(400):
        simulation.at(2.0, lambda: simulation.arrive("rush"))
    simulation.run()
    assert len(simulation.latencies("rush")) == 400
    assert max(rows for _, rows in simulation.batches) > 20


def test_with_a_target_no_batch_takes_much_longer_than_its_share():
    machine, slo = MACHINES["one worker"], 0.2
    simulation = warmed_up(machine, slo_seconds=slo)
    simulation.users(2 * capacity(machine), 3.0, 40.0)
    simulation.run()
    late = sorted(seconds for seconds, _ in simulation.batches[20:])
    assert percentile(late, 0.95) < 0.75 * slo


def test_a_machine_that_becomes_slower_is_noticed():
    """Half the speed from one moment on: the endpoint refuses more instead of being late."""
    machine, slo = MACHINES["two workers"], 0.5
    most = capacity(machine)
    simulation = warmed_up(machine, slo_seconds=slo)
    slower = Machine(
        fixed=0.004, per_token=0.00004, per_step=0.0008, per_row_step=0.00012, parallel=2
    )

    def slow_down():
        simulation.machine = slower

    simulation.users(0.8 * most, 2.0, 40.0)
    simulation.at(10.0, slow_down)
    simulation.run()
    later = simulation.latencies("", begin=20.0)
    assert percentile(later, 0.95) <= slo
    assert any(s.refused for s in simulation.seen if s.at > 20)
