"""A job through everything that can happen to it, with a dict as oracle.

Runs are killed, fail with a full or a broken disk at any call of the store, lose their power, are
interrupted, retried, started as another job; the input grows. Whatever came before, the run that
completes writes every row exactly once, with the text it would have had without all that.
"""

from __future__ import annotations

import errno
import hashlib
import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from support.jobs import OUTPUT, lines, rows_of, run_job, spec, texts_of
from textmill.engines.echo import EchoEngine
from textmill.errors import ErrorCode, OutputError, ResumeRefused, TextmillError, TooManyErrors
from textmill.storage.memory import Failure, Killed, MemoryStore, When
from textmill.testing.engines import PoisonEngine
from textmill.transform.journal import GIVE_UP_AFTER, SPLIT_AFTER
from textmill.transform.manifest import finished_manifest
from textmill.transform.plan import InputDigest

ERRORS = {
    "killed": Killed,
    "power cut": Killed,
    "disk full": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "bad disk": lambda: OSError(errno.EIO, "Input/output error"),
}
MAX_DEATHS = min(SPLIT_AFTER, GIVE_UP_AFTER) - 1


class Interrupted(EchoEngine):
    """An engine during whose n-th step the user presses Ctrl-C."""

    def __init__(self, after):
        super().__init__()
        self._left = after

    def step(self):
        self._left -= 1
        if self._left < 0:
            raise KeyboardInterrupt
        return super().step()


class JobMachine(RuleBasedStateMachine):
    @initialize(
        size=st.sampled_from([0, 1, 2, 7, 30, 300, 700]),
        repeats=st.integers(1, 400),
        data=st.randoms(use_true_random=False),
    )
    def begin(self, size, repeats, data):
        self.texts = [
            None if data.random() < 0.05 else f"text {data.randrange(repeats)}" for _ in range(size)
        ]
        self.rows = rows_of(self.texts)
        self.poison = {n for n in range(size) if data.random() < 0.02}
        self.store = MemoryStore()
        self.deaths = 0

    def job(self):
        """The job of the input as it is now."""
        sha256 = hashlib.sha256(repr(self.texts).encode()).hexdigest()
        return spec(inputs=(InputDigest(name="in", bytes=1, version="1", sha256=sha256),))

    def engine(self, inner=None):
        return PoisonEngine(inner or EchoEngine(), lambda request: request.ordinal in self.poison)

    def failing(self):
        """Ordinals that fail: those of poison, and the copies of originals that are."""
        first = {}
        for n, text in enumerate(self.texts):
            if text is not None:
                first.setdefault(text, n)
        return {n for n, text in enumerate(self.texts) if first.get(text) in self.poison}

    def expected(self):
        failing = self.failing()
        return {
            n: ErrorCode.EMPTY
            if text is None
            else (ErrorCode.ENGINE_ERROR if n in failing else text)
            for n, text in enumerate(self.texts)
        }

    def finish(self, manifest):
        assert texts_of(self.store) == self.expected()
        ids = [row["id"] for row in lines(self.store, OUTPUT)]
        assert ids == sorted(ids)
        counts = manifest["counts"]
        assert counts["rows"] == counts["ok"] + counts["failed"] + counts["invalid"]
        assert counts["rows"] == len(self.texts)
        assert counts["failed"] == len(self.failing())
        assert not [name for name in self.store.files if ".job/" in name]
        self.deaths = 0

    @rule()
    def run(self):
        self.finish(run_job(self.store, self.rows, self.engine(), job=self.job()))

    @rule(
        at=st.integers(1, 60) | st.integers(1, 2000),
        error=st.sampled_from(sorted(ERRORS)),
        when=st.sampled_from(When),
        retry_failed=st.booleans(),
        seed=st.integers(0, 1000),
    )
    def run_and_fail(self, at, error, when, retry_failed, seed):
        if self.deaths >= MAX_DEATHS:  # no precondition: threads make a kill depend on chance
            return
        store = self.store
        store.failure = Failure(store.calls + at, ERRORS[error], when)
        try:
            made = run_job(
                store, self.rows, self.engine(), job=self.job(), retry_failed=retry_failed
            )
        except Killed:
            self.deaths += 1
            power = error == "power cut"
            self.store = store.power_cut(random.Random(seed)) if power else store.crash()
        except TextmillError as failed:
            store.failure = None
            assert "memory:" in failed.message  # noqa: PT017  the other outcomes are right as well
        else:
            store.failure = None
            self.finish(made)

    @rule(after=st.integers(0, 12))
    def interrupt(self, after):
        try:
            engine = self.engine(Interrupted(after))
            self.finish(run_job(self.store, self.rows, engine, job=self.job()))
        except KeyboardInterrupt:
            return

    @precondition(lambda self: self.poison)
    @rule()
    def stop_at_the_first_error(self):
        try:
            manifest = run_job(self.store, self.rows, self.engine(), job=self.job(), max_errors="0")
            self.finish(manifest)
        except TooManyErrors:
            assert self.expected() != dict(enumerate(self.texts))

    @rule()
    def retry(self):
        self.poison = set()
        job = self.job()
        self.finish(run_job(self.store, self.rows, self.engine(), job=job, retry_failed=True))

    @rule()
    def start_another_job(self):
        if self.has_something_to_lose():
            self.is_refused(replace(self.job(), seed=1))

    @rule(
        more=st.lists(st.integers(0, 400), min_size=1, max_size=300),
        then=st.sampled_from(["put back", "start over"]),
    )
    def append(self, more, then):
        """What there is belongs to the input as it was, and is not taken for the longer one's."""
        before = self.texts
        self.texts = [*before, *(f"text {number}" for number in more)]
        self.rows = rows_of(self.texts)
        if not self.has_something_to_lose():
            self.run()
            return
        self.is_refused(self.job())
        if then == "start over":
            self.start_over()
        else:
            self.texts, self.rows = before, rows_of(before)

    def has_something_to_lose(self):
        complete = finished(self.store)
        return bool(self.kept() or (complete is not None and complete["counts"]["ok"]))

    def is_refused(self, job):
        before = self.kept()
        with pytest.raises((ResumeRefused, OutputError)):
            run_job(self.store, self.rows, self.engine(), job=job)
        assert self.kept() == before

    def kept(self):
        """Files of an unfinished job that has rows; without its job.json they are nobody's."""
        found = {name: data for name, data in self.store.files.items() if ".job/" in name}
        rows_there = any("/parts/" in name for name in found)
        found.pop("out.jsonl.job/journal.jsonl", None)
        return found if rows_there and "out.jsonl.job/job.json" in found else {}

    @rule()
    def start_over(self):
        self.finish(run_job(self.store, self.rows, self.engine(), job=self.job(), fresh=True))

    @invariant()
    def a_manifest_is_never_beside_an_output_that_is_not_its_own(self):
        if not hasattr(self, "store"):
            return
        if "out.manifest.json" in self.store.files:
            assert finished(self.store) is not None


def finished(store):
    from textmill.transform.job import JobFolder

    return finished_manifest(JobFolder(store, OUTPUT))


TestJob = JobMachine.TestCase
TestJob.settings = settings(max_examples=30, stateful_step_count=12, deadline=None)


@pytest.mark.full
class TestJobLong(JobMachine.TestCase):
    settings = settings(max_examples=400, stateful_step_count=30, deadline=None)
