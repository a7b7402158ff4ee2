"""What one run learns of its batches, the next run does: splits, memory limits, deaths."""

from __future__ import annotations

import errno
import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.loops import ListSink, ListSource, windows_of
from textmill.batching.loop import Loop, Verdict
from textmill.batching.scheduler import BatchLimits, Scheduler, numbered
from textmill.core import Completion, Failure, Params, Request
from textmill.engines.base import BatchError
from textmill.engines.echo import EchoEngine
from textmill.errors import ErrorCode, InputError, OutputError
from textmill.storage.local import LocalStore
from textmill.storage.memory import Failure as Fault
from textmill.storage.memory import MemoryStore, When
from textmill.testing.engines import PoisonEngine
from textmill.transform.journal import (
    GIVE_UP_AFTER,
    MAX_EARLIER,
    SPLIT_AFTER,
    BatchDone,
    BatchSplit,
    BatchStarted,
    BudgetShrunk,
    Events,
    JobJournal,
    Progressed,
    RunBegan,
    RunStopped,
    event_line,
    history,
)

LIMITS = BatchLimits(max_batch_tokens=60)


class HungryEngine(EchoEngine):
    """Runs out of memory on batches of more than so many tokens."""

    def __init__(self, memory_tokens):
        super().__init__()
        self.memory_tokens = memory_tokens
        self.calls = []

    def add(self, batch):
        self.calls.append(batch)
        if sum(len(r.ids) for r in batch.requests) > self.memory_tokens:
            raise BatchError(batch) from MemoryError()
        super().add(batch)


def run(windows, engine, folder, *, wanted=lambda batch: batch):
    log = LocalStore(folder).log("journal.jsonl")
    journal, source, sink = JobJournal(log, "journal"), ListSource(windows), ListSink()
    source.wanted = wanted
    memory = min(journal.history.shrunk, default=None)
    scheduler = Scheduler(LIMITS, engine.group, padded=False, memory_tokens=memory)
    Loop(source, scheduler, engine, sink, journal=journal).run()
    journal.close()
    return sink.outcomes, journal


def compositions(calls):
    return [tuple(request.ordinal for request in batch.requests) for batch in calls]


LENGTHS = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=20), min_size=1, max_size=3)


@given(lengths=LENGTHS, poisoned=st.sets(st.integers(0, 30), max_size=4))
def test_a_split_batch_is_split_again_by_the_next_run(tmp_path_factory, lengths, poisoned):
    folder = tmp_path_factory.mktemp("job")
    calls = []
    for _ in range(2):
        engine = PoisonEngine(EchoEngine(), lambda request: request.ordinal in poisoned)
        outcomes, _ = run(windows_of(lengths), engine, folder)
        calls.append(compositions(engine.calls))
        failed = {o.request.ordinal for o in outcomes if isinstance(o, Failure)}
        assert failed == poisoned & set(range(sum(map(len, lengths))))
    first, second = map(Counter, calls)
    assert second <= first
    assert all(len(batch) == 1 for batch in second if poisoned & set(batch))


@given(lengths=LENGTHS, memory=st.integers(1, 60))
def test_out_of_memory_costs_at_most_the_records_that_need_more_alone(
    tmp_path_factory, lengths, memory
):
    engine = HungryEngine(memory)
    outcomes, journal = run(windows_of(lengths), engine, tmp_path_factory.mktemp("job"))
    assert len(outcomes) == sum(map(len, lengths))
    for outcome in outcomes:
        alone = len(outcome.request.ids) > memory
        assert isinstance(outcome, Failure) == alone
        assert not alone or outcome.code is ErrorCode.OOM
    if journal.history.shrunk:
        smallest = journal.history.shrunk[-1]
        assert journal.history.shrunk == sorted(journal.history.shrunk, reverse=True)
        assert smallest <= LIMITS.max_batch_tokens // 2


