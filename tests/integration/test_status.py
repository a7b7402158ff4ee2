"""The status of jobs on every store, and what can be told of parts without the input."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

import textmill
from support.jobs import OUTPUT, Interrupted, lines, rows_of, run_job
from support.s3_server import CREDENTIALS, s3_server
from support.stores import make_bucket
from textmill.engines.echo import EchoEngine
from textmill.storage.connecting import Address, StoreOptions
from textmill.storage.local import LocalStore
from textmill.storage.memory import MemoryStore
from textmill.storage.objects import ObjectStore
from textmill.transform.job import JobFolder
from textmill.transform.parts import Part, Row
from textmill.transform.plan import window_sizes
from textmill.transform.runs import State
from textmill.transform.status import Memory, job_status
from textmill.transform.verify import PartWindows, verify

TEXTS = ["a", None, "bb", None, "ccc"]


def place(name):
    raise AssertionError(name)


def test_a_job_in_memory_from_begin_to_end():
    store = MemoryStore()
    folder = JobFolder(store, OUTPUT)
    assert job_status(folder) is None
    with pytest.raises(KeyboardInterrupt):
        run_job(store, rows_of([*TEXTS, *("x" * 30 + str(n) for n in range(9))]), Interrupted(2))
    found = job_status(folder)
    assert (found.state, found.runs, found.deaths) == (State.STOPPED, 1, 0)
    assert found.counts.rows == found.counts.ok + found.counts.invalid
    assert (found.counts.codes, found.failures[0].example.line) == ({"empty": 2}, 2)
    assert verify(folder, found, place).problems == []
    run_job(store, rows_of([*TEXTS, *("x" * 30 + str(n) for n in range(9))]))
    found = job_status(folder)
    assert (found.state, found.counts.rows, found.counts.invalid) == (State.COMPLETE, 14, 2)
    assert verify(folder, found, place).problems == []


def test_a_job_whose_folder_was_left_behind_after_the_commit_is_complete_again_when_resumed():
    """As long as rows are in the folder it is unfinished, whatever stands at the output."""
    store = MemoryStore()
    run_job(store, rows_of(TEXTS))
    with pytest.raises(KeyboardInterrupt):
        run_job(store, rows_of([*TEXTS, "new"]), Interrupted(0), fresh=True)
    assert store.stat("out.manifest.json")
    assert job_status(JobFolder(store, OUTPUT)).state is State.STOPPED


class Looked(MemoryStore):
    """Knows which parts were read."""

    def __init__(self):
        super().__init__()
        self.read_parts = []

    def log(self, name):
        if "/parts/" in name:
            self.read_parts.append(name)
        return super().log(name)


def test_a_look_reads_the_parts_again_only_if_they_can_have_changed():
    """Who watches a folder looks every second, and a job in it may have millions of rows."""
    store, memory = Looked(), Memory()
    folder = JobFolder(store, OUTPUT)
    texts = [*TEXTS, *("x" * 30 + str(n) for n in range(900))]
    done = []
    for steps in (3, 4, 300):
        with suppress(KeyboardInterrupt):
            run_job(store, rows_of(texts), Interrupted(steps))
        store.read_parts.clear()
        found = job_status(folder, memory)
        assert (found.state, len(store.read_parts)) == (State.STOPPED, len(folder.part_names))
        assert found.counts == job_status(folder).counts, "as without a memory"
        store.read_parts.clear()
        assert job_status(folder, memory) == found
        assert store.read_parts == []
        done.append(found.counts.rows)
    assert 0 < done[0] < done[1] < done[2] < len(texts)
    store.clear(folder.part_names[0])  # by hand: no run tells of it
    assert job_status(folder, memory).counts.rows < done[2]
    with suppress(KeyboardInterrupt):
        run_job(store, rows_of(texts), Interrupted(2), fresh=True)
    assert job_status(folder, memory).counts == job_status(folder).counts


class Merging(LocalStore):
    """Looks at the job when its output is begun."""

    seen = None

    def target(self, name):
        if name == OUTPUT:
            self.seen = job_status(JobFolder(self, OUTPUT))
        return super().target(name)


def test_a_job_that_merges_still_runs(tmp_path):
    store = Merging(tmp_path)
    run_job(store, rows_of(TEXTS))
    assert (store.seen.state, store.seen.counts.rows) == (State.RUNNING, 5)
    assert lines(store, OUTPUT)[0]["id"] == 0


def test_a_job_on_s3_by_its_urls(monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with s3_server() as url:
        make_bucket(url, "bucket")
        options = StoreOptions(endpoint_url=url, retry_seconds=5, lease_seconds=5)
        store = ObjectStore(Address("s3", "bucket"), "jobs/", options)
        store.sync_seconds = 0.0  # or nothing of so short a run would be there
        with pytest.raises(KeyboardInterrupt):
            run_job(store, rows_of([*TEXTS, "x" * 50]), Interrupted(1))

        def states(name):
            found = textmill.status(name, verify=True, endpoint_url=url)
            return [(job.output, job.state) for job in found]

        unfinished = [(f"s3://bucket/jobs/{OUTPUT}", State.STOPPED)]
        for name in (OUTPUT, f"{OUTPUT}.job", f"{OUTPUT}.job/", "out.manifest.json", ""):
            assert states(f"s3://bucket/jobs/{name}") == unfinished, name
        run_job(store, rows_of([*TEXTS, "x" * 50]))
        complete = [(f"s3://bucket/jobs/{OUTPUT}", State.COMPLETE)]
        for name in (OUTPUT, f"{OUTPUT}.job", "out.manifest.json", ""):
            assert states(f"s3://bucket/jobs/{name}") == complete, name


def windows_of(rows, cuts):
    """The windows of a job of so many rows; each of `cuts` closes one early, as long texts do."""
    sizes, first, found = window_sizes(), 0, []
    for cut in [*cuts, *[1.0] * rows]:
        if first >= rows:
            return found
        size = min(max(1, int(next(sizes) * cut)), rows - first)
        found.append(range(first, first + size))
        first += size
    return found


def part_of(window, done):
    whole = len(done) == len(window)
    return Part([Row(n) for n in done], len(window) if whole else None)


def problems(parts):
    windows = PartWindows()
    return [problem for number, part in parts for problem in windows.problems(number, part)]


@given(data=st.data(), rows=st.integers(1, 3000), cuts=st.lists(st.floats(0.01, 1), max_size=4))
def test_any_part_of_a_job_done_in_any_order_is_sound(data, rows, cuts):
    parts = []
    for number, window in enumerate(windows_of(rows, cuts)):
        kind = data.draw(st.sampled_from(["none", "some", "all"]))
        step = data.draw(st.integers(2, 7))
        done = {"none": [], "some": list(window)[::step], "all": list(window)}[kind]
        if done:
            parts.append((number, part_of(window, done)))
    assert problems(parts) == []


@given(number=st.integers(0, 5), by=st.integers(1, 10_000))
def test_a_row_beyond_its_window_is_found(number, by):
    windows = windows_of(8000, [])
    number = min(number, len(windows) - 1)
    parts = [(n, part_of(window, list(window))) for n, window in enumerate(windows)]
    inside, beyond = windows[number][:-1], windows[number][-1] + by
    parts[number] = (number, part_of(windows[number], [*inside, beyond]))
    assert problems(parts)


def test_a_part_that_says_it_is_complete_and_is_not_is_found():
    assert problems([(0, Part([Row(n) for n in range(9)], 10))])
    assert problems([(0, Part([Row(n) for n in (0, 2, 3)], 3))])
    assert problems([(0, Part([Row(n) for n in (1, 2, 3)], 3))])


def test_counts_of_a_retried_job_include_what_was_carried_over(tmp_path):
    """`copied` rows of the finished output are told by the journal, not by the parts."""
    from textmill.errors import EngineError
    from textmill.testing.engines import PoisonEngine

    store = LocalStore(tmp_path)
    rows = rows_of(["same", "same", "bad", "x" * 30])
    poison = PoisonEngine(EchoEngine(), lambda request: request.ordinal == 2)
    manifest = run_job(store, rows, poison)
    assert (manifest["counts"]["copied"], manifest["counts"]["failed"]) == (1, 1)
    with pytest.raises((KeyboardInterrupt, EngineError)):
        run_job(store, rows, Interrupted(0), retry_failed=True)
    found = job_status(JobFolder(store, OUTPUT))
    assert (found.state, found.counts.rows, found.counts.copied) == (State.STOPPED, 3, 1)


def test_the_json_of_a_status_has_every_key(tmp_path):
    import msgspec

    store = MemoryStore()
    run_job(store, rows_of(TEXTS))
    found = job_status(JobFolder(store, OUTPUT))
    assert set(json.loads(msgspec.json.encode(found))) == set(found.__struct_fields__)
