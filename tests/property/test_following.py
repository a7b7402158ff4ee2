"""A journal that is looked at again and again tells what a whole one does, and each event once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.errors import InputError
from textmill.storage.local import LocalStore
from textmill.storage.memory import MemoryStore
from textmill.transform.following import FollowedJournal
from textmill.transform.journal import (
    BatchDone,
    BatchSplit,
    BatchStarted,
    BudgetShrunk,
    Carried,
    Events,
    Progressed,
    Retried,
    RunBegan,
    RunStopped,
    event_line,
    history,
)
from textmill.transform.runs import runs_of

BEGAN = "2026-01-01T00:00:00+00:00"
EVENTS = st.lists(
    st.sampled_from(
        [
            RunBegan(BEGAN, "box", 1),
            BatchStarted(1, 2),
            BatchDone(1, 2),
            BatchSplit(1, 2),
            BatchSplit(3, 4),
            BudgetShrunk(9),
            Progressed(at=BEGAN, rows=3, resumed=1, ok=3, failed=0, total=None, codes={}),
            RunStopped(BEGAN),
            Retried(forgotten=True),
            Carried(copied=4),
        ]
    )
)


def lines_of(events):
    return b"".join(map(event_line, events))


def put(store, data):
    store.clear("journal")
    store.log("journal").append(data)


def look(followed, store):
    followed.read(store.log("journal"), "journal")


@given(events=EVENTS, cuts=st.lists(st.floats(0, 1), max_size=6), other=EVENTS)
def test_it_tells_what_a_whole_one_does_wherever_its_end_is_just_then(events, cuts, other):
    """And so does another one in its place."""
    store, followed = MemoryStore(), FollowedJournal()
    data = lines_of(events)
    for end in [*sorted(int(cut * len(data)) for cut in cuts), len(data), len(data), None]:
        put(store, lines_of(other) if end is None else data[:end])
        seen, before = followed.changes, (followed.runs, len(followed.past.splits))
        look(followed, store)
        whole = list(Events(store.log("journal"), "journal"))
        assert followed.runs == runs_of(whole)
        past, expected = followed.past, history(whole)
        assert (past.splits, past.shrunk) == (expected.splits, expected.shrunk)
        assert (past.carried, past.runs) == (expected.carried, expected.runs)
        after = followed.runs, len(followed.past.splits)
        assert followed.changes > seen or before == after
        changes = followed.changes
        look(followed, store)
        assert followed.changes == changes, "nothing was new"


def test_what_was_read_is_not_told_again(tmp_path):
    log = LocalStore(tmp_path).log("journal")
    log.append(event_line(BatchStarted(1, 2)))
    events = Events(log, "journal")
    assert list(events) == [BatchStarted(1, 2)]
    log.append(event_line(BatchDone(1, 2)) + b'{"event"')
    later = Events(log, "journal", after=events.lines)
    assert list(later) == list(later) == [BatchDone(1, 2)]
    assert later.lines == lines_of([BatchStarted(1, 2), BatchDone(1, 2)])
    log.close()


def test_one_that_is_damaged_is_refused_until_it_is_whole_again():
    store, followed = MemoryStore(), FollowedJournal()
    good = lines_of([BatchSplit(1, 2), BudgetShrunk(9)])
    put(store, good)
    look(followed, store)
    for damaged in (good + b"{}\n", b"{}\n" + good, b"x" + good):
        put(store, damaged)
        for _ in range(2):
            with pytest.raises(InputError, match="journal is damaged"):
                look(followed, store)
    put(store, good)
    look(followed, store)
    assert (followed.past.splits, followed.past.shrunk) == ({(1, 2)}, [9])
