"""Jobs on S3 that are killed, interrupted, or meet another run on the same output.

The moment is a request to the store: the proxy before it kills the process, or holds the request.
"""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import textmill as python
from support.command import write_lines
from support.s3_jobs import OUTPUTS, Prefix, begin, changes, end, rows_in_parts
from support.s3_run import LEASE_SECONDS
from support.s3_server import Fault, proxy_before

ROWS = [
    {"id": n, "text_inputs": 5 if n % 100 == 7 else f"text number {n} " + "x" * (n % 50)}
    for n in range(1500)
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The input, and what comes out here: results and errors."""
    folder = tmp_path_factory.mktemp("whole")
    source = write_lines(folder / "in.jsonl", *ROWS)
    python.run(source, folder / "out.jsonl", engine="echo")
    results = [(folder / name).read_bytes() for name in ("out.jsonl", "out.errors.jsonl")]
    return source.read_bytes(), results


@pytest.fixture
def place(s3_url, credentials, request, whole):
    place = Prefix(s3_url, f"kills/{request.node.name}")
    place.put("in.jsonl", whole[0])
    return place


def line_of(place, below=""):
    return place.url("in.jsonl"), place.url(f"{below}out.jsonl")


def check_complete(place, whole, below=""):
    found = [place.get(f"{below}{name}") for name in ("out.jsonl", "out.errors.jsonl")]
    assert found == whole[1]
    counts = place.json(f"{below}out.manifest.json")["counts"]
    assert (counts["rows"], counts["ok"], counts["invalid"]) == (1500, 1485, 15)
    assert [n for n in place.names(below) if n != "in.jsonl"] == [f"{below}{n}" for n in OUTPUTS]
    assert place.uploads() == []


def count_changes(place):
    """How many requests of a whole job change something."""
    with proxy_before(place.s3_url) as proxy:
        ran = end(begin(*line_of(place, "count/"), proxy.url))
        assert ran.code == 3, ran.err
        return sum(changes(call) for call, _ in proxy.seen)


def run_killed_at(place, number, fault, below):
    """Run until the change of that number, and die of it. False if the job was over before."""
    with proxy_before(place.s3_url) as proxy:
        left, process = [number], begin(*line_of(place, below), proxy.url)

        def rule(call):
            left[0] -= changes(call)
            if left[0] >= 0:
                return None
            process.kill()
            return fault

        proxy.rule = rule
        process.communicate(timeout=120)
        return process.returncode == -signal.SIGKILL


def kill_and_go_on(place, whole, number, fault):
    """One kill, then the same line again: nothing that was safe is done again."""
    below = f"{number}-{fault.name}/"
    if not run_killed_at(place, number, fault, below):  # the last change or two come or do not
        check_complete(place, whole, below)
        return len(ROWS)
    job = f"{below}out.jsonl.job/"
    described = f"{job}job.json" in place.names(job)
    was_locked = f"{job}lock" in place.names(job)
    rows, complete = rows_in_parts(place, job) if described else (set(), set())
    was_complete = not described and f"{below}out.manifest.json" in place.names(below)
    with proxy_before(place.s3_url) as proxy:
        started = time.monotonic()
        ran = end(begin(*line_of(place, below), proxy.url))
        assert ran.code == 3, ran.err
        assert time.monotonic() - started > LEASE_SECONDS * was_locked
        puts = [call.path for call, _ in proxy.seen if call.method == "PUT"]
    assert not [path for path in puts if any(f"/{part}/segment" in path for part in complete)]
    check_complete(place, whole, below)
    resumed = place.json(f"{below}out.manifest.json")["run"]["resumed_rows"]
    assert was_complete or resumed == len(rows)
    return len(rows)


def kill_at(place, whole, cases):
    """Several at a time, as they mostly wait. Rows that were safe."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda case: kill_and_go_on(place, whole, *case), cases))


def test_a_job_killed_at_a_change_goes_on_to_the_same_bytes(place, whole):
    """The request at which it dies is either never applied, or applied without its knowing."""
    count = count_changes(place)
    cases = [(count // 2, Fault.RESET_REQUEST), (count - 7, Fault.LOST_REPLY)]
    some, every = kill_at(place, whole, cases)
    assert 0 < some < every == len(ROWS)


@pytest.mark.full
def test_a_job_killed_at_any_change_goes_on_to_the_same_bytes(place, whole):
    faults = (Fault.RESET_REQUEST, Fault.LOST_REPLY)
    cases = [(number, fault) for number in range(count_changes(place)) for fault in faults]
    safe = kill_at(place, whole, cases)
    assert (min(safe), max(safe)) == (0, len(ROWS))


@pytest.mark.full
def test_a_job_killed_again_and_again_goes_on_to_the_same_bytes(place, whole):
    """Each run dies a little later than the one before; several writers' segments in each log."""
    number = 2
    while run_killed_at(place, number, Fault.LOST_REPLY, "again/"):
        number += 3
    check_complete(place, whole, "again/")


MOMENTS = ["/parts/00002.jsonl/", "/out.jsonl", "/out.manifest.json"]
"""While finished rows, the output or the manifest are being written."""


def wait_until_held(proxy, moment):
    """Have the first PUT of that kind stand still at the proxy."""

    def is_it(call):
        path = call.path.partition("?")[0]
        return call.method == "PUT" and (path.endswith(moment) or f"{moment}segment" in path)

    proxy.hold = is_it
    assert proxy.held.wait(60)


@pytest.mark.parametrize(
    ("moment", "how"),
    [
        (MOMENTS[0], signal.SIGINT),
        pytest.param(MOMENTS[1], signal.SIGTERM, marks=pytest.mark.full),
        pytest.param(MOMENTS[0], signal.SIGTERM, marks=pytest.mark.full),
        pytest.param(MOMENTS[1], signal.SIGINT, marks=pytest.mark.full),
        pytest.param(MOMENTS[2], signal.SIGINT, marks=pytest.mark.full),
    ],
)
def test_an_interrupted_run_frees_its_lease_at_once(place, proxy, whole, moment, how):
    process = begin(*line_of(place), proxy.url)
    wait_until_held(proxy, moment)
    process.send_signal(how)
    proxy.go_on.set()
    ran = end(process)
    assert (ran.code, "the same command goes on" in ran.err) == (130, True), ran.err
    assert "out.jsonl.job/lock" not in place.names()
    is_over = moment == MOMENTS[2] and "out.manifest.json" in place.names()
    assert is_over != ("out.jsonl.job/job.json" in place.names())
    ran = end(begin(*line_of(place), place.s3_url))
    assert (ran.code, ran.out.startswith("already complete")) == (3, is_over), ran.err
    check_complete(place, whole)


@pytest.mark.full
def test_a_second_run_is_refused_while_the_first_one_works(place, proxy, whole):
    first = begin(*line_of(place), proxy.url)
    wait_until_held(proxy, MOMENTS[0])
    ran = end(begin(*line_of(place), place.s3_url))
    assert ran.code == 2
    assert f"another run is working on this output (process {first.pid} on " in ran.err
    proxy.go_on.set()
    assert end(first).code == 3
    check_complete(place, whole)


@pytest.mark.parametrize(
    ("moment", "late"),
    [
        (MOMENTS[0], True),
        pytest.param(MOMENTS[1], False, marks=pytest.mark.full),
        pytest.param(MOMENTS[0], False, marks=pytest.mark.full),
        pytest.param(MOMENTS[1], True, marks=pytest.mark.full),
        pytest.param(MOMENTS[2], False, marks=pytest.mark.full),
        pytest.param(MOMENTS[2], True, marks=pytest.mark.full),
    ],
)
def test_a_run_that_slept_is_replaced_and_changes_nothing(place, proxy, whole, moment, late):
    """late: its last request lands when the second run has long finished."""
    first = begin(*line_of(place), proxy.url)
    wait_until_held(proxy, moment)
    first.send_signal(signal.SIGSTOP)
    if not late:
        proxy.go_on.set()
    second = end(begin(*line_of(place), place.s3_url))
    assert second.code == 3, second.err
    check_complete(place, whole)
    manifest = place.get("out.manifest.json")
    proxy.go_on.set()
    first.send_signal(signal.SIGCONT)
    ran = end(first)
    assert ran.code == 2, ran.err
    assert "another run has" in ran.err
    assert place.get("out.manifest.json") == manifest
    again = end(begin(*line_of(place), place.s3_url))
    assert again.out.startswith("already complete"), again.err
    check_complete(place, whole)  # a part that landed late is swept away
    assert place.get("out.manifest.json") == manifest
