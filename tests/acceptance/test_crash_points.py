"""A job is stopped, or a system call of its fails, at every point where it touches its files.

After each the same command line runs again and must come to the bytes of an uninterrupted run.
"""

from __future__ import annotations

import json
import random
import shutil
import threading
from collections import Counter

import pytest

from support.command import write_lines
from support.crashing import (
    ERROR_NUMBERS,
    ERRORS_OF,
    NEEDS_COMPILER,
    NEEDS_STRACE,
    OPENS,
    Child,
    Injection,
    Job,
    short_writes,
    strace_works,
)

ECHO = ("--engine", "echo", "--max-batch-tokens", "1500")
ROWS = [{"id": i, "text_inputs": f"text number {i} " + "x" * (i % 7)} for i in range(300)]
SOME_BAD = [*ROWS[:20], b"{", *ROWS[20:250], {"id": 0, "text_inputs": "again"}, *ROWS[250:]]
"""Two windows, five batches, two rows without a result."""


def some(folder):
    write_lines(folder / "in.jsonl", *SOME_BAD)


def over_an_output(folder):
    """Another job's output, with an error file that the new one does not have."""
    write_lines(folder / "in.jsonl", *ROWS[:12], b"{")
    with Child(folder.parent / "scratch") as child:
        child.run(["run", folder / "in.jsonl", "-o", folder / "out.jsonl", *ECHO])
    write_lines(folder / "in.jsonl", *ROWS)


def over_an_output_without_results(folder):
    write_lines(folder / "in.jsonl", b"{", b"[")
    with Child(folder.parent / "scratch") as child:
        child.run(["run", folder / "in.jsonl", "-o", folder / "out.jsonl", *ECHO])
    write_lines(folder / "in.jsonl", *ROWS[:12])


