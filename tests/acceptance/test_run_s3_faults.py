"""Whole jobs through a network that fails: 503, resets within bodies, requests applied unheard."""

from __future__ import annotations

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import textmill as python
from support.command import textmill, write_lines
from support.s3_jobs import OUTPUTS, Prefix, begin, end
from support.s3_run import LEASE_SECONDS
from support.s3_server import Fault, always, at_random, proxy_before

ROWS = [
    {"id": n, "text_inputs": 5 if n % 100 == 7 else f"text number {n} " + "x" * (n % 50)}
    for n in range(1500)
]
RATES = (1 / 5, 1 / 7, 1 / 20)


def whole_of(folder, rows, **options):
    """The input as bytes, and what comes out here: results and errors."""
    source = write_lines(folder / "in.jsonl", *rows)
    python.run(source, folder / "out.jsonl", engine="echo", **options)
    results = [(folder / name).read_bytes() for name in ("out.jsonl", "out.errors.jsonl")]
    return source.read_bytes(), results


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return whole_of(tmp_path_factory.mktemp("whole"), ROWS)


@pytest.fixture
def place(s3_url, credentials, request, whole):
    place = Prefix(s3_url, f"faults/{request.node.name}")
    place.put("in.jsonl", whole[0])
    return place


def check_complete(place, results, below=""):
    found = [place.get(f"{below}{name}") for name in ("out.jsonl", "out.errors.jsonl")]
    assert found == results
    assert [n for n in place.names(below) if n != "in.jsonl"] == [f"{below}{n}" for n in OUTPUTS]
    assert place.uploads() == []


def until_complete(place, below, proxy, *flags):
    """The same line until it is complete; a run that gives up says why. How often it was begun."""
    for attempt in range(1, 6):
        ran = end(begin(place.url("in.jsonl"), place.url(f"{below}out.jsonl"), proxy.url, *flags))
        if ran.code == 3:
            return attempt
        assert (ran.code, ran.err[:13]) == (2, "error: s3://b"), ran.err
        assert "\n  " in ran.err, "it says what to do"
    raise AssertionError(f"still not complete: {ran.err}")


def check_seed(place, whole, seed):
    """One job under one seed's faults."""
    below, rng = f"{seed}/", random.Random(seed)
    flags = ("--sync-seconds", str(rng.choice([0, 0, 10])))
    with proxy_before(place.s3_url) as proxy:
        proxy.rule = at_random(seed, rng.choice(RATES))
        attempts = until_complete(place, below, proxy, *flags)
        spoiled = sum(fault is not None for _, fault in proxy.seen)
    check_complete(place, whole[1], below)
    return attempts, spoiled


def check_seeds(place, whole, seeds):
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda seed: check_seed(place, whole, seed), seeds))
    assert sum(spoiled for _, spoiled in found) > 2 * len(found)
    assert sum(attempts == 1 for attempts, _ in found) > 0.9 * len(found)


@pytest.mark.full
def test_a_failing_network_changes_no_byte_under_a_hundred_seeds(place, whole):
    check_seeds(place, whole, range(1000, 1100))


def every_first_try(fault):
    """Each request is spoiled once, by its method and path, and no second time."""
    seen = set()

    def rule(call):
        if "/lock" in call.path and "if-match" in call.headers:
            return None  # renewals: their replies may be lost, but not all of them
        request = call.method, call.path
        return None if request in seen else (seen.add(request), fault)[1]

    return rule


def test_a_job_whose_every_first_try_fails_is_done_by_the_second_ones(place, whole):
    def check(fault):
        with proxy_before(place.s3_url) as proxy:
            proxy.rule = every_first_try(fault)
            assert until_complete(place, f"{fault.name}/", proxy, "--sync-seconds", "10") == 1
        check_complete(place, whole[1], f"{fault.name}/")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(check, Fault))


@pytest.mark.full
def test_an_output_of_several_uploads_survives_a_failing_network(place, tmp_path):
    rows = [{"id": n, "text_inputs": f"{n:02d}" * 400_000} for n in range(24)]
    data, results = whole_of(tmp_path, [*rows, b"{"], max_new_tokens=1_000_000)
    assert len(results[0]) > 16 << 20
    url = place.put("in.jsonl", data)
    with proxy_before(place.s3_url) as proxy:
        proxy.rule = at_random(1, 1 / 7)
        ran = textmill(
            *("run", url, "-o", place.url("out.jsonl"), "--engine", "echo"),
            *("--endpoint-url", proxy.url, "--set", "max_new_tokens=1000000"),
        )
        assert ran.code == 3, ran.err
        assert any("uploadId" in call.path for call, _ in proxy.seen)
    check_complete(place, results)


OUTAGES = [
    Fault.LOST_REPLY,
    *(pytest.param(fault, marks=pytest.mark.full) for fault in Fault if fault != Fault.LOST_REPLY),
]


def out_from_the_third_part_on(fault, seconds):
    began = []

    def rule(call):
        if not began and call.method == "PUT" and "/parts/00002" in call.path:
            began.append(time.monotonic())
        return fault if began and time.monotonic() - began[0] < seconds else None

    return rule


@pytest.mark.parametrize("fault", OUTAGES)
def test_a_job_survives_an_outage_that_is_longer_than_its_lease(place, proxy, whole, fault):
    proxy.rule = out_from_the_third_part_on(fault, seconds=1.5 * LEASE_SECONDS)
    assert until_complete(place, "", proxy) == 1
    check_complete(place, whole[1])


@pytest.mark.full
@pytest.mark.parametrize("fault", Fault)
def test_a_store_that_stays_away_ends_the_run_and_the_same_line_goes_on(place, proxy, whole, fault):
    """From the third part on nothing is answered; the next run, when all is well, resumes."""
    proxy.rule = out_from_the_third_part_on(fault, seconds=float("inf"))
    line = (place.url("in.jsonl"), place.url("out.jsonl"))
    ran = end(begin(*line, proxy.url, "--retry-seconds", "2"))
    assert (ran.code, ran.err[:13]) == (2, "error: s3://b"), ran.err
    assert "/parts/" in ran.err, "what failed first is told"
    assert "run the same line again" in ran.err
    proxy.rule = always(None)
    ran = end(begin(*line, proxy.url))
    assert ran.code == 3, ran.err
    check_complete(place, whole[1])
    assert json.loads(place.get("out.manifest.json"))["run"]["resumed_rows"] > 0
