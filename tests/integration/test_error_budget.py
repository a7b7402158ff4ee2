"""`--max-errors` as a share of rows whose number nobody knows before they are read."""

from __future__ import annotations

from fractions import Fraction

import pytest

from support.jobs import rows_of, run_job
from textmill.errors import TooManyErrors, UsageError
from textmill.storage.memory import MemoryStore
from textmill.transform.ledger import ErrorBudget

EVERY_20TH = [None if n % 20 == 7 else f"text {n}" for n in range(6000)]


def test_bad_rows_that_are_spread_evenly_pass_a_share_that_allows_them():
    """The bad rows of a window are done before its good ones, and that is no reason to stop."""
    manifest = run_job(MemoryStore(), rows_of(EVERY_20TH), max_errors="6%")
    assert manifest["counts"]["invalid"] == 300


def test_a_resumed_job_counts_what_was_done_before():
    store = MemoryStore()
    with pytest.raises(TooManyErrors):
        run_job(store, rows_of(EVERY_20TH), max_errors="4%")
    manifest = run_job(store, rows_of(EVERY_20TH), max_errors="6%")
    assert manifest["counts"]["invalid"] == 300
    assert manifest["run"]["resumed_rows"] >= 1000


def test_a_share_that_cannot_hold_stops_the_job_early():
    rows = rows_of([None] * 1000 + ["text"] * 200_000)
    store = MemoryStore()
    with pytest.raises(TooManyErrors, match="--max-errors allows"):
        run_job(store, rows, max_errors="1%")
    assert len(store.names("out.jsonl.job/parts/")) < 10


@pytest.mark.parametrize("text", ["1e9999999999%", "٣%", "-1%", "101%", "1/0%", "%", "1 %"])
def test_what_is_no_percentage_is_refused_at_once(text):
    with pytest.raises(UsageError, match="neither a number of rows nor a percentage"):
        ErrorBudget.parse(text)


def test_a_percentage_may_have_a_fraction():
    assert ErrorBudget.parse("0.5%").share == Fraction(1, 200)