def half_done(folder):
    """A job that was killed when some of its rows were finished: about in the middle."""
    home = folder.parent / "half"
    job = Job("half done", home, some, *ECHO)
    with Child(folder.parent / "scratch") as child:
        place = job.lay_out("work")
        count = len(child.trip(job.arguments(place), place).events)
        for at in sorted(range(1, count), key=lambda at: abs(at - count // 2)):
            killed = job.lay_out("work")
            child.trip(job.arguments(killed), killed, at=at)
            shutil.copytree(killed, folder, dirs_exist_ok=True)
            child.run(job.arguments(killed))
            resumed = json.loads((killed / "out.manifest.json").read_bytes())["run"]["resumed_rows"]
            if 0 < resumed < len(SOME_BAD) - 50:
                break
            shutil.rmtree(folder)
    shutil.rmtree(home)


def all_bad(folder):
    write_lines(folder / "in.jsonl", *[b'{"id": 1, "text_inputs": 5}'] * 12)


def no_rows(folder):
    (folder / "in.jsonl").write_bytes(b"\n\n")


JOBS = {
    "some rows bad": (some, {}),
    "fresh over an output": (over_an_output, {"flags": ("--fresh",)}),
    "over an output without results": (over_an_output_without_results, {}),
    "half done": (half_done, {}),
    "fresh over a half done job": (half_done, {"flags": ("--fresh",)}),
    "from standard input": (some, {"from_stdin": True}),
    "all rows bad": (all_bad, {}),
    "no rows": (no_rows, {}),
}


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """Each job by name, made when it is asked for."""
    home, made = tmp_path_factory.mktemp("jobs"), {}

    def job(name):
        if name not in made:
            prepare, options = JOBS[name]
            options = dict(options)
            flags = options.pop("flags", ())
            made[name] = Job(name, home / name.replace(" ", "-"), prepare, *ECHO, *flags, **options)
        return made[name]

    return job


@pytest.fixture(scope="module")
def children(tmp_path_factory):
    """Two processes that run jobs, each with its own folder."""
    home = tmp_path_factory.mktemp("children")
    with Child(home / "0") as first, Child(home / "1") as second:
        yield first, second


def test_the_jobs_are_what_they_are_meant_to_be(jobs):
    assert jobs("half done").resumed > 0
    assert jobs("fresh over a half done job").resumed == 0
    assert "out.errors.jsonl" in jobs("fresh over an output").before
    assert "out.errors.jsonl" not in jobs("fresh over an output").expected
    assert jobs("no rows").expected["out.jsonl"] == b""
    assert jobs("some rows bad").expected["out.manifest.json"]["counts"]["invalid"] == 2


# With a tripwire inside the process


def kill_and_resume(job, child, place, at):
    folder = job.lay_out(place)
    killed = child.trip(job.arguments(folder), folder, at=at, **job.request(folder))
    assert killed.code == -9
    job.check_visible(folder)
    job.check_resumed(child.run(job.arguments(folder), **job.request(folder)), folder)


def agreed(once):
    """What two runs agree on: one that takes seconds syncs its files more often than others."""
    seen = []
    while (now := once()) not in seen:
        seen.append(now)
        assert len(seen) < 12, "no two runs make the same calls"
    return now


def events(job, child, place):
    """What the tripwire counts in a run."""

    def once():
        folder = job.lay_out(place)
        return child.trip(job.arguments(folder), folder, **job.request(folder)).events

    return agreed(once)


@pytest.mark.parametrize("name", JOBS)
def test_killed_at_some_events_it_resumes(jobs, children, name):
    """The sample of `make test`: three points of each job, others for each."""
    job, child = jobs(name), children[0]
    count = len(events(job, child, "0"))
    for at in random.Random(name).sample(range(1, count + 1), 3):
        kill_and_resume(job, child, "0", at)


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_failing_at_some_events_it_says_so_and_resumes(jobs, children, error):
    job, child = jobs("some rows bad"), children[0]
    count = len(events(job, child, "0"))
    for at in random.Random(error).sample(range(1, count + 1), 6):
        folder = job.lay_out("0")
        ended = child.trip(job.arguments(folder), folder, at=at, error=ERROR_NUMBERS[error])
        job.check_ended(ended, folder)
        job.check_visible(folder)
        job.check_resumed(child.run(job.arguments(folder)), folder)


@pytest.mark.full
@pytest.mark.parametrize("name", JOBS)
def test_killed_at_every_event_it_resumes(jobs, children, name):
    job = jobs(name)

    def part(child, place, share):
        points = range(1, len(events(job, child, place)) + 1)[share]
        return {f"event {at}": attempt(kill_and_resume, job, child, place, at) for at in points}

    report(name, "killed at events", in_two(children, part))


@pytest.mark.full
@pytest.mark.parametrize("name", ["some rows bad", "fresh over an output", "half done"])
def test_killed_again_and_again_it_resumes(jobs, children, name):
    """Up to six kills in a row, each at a random event of what was left to do."""
    job = jobs(name)

    def once(child, place, seed):
        chance = random.Random(seed)
        folder = job.lay_out(place)
        for _ in range(chance.randint(2, 6)):
            at = chance.randint(1, 90)
            ended = child.trip(job.arguments(folder), folder, at=at, **job.request(folder))
            assert ended.code in (-9, job.code)
            job.check_visible(folder)
        job.check_resumed(child.run(job.arguments(folder), **job.request(folder)), folder)

    def part(child, place, share):
        return {f"seed {n}": attempt(once, child, place, n) for n in range(100)[share]}

    report(name, "killed repeatedly", in_two(children, part))


# With strace, at every system call

needs_strace = pytest.mark.skipif(not strace_works(), reason=NEEDS_STRACE)


def calls(job, child, place):
    """All calls of the job on its files. Which thread reads the input last is left to chance."""

    def once():
        folder = job.lay_out(place)
        ended = child.traced(job.arguments(folder), folder, **job.request(folder))
        assert ended.code == job.code
        return [call for call in ended.calls if call.main or call.changes]

    return agreed(once)


def hit_and_resume(job, child, place, injection):
    """Returns how the faulty run ended."""
    for _ in range(5):
        folder = job.lay_out(place)
        ended = child.traced(job.arguments(folder), folder, injection, **job.request(folder))
        if ended.hit:
            break
    else:
        return "not made"  # a close that depends on a race of threads, a sync on the clock
    if injection.fault == "signal=KILL":
        assert ended.code == -9
        outcome = "killed"
    else:
        outcome = "completed" if job.check_ended(ended, folder) else "refused"
    job.check_visible(folder)
    job.check_resumed(child.run(job.arguments(folder), **job.request(folder)), folder)
    return outcome


def sweep(job, children, fault, wanted, *, lasting=False):
    def part(child, place, share):
        found = calls(job, child, place)
        paths = tuple({call.path for call in found}) if lasting else ()
        points = [call for call in found if wanted(call)][share]
        return {
            f"{call.name} {call.path.rpartition(f'/{place}')[2]} {call.n}": attempt(
                hit_and_resume, job, child, place, Injection(call, fault, paths)
            )
            for call in points
        }

    report(job.name, f"{fault}{' lasting' if lasting else ''}", in_two(children, part))


@pytest.mark.full
@needs_strace
@pytest.mark.parametrize("name", JOBS)
def test_killed_at_every_system_call_it_resumes(jobs, children, name):
    sweep(jobs(name), children, "signal=KILL", lambda call: call.changes)


@pytest.mark.full
@needs_strace
@pytest.mark.parametrize("error", ERRORS_OF)
@pytest.mark.parametrize("name", JOBS)
def test_at_every_failing_system_call_it_says_so_and_resumes(jobs, children, name, error):
    def wanted(call):
        opens_to_read = call.name in OPENS and not call.changes
        return call.name in ERRORS_OF[error] and (error in ("EIO", "EINTR") or not opens_to_read)

    sweep(jobs(name), children, f"error={error}", wanted)


LASTING = {
    "ENOSPC": ("write", "fsync", "fdatasync", "mkdir", "link"),
    "EIO": ("fsync", "fdatasync"),
    "EROFS": ("rename", "unlink", "unlinkat", "rmdir", "mkdir", "link"),
}


@pytest.mark.full
@needs_strace
@pytest.mark.parametrize("error", LASTING)
@pytest.mark.parametrize("name", ["some rows bad", "fresh over an output", "half done"])
def test_when_calls_fail_from_some_point_on_it_says_so_and_resumes(jobs, children, name, error):
    """A disk that stays full, a file system that has gone read-only: cleaning up fails as well."""
    wanted = LASTING[error]
    sweep(jobs(name), children, f"error={error}", lambda call: call.name in wanted, lasting=True)


# Short writes


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    with short_writes(tmp_path_factory.mktemp("shim")) as env:
        if env is None:
            pytest.skip(NEEDS_COMPILER)
        yield env


@pytest.mark.parametrize("name", ["some rows bad", "from standard input"])
def test_writes_that_are_cut_short_are_gone_on_with(jobs, short, tmp_path, name):
    job = jobs(name)
    folder = job.lay_out("short")
    with Child(tmp_path / "child", **short(folder)) as child:
        job.check_resumed(child.run(job.arguments(folder), **job.request(folder)), folder)


@pytest.mark.full
@pytest.mark.parametrize("name", JOBS)
def test_killed_in_the_middle_of_every_write_it_resumes(jobs, children, short, tmp_path, name):
    """Half of what each write was given has come to the disk when the process dies."""
    job, outcomes = jobs(name), {}
    for at in range(1, 1000):
        folder = job.lay_out("short")
        with Child(tmp_path / "child", **short(folder, die_at=at)) as child:
            ended = child.run(job.arguments(folder), **job.request(folder))
        if ended.code != -9:
            break
        job.check_visible(folder)
        resumed = children[0].run(job.arguments(folder), **job.request(folder))
        outcomes[f"write {at}"] = attempt(job.check_resumed, resumed, folder)
    report(name, "killed inside writes", outcomes)


@pytest.mark.full
@pytest.mark.parametrize("name", ["some rows bad", "half done"])
def test_under_every_file_size_limit_it_says_so_and_resumes(jobs, children, name):
    """`ulimit -f`: the write that would pass the limit is short, the next one is refused.

    What the process says goes to files too, so the least limit has room for a message.
    """
    job = jobs(name)
    largest = max(len(one) for one in job.expected.values() if isinstance(one, bytes))

    def once(child, place, limit):
        folder = job.lay_out(place)
        ended = child.run(job.arguments(folder), file_size=limit)
        complete = job.check_ended(ended, folder)
        job.check_visible(folder)
        job.check_resumed(child.run(job.arguments(folder)), folder)
        return "completed" if complete else "refused"

    def part(child, place, share):
        limits = range(488, largest + 2000, 487)[share]
        return {f"limit {limit}": attempt(once, child, place, limit) for limit in limits}

    report(name, "file size limits", in_two(children, part))


# Many points in a row


def attempt(check, *arguments):
    """What `check` returned, or what it found wrong; the other points are tried all the same."""
    try:
        return check(*arguments) or "resumed"
    except AssertionError as error:
        return error


def in_two(children, part):
    """`part(child, place, share)` in two threads, each with half of the points."""
    found = {}

    def work(number):
        try:
            found.update(part(children[number], str(number), slice(number, None, 2)))
        except Exception as error:  # noqa: BLE001 - it is reported with the points
            found[f"worker {number}"] = error

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def report(name, what, outcomes):
    """Say what came of the points, and fail with all those that went wrong."""
    wrong = {point: error for point, error in outcomes.items() if isinstance(error, Exception)}
    counts = Counter(o for o in outcomes.values() if not isinstance(o, Exception))
    print(f"{name}, {what}: {len(outcomes)} points, {dict(counts)}")
    assert outcomes
    assert counts["not made"] <= len(outcomes) // 20
    assert not wrong, "\n".join(f"{point}: {str(error)[:600]}" for point, error in wrong.items())
