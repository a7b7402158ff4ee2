"""--retry-failed: what failed in the engine is computed again, everything else stays."""

from __future__ import annotations

import pytest

from support.jobs import lines, rows_of, run_job, texts_of
from textmill.engines.echo import EchoEngine
from textmill.errors import ErrorCode, OutputError, TooManyErrors
from textmill.storage.local import LocalStore
from textmill.testing.engines import PoisonEngine

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
