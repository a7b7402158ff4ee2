"""--retry-failed: what failed in the engine is computed again, everything else stays."""

from __future__ import annotations

import json

import pytest

from support.jobs import OUTPUT, lines, rows_of, run_job, texts_of
from support.stores import BUCKET
from textmill.engines.echo import EchoEngine
from textmill.errors import ErrorCode, OutputError, TooManyErrors
from textmill.storage.connect import Address, StoreOptions
from textmill.storage.local import LocalStore
from textmill.storage.objects import ObjectStore
from textmill.testing.engines import PoisonEngine
from textmill.transform.job import JobFolder

TEXTS = [f"text number {n}" if n % 9 else None for n in range(700)]
TEXTS[33] = TEXTS[34] = TEXTS[600] = "the same"


def poisoned(*ordinals):
    return PoisonEngine(EchoEngine(), lambda request: request.ordinal in ordinals)


def journal_of(store):
    return JobFolder(store, OUTPUT).logs.journal()[0]


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


class _Interrupted(EchoEngine):
    def add(self, batch):
        raise KeyboardInterrupt


def test_an_object_store_keeps_what_is_done_and_that_failures_are_to_be_done_again(
    s3_url, credentials, request
):
    """What a log of an object store has not synced goes with the run: nothing may be left to it."""
    options = StoreOptions(endpoint_url=s3_url)
    store = ObjectStore(Address("s3", BUCKET), f"{request.node.name}/", options)
    with pytest.raises(TooManyErrors):
        run_job(store, rows_of(TEXTS), poisoned(1, 2, 3, 4), max_errors="3")
    with pytest.raises(KeyboardInterrupt):
        run_job(store, rows_of(TEXTS), _Interrupted(), retry_failed=True)
    events = [json.loads(line)["event"] for line in journal_of(store).read().splitlines()]
    assert [e for e in events if e in {"run", "stop", "retry"}] == [
        *("run", "stop", "retry", "run", "stop")
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
    log = journal_of(store)
    log.append(b'{"event":"spl')
    log.close()
    run_job(store, rows_of(TEXTS), retry_failed=True)
    assert texts_of(store) == expected()
