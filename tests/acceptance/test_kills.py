"""Jobs killed at random moments, and two runs of one job at once.

`kill -9` comes at a moment drawn from a seeded generator; the same line runs again until the job
is done. What it comes to must be what an uninterrupted run comes to, byte for byte.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest

import textmill as tm
from support.command import environment, textmill, write_lines
from support.crashing import Child, Job, descendants, left_behind, snapshot

DATA = Path(tm.__file__).parent / "assets" / "demo" / "data" / "packages.jsonl"
DEMO = ("--model", "demo", "--threads", "1", "--prompt", "Briefly summarize this text: {document}")
DECODING = {
    "greedy, int8": (),
    "greedy, float32": ("--precision", "float32"),
    "4 beams": ("--set", "num_beams=4"),
    "sampled": ("--seed", "5", "--set", "do_sample=true", "--set", "top_k=20"),
}


class Kills:
    """A job that is killed over and over. `deaths`: kills that found it alive, so far.

    flags: of its line. longest: kills come at most so many seconds after the start; merging: how
    many of them a merge may take.
    """

    def __init__(self, folder, source, flags, env, seed):
        self.source, self.flags, self.env = source, flags, env
        self.folder = folder
        self.chance = random.Random(seed)
        self.deaths = self.finished = 0
        started = time.monotonic()
        (folder / "whole").mkdir()
        ran = textmill(*self.arguments("whole"), env=env)
        assert ran.code in (0, 3), ran.err
        self.code, self.longest = ran.code, time.monotonic() - started
        self.merging = 0.1 * self.longest
        self.expected = snapshot(folder / "whole")

    def arguments(self, place):
        return ("run", self.source, "-o", self.folder / place / "out.jsonl", *self.flags)

    def start(self, place):
        return subprocess.Popen(
            [sys.executable, "-m", "textmill", *map(str, self.arguments(place))],
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def until_done(self, place, wait):
        """Start, kill after `wait(process)`, start again, at most eight times; then to the end."""
        (self.folder / place).mkdir()
        left, deaths_before = self.chance.randint(2, 8), self.deaths
        while True:
            process, started = self.start(place), time.monotonic()
            if left:
                wait(process)
                self.kill(process)
            left = max(left - 1, 0)
            _, err = process.communicate(timeout=120)
            assert not left_behind(process.pid)
            assert b"Traceback" not in err, err.decode()
            if process.returncode != -signal.SIGKILL:
                break
            self.deaths += 1
        if self.deaths == deaths_before:  # the very first run also made the model ready
            self.longest = min(self.longest, time.monotonic() - started)
        assert process.returncode == self.code, err.decode()
        assert snapshot(self.folder / place) == self.expected
        self.finished += 1

    def kill(self, process):
        """Kill the run, or, where it has processes of its own, one of them as well."""
        children = descendants(process.pid)
        if children and self.chance.random() < 0.5:
            with suppress(ProcessLookupError):
                os.kill(self.chance.choice(children), signal.SIGKILL)
            time.sleep(self.chance.random() * 0.2)
        process.kill()

    def at_any_moment(self, process):
        with suppress(subprocess.TimeoutExpired):
            process.wait(self.chance.random() * self.longest)

    def while_merging(self, process):
        """Until the unfinished output has some bytes, and a little longer."""
        unfinished = Path(str(process.args[process.args.index("-o") + 1]) + ".unfinished")
        while process.poll() is None:
            with suppress(FileNotFoundError):
                if unfinished.stat().st_size:
                    break
            time.sleep(0.001)
        with suppress(subprocess.TimeoutExpired):
            process.wait(self.chance.random() * self.merging)


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    return environment(
        TEXTMILL_HOME=str(tmp_path_factory.mktemp("home")),
        OMP_NUM_THREADS="1",
        PYTHONWARNINGS="default::UserWarning",
    )


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    lines = DATA.read_bytes().splitlines(keepends=True)

    def some(number):
        path = tmp_path_factory.mktemp("records") / "in.jsonl"
        path.write_bytes(b"".join(lines[:number]))
        return path

    return some


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    def rows(number):
        some = (
            {"id": i, "text_inputs": f"text number {i} " + "x" * (i % 50)} for i in range(number)
        )
        return write_lines(tmp_path_factory.mktemp("many") / "in.jsonl", *some)

    return rows


def kill_often(kills, wanted, wait):
    for number in count():
        if kills.deaths >= wanted:
            break
        kills.until_done(f"out{number}", wait)
    print(f"{kills.deaths} kills, {kills.finished} jobs came to their end")


@pytest.mark.parametrize("decoding", ["greedy, int8", "4 beams", "sampled"])
def test_a_model_job_killed_at_random_resumes(tmp_path, records, env, decoding):
    kills = Kills(tmp_path, records(40), (*DEMO, *DECODING[decoding]), env, decoding)
    kill_often(kills, 2, kills.at_any_moment)


@pytest.mark.full
@pytest.mark.parametrize("decoding", DECODING)
def test_a_model_job_killed_35_times_at_random_resumes(tmp_path, records, env, decoding):
    kills = Kills(tmp_path, records(240), (*DEMO, *DECODING[decoding]), env, decoding)
    kill_often(kills, 35, kills.at_any_moment)


@pytest.mark.full
def test_a_long_job_killed_30_times_at_random_resumes(tmp_path, many, env):
    kills = Kills(tmp_path, many(150_000), ("--engine", "echo"), env, 1)
    kill_often(kills, 30, kills.at_any_moment)


@pytest.mark.full
def test_a_long_job_killed_30_times_while_it_merges_resumes(tmp_path, many, env):
    kills = Kills(tmp_path, many(150_000), ("--engine", "echo"), env, 2)
    kill_often(kills, 30, kills.while_merging)


def test_a_long_job_killed_while_it_merges_resumes(tmp_path, many, env):
    kills = Kills(tmp_path, many(40_000), ("--engine", "echo"), env, 3)
    kill_often(kills, 2, kills.while_merging)


# Two runs at once

ECHO = ("--engine", "echo", "--max-batch-tokens", "1500")
BUSY = "another run is working on this output"


def some_rows(folder):
    rows = [{"id": i, "text_inputs": f"text number {i} " + "x" * (i % 7)} for i in range(300)]
    write_lines(folder / "in.jsonl", *rows[:9], b"{", *rows[9:])


def over_an_output(folder):
    some_rows(folder)
    textmill("run", folder / "in.jsonl", "-o", folder / "out.jsonl", *ECHO)


@pytest.fixture(scope="module")
def children(tmp_path_factory):
    home = tmp_path_factory.mktemp("children")
    with Child(home / "0") as first, Child(home / "1") as second:
        yield first, second


@pytest.fixture(scope="module", params=["new", "fresh", "from standard input"])
def job(request, tmp_path_factory):
    home = tmp_path_factory.mktemp("job")
    if request.param == "fresh":
        return Job("fresh", home, over_an_output, *ECHO, "--fresh")
    return Job(request.param, home, some_rows, *ECHO, from_stdin=request.param != "new")


def check_both(job, folder, runs):
    """Each has done the job or refused because of the other; the result is that of one run."""
    for ran in runs:
        refused = ran.code == 2 and BUSY in ran.err
        assert ran.code == job.code or refused, (ran.code, ran.err)
    assert job.code in [ran.code for ran in runs]
    assert snapshot(folder) == job.expected


def race(job, children, chance):
    folder = job.lay_out("race")
    ended = [None, None]

    def go(number, delay):
        time.sleep(delay)
        ended[number] = children[number].run(job.arguments(folder), **job.request(folder))

    latest = chance.choice([0, 0, 0.01, 0.1])
    threads = [
        threading.Thread(target=go, args=(number, chance.random() * latest)) for number in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_both(job, folder, ended)


def test_two_runs_started_at_once_do_not_meet(job, children):
    chance = random.Random(job.name)
    for _ in range(6):
        race(job, children, chance)


@pytest.mark.full
def test_two_runs_started_at_once_do_not_meet_200_times(job, children):
    chance = random.Random(job.name)
    for _ in range(200):
        race(job, children, chance)


def frozen_at(job, folder, child, at):
    """Start a run that stops at its event `at`; False if it ended before."""
    child.start_trip(
        job.arguments(folder), folder, at=at, number=signal.SIGSTOP, **job.request(folder)
    )
    return child.stopped()


def meet(job, children, at):
    """While the first run stands still at event `at`, the second runs to its end."""
    first, second = children
    folder = job.lay_out("meet")
    assert frozen_at(job, folder, first, at)
    before = snapshot(folder)
    other = second.run(job.arguments(folder), **job.request(folder))
    if other.code == 2:
        assert BUSY in other.err, other.err
        assert snapshot(folder) == before, "refused, but something has changed"
    return check_both(job, folder, (first.go_on(), other))


def meet_twice(job, children, at, other_at):
    """The second run stands still as well, in the middle, while the first ends."""
    first, second = children
    folder = job.lay_out("meet")
    assert frozen_at(job, folder, first, at)
    frozen = frozen_at(job, folder, second, other_at)
    ended = first.go_on()
    check_both(job, folder, (ended, second.go_on() if frozen else second.ended()))


def number_of_events(job, child):
    folder = job.lay_out("meet")
    return len(child.trip(job.arguments(folder), folder, **job.request(folder)).events)


def each(points, check):
    wrong = {}
    for point in points:
        try:
            check(point)
        except AssertionError as error:
            wrong[point] = str(error)[:500]
    print(f"{len(points)} points")
    assert not wrong, "\n".join(f"{point}: {error}" for point, error in wrong.items())


def test_a_second_run_beside_one_that_stands_still(job, children):
    points = range(1, number_of_events(job, children[0]) + 1)
    each(random.Random(1).sample(points, 6), lambda at: meet(job, children, at))


@pytest.mark.full
def test_a_second_run_beside_one_that_stands_still_anywhere(job, children):
    points = range(1, number_of_events(job, children[0]) + 1)
    each(points, lambda at: meet(job, children, at))


@pytest.mark.full
def test_a_second_run_in_the_middle_of_which_the_first_ends(job, children):
    """Mostly where the first run ends and lets go of the job."""
    last, chance = number_of_events(job, children[0]), random.Random(2)
    pairs = [(last - chance.randint(0, 25), chance.randint(1, last)) for _ in range(120)]
    pairs += [(chance.randint(1, last), chance.randint(1, last)) for _ in range(60)]
    each(pairs, lambda pair: meet_twice(job, children, *pair))


def test_a_run_takes_over_at_once_from_one_that_was_killed(job, children):
    """The lock ends with its process: nobody has to wait or to clean up."""
    chance, last = random.Random(3), number_of_events(job, children[0])
    for at in chance.sample(range(1, last), 5):
        folder = job.lay_out("meet")
        children[0].trip(job.arguments(folder), folder, at=at, **job.request(folder))
        ran = children[1].run(job.arguments(folder), **job.request(folder))
        check_both(job, folder, [ran])


def test_a_run_that_finds_another_one_leaves_it_its_memory(tmp_path, many, env):
    """As processes that users start: the second refuses and the first is none the wiser."""
    kills = Kills(tmp_path, many(40_000), ("--engine", "echo"), env, 4)
    (tmp_path / "out").mkdir()
    first = kills.start("out")
    while not list((tmp_path / "out").rglob("*.jsonl")) and first.poll() is None:
        time.sleep(0.002)
    first.send_signal(signal.SIGSTOP)  # however long the second takes to begin
    second = textmill(*kills.arguments("out"), env=env)
    first.send_signal(signal.SIGCONT)
    assert (second.code, BUSY in second.err) == (2, True)
    _, err = first.communicate(timeout=120)
    assert first.returncode == 0, err
    assert snapshot(tmp_path / "out") == kills.expected
    manifest = json.loads((tmp_path / "out" / "out.manifest.json").read_bytes())
    assert manifest["run"]["resumed_rows"] == 0
