"""--retry-failed: what failed in the engine is computed again, everything else stays."""

from __future__ import annotations

import json

import pytest

from support.jobs import OUTPUT, Interrupted, lines, rows_of, run_job, texts_of
from support.stores import BUCKET
from textmill.core import Failure as Failure_
from textmill.engines.echo import EchoEngine
from textmill.errors import ErrorCode, InputError, OutputError, TooManyErrors
from textmill.records.jsonpath import parse_path
from textmill.storage.connecting import Address, StoreOptions
from textmill.storage.local import LocalStore
from textmill.storage.memory import Failure, Killed, MemoryStore, When
from textmill.storage.objects import ObjectStore
from textmill.testing.engines import PoisonEngine
from textmill.transform.job import JobFolder
from textmill.transform.rows import RowMaker

JOURNAL = "out.jsonl.job/journal.jsonl"
TEXTS = [f"text number {n}" if n % 9 else None for n in range(700)]
TEXTS[33] = TEXTS[34] = TEXTS[600] = "the same"


def poisoned(*ordinals):
    return PoisonEngine(EchoEngine(), lambda request: request.ordinal in ordinals)


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path)


def clean(store_of, tmp_path_factory):
    other = LocalStore(tmp_path_factory.mktemp("clean"))
    run_job(other, rows_of(TEXTS))
    return other


def expected():
    return {n: ErrorCode.EMPTY if text is None else text for n, text in enumerate(TEXTS)}


def test_a_finished_job_computes_only_what_failed(store, tmp_path_factory):
    first = run_job(store, rows_of(TEXTS), poisoned(5, 33, 650))
    # 34 and 600 have the text of 33, and its failure
    assert first["counts"]["failed"] == 5
    engine = poisoned()
    again = run_job(store, rows_of(TEXTS), engine, retry_failed=True)
    asked = [request.ordinal for batch in engine.calls for request in batch.requests]
    assert {5, 33, 650} <= set(asked)
    assert not {34, 600} & set(asked)
    assert texts_of(store) == expected()
    untouched = clean(store, tmp_path_factory)
    for name in ("out.jsonl", "out.errors.jsonl"):
        assert store.read(name) == untouched.read(name)
    counts = again["counts"]
    assert counts["rows"] == counts["ok"] + counts["invalid"] == len(TEXTS)
    tokens = sum(len(text) for text in TEXTS if text)
    assert (counts["input_tokens"], counts["output_tokens"]) == (tokens, tokens)


def test_what_fails_again_is_counted_once(store):
    run_job(store, rows_of(TEXTS), poisoned(5, 650))
    counts = run_job(store, rows_of(TEXTS), poisoned(650), retry_failed=True)["counts"]
    assert (counts["failed"], counts["rows"]) == (1, len(TEXTS))
    assert [row["id"] for row in lines(store, "out.errors.jsonl")].count(650) == 1


def test_an_unfinished_job_forgets_its_failures(store):
    with pytest.raises(TooManyErrors):
        run_job(store, rows_of(TEXTS), poisoned(1, 2, 3, 4), max_errors="3")
    run_job(store, rows_of(TEXTS), retry_failed=True)
    assert texts_of(store) == expected()


def test_nothing_failed_nothing_to_do(store):
    run_job(store, rows_of(TEXTS))
    engine = poisoned()
    run_job(store, rows_of(TEXTS), engine, retry_failed=True)
    assert engine.calls == []


def test_an_error_file_that_was_changed_is_not_believed(store):
    run_job(store, rows_of(TEXTS), poisoned(5))
    store.replace("out.errors.jsonl", b"")
    with pytest.raises(OutputError, match="which rows failed"):
        run_job(store, rows_of(TEXTS), retry_failed=True)


def test_a_damaged_part_of_a_job_that_was_opened_again_needs_fresh(tmp_path):
    """What its rows counted for cannot be told from the counts of the rows taken over."""
    store = LocalStore(tmp_path)
    run_job(store, rows_of(TEXTS), poisoned(5))
    with pytest.raises(TooManyErrors):
        run_job(store, rows_of(TEXTS), poisoned(5), retry_failed=True, max_errors="1")
    part = tmp_path / "out.jsonl.job" / "parts" / "00001.jsonl"
    part.write_bytes(part.read_bytes().replace(b"text number 400", b"text number 4OO") * 2)
    with pytest.raises(InputError) as caught:
        run_job(store, rows_of(TEXTS))
    assert "--fresh" in caught.value.hint
    run_job(store, rows_of(TEXTS), fresh=True)
    assert texts_of(store) == expected()


def test_a_retry_that_was_killed_while_it_forgot_is_finished_by_the_next_run():
    """Without the flag too, wherever it was killed: else copies would stay failed beside an
    original that is computed again."""
    texts = ["the same"] * 3 + [f"text {n}" for n in range(600)] + ["the same"] * 3
    failed = MemoryStore()
    with pytest.raises(TooManyErrors):
        run_job(failed, rows_of(texts), poisoned(0, 400), max_errors="6")
    calls, killed = 1, 0
    while True:
        store = failed.crash()
        store.failure = Failure(store.calls + calls, Killed, When.AFTER)
        try:
            run_job(store, rows_of(texts), retry_failed=True)
        except Killed:
            store, killed = store.crash(), killed + 1
        else:
            break
        events = [json.loads(line) for line in store.log(JOURNAL).read().splitlines()]
        asked = {"event": "retry", "forgotten": False} in events
        counts = run_job(store, rows_of(texts))["counts"]
        assert counts["failed"] == (0 if asked else 7)
        calls += 1
        if {"event": "retry", "forgotten": True} in events:
            break
    assert killed > 5