def test_after_one_shortage_larger_batches_are_not_tried(tmp_path):
    engine = HungryEngine(20)
    run(windows_of([[10] * 6, [10] * 6, [10] * 6]), engine, tmp_path)
    sizes = [len(batch.requests) for batch in engine.calls]
    assert sizes.count(6) == 1
    assert max(sizes[sizes.index(6) + 1 :]) <= 3


def test_the_next_run_remembers_the_shortage(tmp_path):
    windows = [[10] * 6, [10] * 6]
    first, second = HungryEngine(20), HungryEngine(10**6)
    run(windows_of(windows), first, tmp_path)
    run(windows_of(windows), second, tmp_path)
    computed = [batch for batch in compositions(first.calls) if len(batch) * 10 <= 20]
    assert sorted(compositions(second.calls)) == sorted(computed)


BATCH = numbered(tuple(Request(n, 0, [1], Params()) for n in range(4)))
ALONE = numbered(BATCH.requests[:1])


def died(batch, times):
    events = [RunBegan("", "", 1), BatchStarted(batch.number, len(batch.requests))]
    return events * times


@pytest.mark.parametrize(
    ("batch", "runs", "verdict"),
    [
        (BATCH, SPLIT_AFTER - 1, Verdict.AGAIN),
        (BATCH, SPLIT_AFTER, Verdict.SPLIT),
        (ALONE, GIVE_UP_AFTER - 1, Verdict.RUN),
        (ALONE, GIVE_UP_AFTER, Verdict.GIVE_UP),
    ],
)
def test_what_ends_run_after_run_is_narrowed_down(tmp_path, batch, runs, verdict):
    log = LocalStore(tmp_path).log("journal.jsonl")
    journal = JobJournal(log, "journal")
    journal.history = history(died(batch, runs))
    assert journal.verdict(batch) is verdict
    log.close()


def test_a_run_that_ends_by_itself_blames_no_batch():
    events = [*died(BATCH, 1), RunStopped("")] * 9
    assert not history(events).deaths


def test_a_batch_that_was_done_is_not_blamed():
    """Its records may have other texts in a batch that was not, so that it is computed again."""
    events = [*died(BATCH, 1), BatchDone(BATCH.number, len(BATCH.requests))] * 9
    assert not history(events).deaths


def test_what_was_in_flight_beside_a_shortage_stays_whole(tmp_path):
    """Rows of it may be written; its halves could give the others other texts."""
    (tmp_path / "journal.jsonl").write_bytes(
        b"".join(map(event_line, [*died(BATCH, 1), BudgetShrunk(1)]))
    )
    other = [Request(n, 0, [1], Params()) for n in range(4, 8)]
    engine = HungryEngine(10**6)
    run([BATCH.requests, other], engine, tmp_path)
    assert compositions(engine.calls) == [(0, 1, 2, 3), (4,), (5,), (6,), (7,)]


def test_done_is_written_when_the_sink_has_the_last_outcome_of_a_batch(tmp_path):
    run([BATCH.requests], EchoEngine(), tmp_path)
    named = [type(event) for event in Events(LocalStore(tmp_path).log("journal.jsonl"), "journal")]
    assert named == [RunBegan, BatchStarted, BatchDone, RunStopped]


def test_a_batch_is_in_the_journal_before_the_engine_has_it(tmp_path):
    """What ends the whole process could not be written down afterwards."""
    seen = []

    class Ends(EchoEngine):
        def add(self, batch):
            *_, last = Events(LocalStore(tmp_path).log("journal.jsonl"), "journal")
            seen.append(last == BatchStarted(batch.number, len(batch.requests)))
            super().add(batch)

    run([BATCH.requests, [Request(9, 0, [1], Params())]], Ends(), tmp_path)
    assert seen == [True, True]


