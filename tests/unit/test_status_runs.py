"""What a journal says of a job's runs, and whether their process is there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from support.waiting import wait_for
from textmill.errors import InputError
from textmill.transform.journal import BatchStarted, Progressed, RunBegan, RunStopped
from textmill.transform.liveness import is_alive, parse_time
from textmill.transform.runs import SILENT_AFTER_SECONDS, State, judge, runs_of, speed_of

T0 = datetime(2026, 11, 22, 20, tzinfo=UTC)


def at(seconds):
    return (T0 + timedelta(seconds=seconds)).isoformat(timespec="seconds")


def began(seconds=0, host="box", pid=4711):
    return RunBegan(at=at(seconds), host=host, pid=pid)


def progress(seconds, rows, resumed=0, total=1000):
    return Progressed(
        at=at(seconds), rows=rows, resumed=resumed, ok=rows, failed=0, total=total, codes={}
    )


def state(events, alive, now=0):
    return judge(runs_of(events), alive, T0 + timedelta(seconds=now))[0]


def test_the_last_run_decides():
    events = [began(0), BatchStarted(0, 1), began(10), progress(12, 5), RunStopped(at=at(13))]
    runs = runs_of([*events, began(20), progress(25, 7)])
    assert (runs.count, runs.unended) == (3, 2)
    assert (runs.last.at, [e.rows for e in runs.progress], runs.stopped) == (at(20), [7], None)
    assert runs.last_sign == at(25)


def test_a_stop_ends_a_run_whatever_its_process_does_afterwards():
    events = [began(0), RunStopped(at=at(3))]
    assert {state(events, alive) for alive in (True, False, None)} == {State.STOPPED}


def test_a_run_without_a_stop_is_what_its_process_is():
    assert state([began(0)], alive=True) is State.RUNNING
    assert state([began(0)], alive=False) is State.DIED
    assert state([], alive=None) is State.STOPPED


def test_a_run_elsewhere_is_judged_by_its_last_sign_of_life():
    events = [began(0), progress(50, 5)]
    assert state(events, None, 50 + SILENT_AFTER_SECONDS) is State.RUNNING
    assert state(events, None, 51 + SILENT_AFTER_SECONDS) is State.SILENT
    _, why = judge(runs_of(events), None, T0 + timedelta(days=1))
    assert why == f"no sign of life from process 4711 on box since {at(50)}"


def test_speed_is_of_the_last_minute_and_of_the_whole_run_without_resumed_rows():
    events = [began(0), *(progress(n, 500 + n, resumed=500) for n in range(1, 101))]
    events += [progress(100 + n, 600 + 3 * n, resumed=500) for n in range(1, 61)]
    speed = speed_of(runs_of(events))
    assert speed.recent == pytest.approx(3.0)
    assert speed.run == pytest.approx((100 + 180) / 160)


def test_a_run_younger_than_a_minute_has_one_speed():
    speed = speed_of(runs_of([began(0), progress(4, 40), progress(10, 50)]))
    assert (speed.recent, speed.run) == (5.0, 5.0)


def test_no_speed_without_progress_or_time():
    assert speed_of(runs_of([began(0)])).run is None
    assert speed_of(runs_of([began(0), progress(0, 10)])).recent is None


def test_this_process_is_alive_and_one_of_its_number_that_began_later_is_not():
    host, pid = socket.gethostname(), os.getpid()
    now = datetime.now(UTC)
    assert is_alive(RunBegan(at=now.isoformat(), host=host, pid=pid))
    if sys.platform == "linux":
        long_ago = (now - timedelta(days=1)).isoformat()
        assert not is_alive(RunBegan(at=long_ago, host=host, pid=pid))


def test_another_hosts_process_cannot_be_asked():
    assert is_alive(RunBegan(at=at(0), host=f"not-{socket.gethostname()}", pid=1)) is None


@pytest.mark.parametrize("pid", [0, -1, 2**70])
def test_numbers_that_are_no_process_are_not_alive(pid):
    run = RunBegan(at=at(0), host=socket.gethostname(), pid=pid)
    assert is_alive(run) is False


@pytest.mark.skipif(sys.platform != "linux", reason="only /proc tells")
def test_a_killed_process_that_nobody_has_waited_for_is_dead():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    run = RunBegan(at=datetime.now(UTC).isoformat(), host=socket.gethostname(), pid=process.pid)
    assert is_alive(run)
    process.kill()
    wait_for(lambda: not is_alive(run))
    process.wait()


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "2026-11-22T20:00:00+99:00"])
def test_what_is_no_time_is_damage(text):
    with pytest.raises(InputError, match="is not a time"):
        parse_time(text)
