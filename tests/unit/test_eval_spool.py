"""Texts come back from memory and from disk as they were put down."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys

from hypothesis import example, given
from hypothesis import strategies as st

from support.command import environment
from textmill.evaluation.spool import Spool

TEXTS = st.text(st.characters(), max_size=20)
ROWS = st.lists(st.lists(st.one_of(st.none(), TEXTS), max_size=4), max_size=8)


@example([["\ud800", None, ""], []], 1, random.Random(0))
@given(ROWS, st.integers(1, 60), st.randoms())
def test_rows_come_back_in_any_order_while_others_are_added(
    rows: list[list[str | None]], memory: int, rng: random.Random
) -> None:
    """Half surrogate pairs included; most examples outgrow their memory on the way."""
    spool = Spool(max_memory_bytes=memory)
    for count, row in enumerate(rows, start=1):
        spool.append(row)
        place = rng.randrange(count)
        assert spool[place] == rows[place]
    assert len(spool) == len(rows)
    assert [spool[place] for place in range(len(rows))] == rows


PROGRAM = """
from textmill.errors import OutputError
from textmill.evaluation.spool import Spool
spool = Spool(max_memory_bytes=1000)
try:
    for _ in range(100):
        spool.append(["x" * 1000])
except OutputError as error:
    print(error)
"""


def limit_files() -> None:
    """No file may grow beyond 20 kB, as if the disk were full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_full_disk_is_told_with_the_way_out() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment(),
        capture_output=True,
        preexec_fn=limit_files,
        text=True,
        check=True,
    )
    assert "references cannot be put down there: File too large" in done.stdout
    assert "TMPDIR" in done.stdout