def test_a_request_given_up_fails_and_the_others_are_computed(tmp_path):
    log = LocalStore(tmp_path).log("journal.jsonl")
    log.append(
        b'{"event":"split","n":0,"k":2}\n'
        + b'{"event":"run","at":"","host":"","pid":1}\n{"event":"start","n":0,"k":1}\n'
        * GIVE_UP_AFTER
    )
    log.close()
    outcomes, _ = run([[Request(n, 0, [1], Params()) for n in range(2)]], EchoEngine(), tmp_path)
    by_ordinal = {outcome.request.ordinal: outcome for outcome in outcomes}
    assert by_ordinal[0].code is ErrorCode.CRASHED
    assert isinstance(by_ordinal[1], Completion)


def test_a_torn_line_is_forgotten_and_a_damaged_one_refused(tmp_path):
    log = LocalStore(tmp_path).log("journal.jsonl")
    whole = b'{"event":"split","n":1,"k":2}\n{"event":"shrink","tokens":9}\n'
    log.append(whole + b'{"event":"spl')
    events = Events(log, "journal")
    assert (list(events), events.end) == ([BatchSplit(1, 2), BudgetShrunk(9)], len(whole))
    log.append(b"\n")
    with pytest.raises(InputError, match="journal is damaged"):
        list(Events(log, "journal"))
    log.close()


def test_what_follows_a_hole_in_the_journal_is_forgotten(tmp_path):
    """A power cut may leave one; splits are synced, so none of them is behind it."""
    log = LocalStore(tmp_path).log("journal.jsonl")
    split = event_line(BatchSplit(1, 2))
    log.append(split + b"\0" * 30 + b'k":2}\n' + event_line(BudgetShrunk(9)))
    events = Events(log, "journal")
    assert (list(events), events.end) == ([BatchSplit(1, 2)], len(split))
    log.close()


def test_nothing_is_appended_to_half_a_line(tmp_path):
    """What a failed append left is cut by the next run, which then resumes."""
    store = MemoryStore()
    journal = JobJournal(store.log("journal.jsonl"), "journal")
    store.failure = Fault(
        store.calls + 1, lambda: OSError(errno.EIO, "Input/output error"), When.HALF
    )
    with pytest.raises(OutputError):
        journal.started(BATCH)
    journal.close()
    events = Events(store.log("journal.jsonl"), "journal")
    assert len(list(events)) == 1
    assert events.end < len(store.files["journal.jsonl"])
    JobJournal(store.log("journal.jsonl"), "journal")


def test_an_engine_elsewhere_ends_no_run(tmp_path):
    """A server's slow answer may be in flight whenever a user kills the job."""
    log = LocalStore(tmp_path).log("journal.jsonl")
    log.append(b"".join(event_line(event) for event in died(ALONE, GIVE_UP_AFTER)))
    log.close()
    assert JobJournal(log, "journal", blame=False).verdict(ALONE) is Verdict.RUN
    log.close()


@given(st.lists(st.lists(st.integers(0, 90), max_size=4), max_size=MAX_EARLIER + 20))
def test_the_last_runs_are_remembered_with_rows_that_never_fall(runs):
    """A run that resumes counts from 0 again until it has come to where it was."""
    events = []
    for at, rows in enumerate(runs):
        events.append(RunBegan(at=f"{at} begun", host="box", pid=1))
        for done in rows:
            counts = {"resumed": 0, "ok": done, "failed": 0, "total": None, "codes": {}}
            events.append(Progressed(at=f"{at} went on", rows=done, **counts))
        if at % 2:
            events.append(RunStopped(at=f"{at} ended"))
    found = list(history(events).earlier)
    assert len(found) == min(len(runs), MAX_EARLIER)
    assert [one.rows for one in found] == [
        max([0, *itertools.chain(*runs[: at + 1])]) for at in range(len(runs))
    ][-MAX_EARLIER:]
    first = len(runs) - len(found)
    for at, one in enumerate(found, first):
        last = "ended" if at % 2 else "went on" if runs[at] else "begun"
        assert (one.began, one.ended) == (f"{at} begun", f"{at} {last}")
