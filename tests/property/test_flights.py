"""Whoever dies of it is condemned, nobody else, whenever processes are killed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from textmill.core import Batch, Params, Request
from textmill.engines.flights import Flights

PARAMS = Params()
TRIES_WHEN_KILLED = 3


def batch(number: int, size: int = 1) -> Batch:
    return Batch(number, tuple(Request(number, n, [1], PARAMS) for n in range(size)))


class Process:
    """A model of what computes: it dies of poison, answers in any order, and can be killed."""

    def __init__(self) -> None:
        self.has: list[int] = []
        self.answered = 0


def fill(flights: Flights, todo: list[int], sizes: dict[int, int]) -> None:
    while todo and flights.room():
        number = todo.pop(0)
        serial = flights.new_serial()
        flights.add(serial, batch(number, sizes[number]), Raw(b""))


@given(data=st.data(), count=st.integers(0, 12), parallel=st.integers(1, 3))
def test_only_poison_is_condemned_and_all_else_is_answered(data, count, parallel) -> None:
    """At most two kills that are nobody's fault may come between two answers."""
    poison = data.draw(st.sets(st.integers(0, max(0, count - 1)), max_size=4)) if count else set()
    flights, process = Flights(parallel), Process()
    todo, sizes = list(range(count)), dict.fromkeys(range(count), 1)
    numbers: dict[int, int] = {}
    answered, condemned, kills = [], [], 0
    fill(flights, todo, sizes)
    while flights:
        for flight in flights.send(0.0):
            numbers[flight.serial] = flight.batch.number
            process.has.append(flight.serial)
        fates = ["answer"] + ["kill"] * (kills < TRIES_WHEN_KILLED - 1)
        fate = data.draw(st.sampled_from(fates))
        computed = process.has[:parallel]
        if fate == "answer" and not any(numbers[s] in poison for s in computed):
            serial = data.draw(st.sampled_from(computed))
            process.has.remove(serial)
            process.answered += 1
            answered.append(flights.answered(serial, 0.0).batch.number)
            kills = 0
        else:
            kills += fate == "kill"
            tries = TRIES_WHEN_KILLED if fate == "kill" else 1
            found = flights.died(tries=tries, fresh=not process.answered)
            process = Process()
            if found:
                condemned.append(found.batch.number)
                kills = 0
        fill(flights, todo, sizes)
    assert sorted(condemned) == sorted(poison)
    assert sorted(answered) == sorted(set(range(count)) - poison)


def test_suspects_are_sent_alone_and_nothing_else_is_taken() -> None:
    flights = Flights(2)
    fill(flights, [0, 1, 2], dict.fromkeys(range(3), 1))
    assert [f.batch.number for f in flights.send(0.0)] == [0, 1, 2]
    assert flights.died(tries=1, fresh=True) is None
    for number in range(3):
        assert flights.room() == 0
        (flight,) = flights.send(0.0)
        assert flight.batch.number == number
        assert flights.send(0.0) == []
        flights.answered(flight.serial, 0.0)
    assert flights.room() == 6


def test_a_trial_in_a_used_process_condemns_nobody() -> None:
    flights = Flights(1)
    fill(flights, [0], {0: 1})
    flights.send(0.0)
    assert flights.died(tries=1, fresh=False) is None
    flights.send(0.0)
    condemned = flights.died(tries=1, fresh=True)
    assert condemned is not None
    assert condemned.attempts == 2


def test_halves_of_the_condemned_are_suspects_from_the_start() -> None:
    flights = Flights(2)
    whole = batch(0, 4)
    flights.add(0, whole, Raw(b""))
    flights.send(0.0)
    assert flights.died(tries=1, fresh=True) is not None
    flights.add(1, Batch(0, whole.requests[:2]), Raw(b""))
    assert flights.room() == 0
    flights.add(2, batch(7), Raw(b""))
    assert [f.serial for f in flights.send(0.0)] == [1]
    flights.answered(1, 0.0)
    flights.add(3, Batch(2, whole.requests[2:]), Raw(b""))
    assert [f.serial for f in flights.send(0.0)] == [3]
    flights.answered(3, 0.0)
    assert [f.serial for f in flights.send(0.0)] == [2]


def test_time_counts_while_a_batch_is_computed() -> None:
    """With two at a time, the third's clock starts when one of the first two is done."""
    flights = Flights(2)
    fill(flights, [0, 1, 2], dict.fromkeys(range(3), 1))
    flights.send(10.0)
    assert flights.first_start() == 10.0
    flights.answered(0, 13.0)
    flights.answered(1, 14.0)
    assert flights.first_start() == 13.0
    flights.forgive(5.0)
    assert flights.first_start() == 18.0


def test_who_was_not_late_waits_again_and_is_no_suspect() -> None:
    flights = Flights(1)
    fill(flights, [0, 1, 2], dict.fromkeys(range(3), 1))
    flights.send(10.0)
    assert flights.overdue(10.0) is None
    (late,) = flights.send(20.0)
    assert late.batch.number == 0
    condemned = flights.overdue(20.0)
    assert condemned is late
    assert [f.batch.number for f in flights.send(30.0)] == [1, 2]