@pytest.mark.parametrize("when", [When.BEFORE, When.HALF])
def test_the_retry_of_a_finished_job_killed_at_any_call_costs_no_good_row(when):
    """The same line goes on, or the one without the flag, which may find nothing to do."""
    rows = rows_of(TEXTS[:300])
    first = MemoryStore()
    good = run_job(first, rows, poisoned(5, 33, 290))["counts"]["ok"]
    wanted = {n: text for n, text in expected().items() if n < 300}
    for calls in range(1, 1000):
        store = first.crash()
        store.failure = Failure(store.calls + calls, Killed, when)
        try:
            run_job(store, rows, retry_failed=True)
        except Killed:
            left = store.crash()
        else:
            break
        plain = MemoryStore(left.files)
        again = run_job(left, rows, retry_failed=True)
        assert (texts_of(left), again["counts"]["ok"]) == (wanted, good + 4)
        assert again["run"]["rows"] <= 4, "34 has the text of 33"
        again = run_job(plain, rows)
        assert again["run"]["rows"] <= 4 or again["counts"]["ok"] == good
        assert {*texts_of(plain).values()} <= {*wanted.values(), ErrorCode.ENGINE_ERROR}
        assert not [name for name in (*left.files, *plain.files) if ".job/" in name]
    assert calls > 30


def test_results_that_do_not_show_their_texts_are_opened_again(store):
    """Copies of what was computed by the finished job are computed themselves."""
    texts = ["a", "b", "a", "b", "c"]
    maker = RowMaker(output_filter=parse_path("$.generated_texts"), opaque=True)
    counts = run_job(store, rows_of(texts), poisoned(1), maker=maker)["counts"]
    assert (counts["failed"], counts["copied"]) == (2, 1)
    counts = run_job(store, rows_of(texts), maker=maker, retry_failed=True)["counts"]
    assert (counts["failed"], counts["ok"]) == (0, 5)
    assert store.read("out.jsonl") == b"".join(b'["%b"]\n' % text.encode() for text in texts)


class TooLong(EchoEngine):
    """Says of a record, as a server does, that it is too long for the model."""

    def step(self):
        return [
            Failure_(o.request, ErrorCode.TOO_LONG, "4,097 tokens") if o.request.ordinal == 1 else o
            for o in super().step()
        ]


def test_what_the_engine_refuses_has_failed_whatever_its_code(store):
    texts = ["a", "b", "c", "b"]
    counts = run_job(store, rows_of(texts), TooLong())["counts"]
    assert (counts["failed"], counts["invalid"]) == (2, 0)
    assert [row["attempts"] for row in lines(store, "out.errors.jsonl")] == [1, 1]
    counts = run_job(store, rows_of(texts), retry_failed=True)["counts"]
    assert (counts["ok"], counts["copied"]) == (4, 1)


def test_an_object_store_keeps_what_is_done_and_that_failures_are_to_be_done_again(
    s3_url, credentials, request
):
    """What a log of an object store has not synced goes with the run: nothing may be left to it."""
    options = StoreOptions(endpoint_url=s3_url)
    store = ObjectStore(Address("s3", BUCKET), f"{request.node.name}/", options)
    with pytest.raises(TooManyErrors):
        run_job(store, rows_of(TEXTS), poisoned(1, 2, 3, 4), max_errors="3")
    with pytest.raises(KeyboardInterrupt):
        run_job(store, rows_of(TEXTS), Interrupted(), retry_failed=True)
    log, _ = JobFolder(store, OUTPUT).journal()
    events = [json.loads(line)["event"] for line in log.read().splitlines()]
    assert [e for e in events if e in {"run", "stop", "retry"}] == [
        *("run", "stop", "retry", "run", "retry", "stop")
    ]
    manifest = run_job(store, rows_of(TEXTS))
    assert (manifest["counts"]["failed"], manifest["run"]["resumed_rows"] > 0) == (0, True)
    assert texts_of(store) == expected()
    assert store.names("out.jsonl.job/") == []


def test_copies_are_counted_once_however_often_failures_are_retried(store):
    for poison in ((5, 33), (5,), (5,), ()):
        counts = run_job(store, rows_of(TEXTS), poisoned(*poison), retry_failed=True)["counts"]
    assert counts["copied"] == 2
    assert texts_of(store) == expected()


def test_a_torn_journal_does_not_stand_in_the_way_of_a_retry(store):
    with pytest.raises(TooManyErrors):
        run_job(store, rows_of(TEXTS), poisoned(1, 2), max_errors="1")
    log = store.log("out.jsonl.job/journal.jsonl")
    log.append(b'{"event":"spl')
    log.close()
    run_job(store, rows_of(TEXTS), retry_failed=True)
    assert texts_of(store) == expected()
