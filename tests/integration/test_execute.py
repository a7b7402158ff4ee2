"""What a job does while its engine takes its time, and with what its tokenizer cannot do."""

from __future__ import annotations

import time
from itertools import islice
from threading import Event

import pytest
from msgspec.structs import replace

from support.jobs import OUTPUT, Interrupted, lines, rows_of, run_job, texts_of
from support.permissions import ordinary_user
from textmill.engines.echo import EchoEngine, EchoTokenizer
from textmill.errors import ErrorCode, OutputError
from textmill.storage.local import LocalStore
from textmill.storage.memory import MemoryStore
from textmill.transform.job import JobFolder
from textmill.transform.plan import window_sizes

PATIENCE_S = 30


class Paused(EchoEngine):
    """Answers one batch, and the next only when an event has come."""

    def __init__(self, event):
        super().__init__()
        self.event, self.in_time = event, []

    def step(self):
        if self.steps:
            self.in_time.append(self.event.wait(PATIENCE_S))
        self.steps += 1
        return super().step()

    steps = 0


class Watched(MemoryStore):
    """Says when a log of rows was synced."""

    sync_seconds = 0.05

    def __init__(self):
        super().__init__()
        self.synced, self.error = Event(), None
        self.closed = False

    def close_log(self):
        self.closed = True

    def log(self, name):
        log = super().log(name)
        if name.endswith("/00000.jsonl"):
            plain, log.close = log.sync, self.close_log

            def sync():
                self.synced.set()
                if self.error:
                    raise self.error
                plain()

            log.sync = sync
        return log


def test_rows_are_synced_while_the_engine_is_at_work():
    store = Watched()
    engine = Paused(store.synced)
    run_job(store, rows_of([f"text number {n}" for n in range(50)]), engine)
    assert engine.in_time
    assert all(engine.in_time)


def test_a_sync_that_fails_beside_the_work_ends_the_run():
    store = Watched()
    store.error = OutputError("broken disk")
    rows = rows_of([f"text number {n}" for n in range(50)])
    with pytest.raises(OutputError, match="broken disk"):
        run_job(store, rows, Paused(store.synced))
    store.error = None
    run_job(store, rows)
    assert len(texts_of(store)) == 50


def test_a_bug_beside_the_work_leaves_no_file_open():
    store = Watched()
    store.error = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        run_job(store, rows_of([f"text number {n}" for n in range(50)]), Paused(store.synced))
    assert store.closed


def test_rows_survive_a_folder_that_cannot_be_listed_when_the_run_ends():
    rows = rows_of([f"text number {n}" for n in range(50)])
    with ordinary_user() as home:
        store = LocalStore(home)
        with pytest.raises(KeyboardInterrupt):
            run_job(store, rows, Interrupted(3))
        parts, folder = home / "out.jsonl.job" / "parts", JobFolder(store, OUTPUT)
        folder.lock()
        parts.chmod(0)
        folder.leave()
        parts.chmod(0o700)
        assert folder.holds_rows
        assert run_job(store, rows)["run"]["resumed_rows"] > 0


def test_the_speed_of_a_resumed_run_is_that_of_its_own_rows():
    """Others were done before it, which are ten times as long or as short."""
    store, rows = MemoryStore(), rows_of(["xx1", "xx2", "y" * 30, "z" * 30])
    with pytest.raises(KeyboardInterrupt):
        run_job(store, rows, Interrupted(1))
    manifest = run_job(store, rows)
    run, counts = manifest["run"], manifest["counts"]
    per_row = sum(run["timeline"]["tokens"]) / run["rows"]
    assert run["tokens_per_second"] / run["rows_per_second"] == pytest.approx(per_row, rel=0.01)
    assert per_row != pytest.approx((counts["input_tokens"] + counts["output_tokens"]) / 4, rel=0.1)


class Slow(EchoEngine):
    """Answers one request at a time, and the first of the job last of all it has."""

    def __init__(self, look):
        super().__init__()
        self.look, self.seen = look, []
        self.held = []

    def room(self):
        return 1

    def add(self, batch):
        super().add(batch)
        self.held += super().step()
        self.held.sort(key=lambda outcome: -outcome.request.ordinal)

    def step(self):
        time.sleep(0.01)  # meanwhile windows are read
        self.seen.append(self.look())
        return [self.held.pop(0)]


class Recording(Interrupted):
    """Answers so many batches, and knows which it was given."""

    def __init__(self, steps):
        super().__init__(steps)
        self.given = []

    def add(self, batch):
        self.given.append(tuple((one.ordinal, one.index) for one in batch.requests))
        super().add(batch)


def test_a_batch_of_which_a_record_is_missing_is_computed_again_whole():
    """In int8, or sampled, the texts of others decide what its own are."""
    rows = rows_of(["a" * 20, "b" * 20, "c", "d"])
    rows[0] = replace(rows[0], texts=("a" * 20, "e"))  # its texts are in two batches
    whole, stopped, resumed = Recording(99), Recording(1), Recording(99)
    run_job(MemoryStore(), rows, whole)
    store = MemoryStore()
    with pytest.raises(KeyboardInterrupt):
        run_job(store, rows, stopped)
    (part,) = [log for name, log in store.files.items() if "/parts/" in name]
    assert part.count(b'"n":1,') == 1, "its neighbour is done"
    assert part.count(b'"n":0,') == 0
    assert run_job(store, rows, resumed)["run"]["resumed_rows"] == 1
    assert whole.given[0] == ((0, 0), (1, 0))
    assert resumed.given == whole.given


class Awkward(EchoTokenizer):
    """Finds no tokens in some texts, and fails on others."""

    def encode(self, texts, *, src_lang=None):
        if any("breaks" in text for text in texts):
            raise ValueError("cannot be encoded")
        return [
            [] if text == "nothing" else ids
            for text, ids in zip(texts, super().encode(texts, src_lang=src_lang), strict=True)
        ]


def test_a_text_that_the_tokenizer_makes_nothing_of_is_a_row_of_its_own():
    """Some tokenizers drop every character that they do not know."""
    texts = ["one", "nothing", "two", "it breaks", "three", "nothing", "four"]
    store = MemoryStore()
    manifest = run_job(store, rows_of(texts), tokenizer=Awkward())
    assert texts_of(store) == {
        n: ErrorCode.BAD_RECORD if text in ("nothing", "it breaks") else text
        for n, text in enumerate(texts)
    }
    assert manifest["counts"]["invalid"] == 3
    errors = {row["id"]: row["message"] for row in lines(store, "out.errors.jsonl")}
    assert errors[1] == errors[5] == "the text has no tokens"
    assert errors[3] == "the model's tokenizer fails on the text: ValueError: cannot be encoded"


def test_windows_that_wait_for_one_row_are_few():
    """All later windows are copies of the first record, which the engine has not answered yet."""
    sizes = list(islice(window_sizes(), 30))
    rows = rows_of([f"text {n}" for n in range(100)] + ["text 0"] * (sum(sizes) - 100))
    begun = [0]
    engine = Slow(lambda: begun[-1])
    run_job(MemoryStore(), rows, engine, on_progress=lambda progress: begun.append(progress.begun))
    assert len(engine.seen) == 100
    assert max(engine.seen) == sum(sizes[:16])
