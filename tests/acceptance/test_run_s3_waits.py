"""How much a job asks of its store, and how long Ctrl-C takes where the store does not answer."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import zlib
from collections import Counter
from collections.abc import Iterator

import pytest

from support.s3_jobs import Prefix, begin, end
from support.s3_server import Call, Proxy

ROWS = b"".join(
    json.dumps({"id": n, "text_inputs": f"text {n}"}).encode() + b"\n" for n in range(8000)
)
WINDOWS = 6
"""256, 512, … 4,096 rows; the last is cut short."""
SOON_SECONDS = 30.0
"""On a very busy machine; the time-outs that are not waited for are minutes."""


@pytest.fixture
def place(s3_url: str, credentials: None, request: pytest.FixtureRequest) -> Prefix:
    return Prefix(s3_url, f"waits/{zlib.crc32(request.node.name.encode()):08x}")


def kind(call: Call) -> str:
    if call.method == "GET" and "list-type" in call.path:
        return "LIST"
    return "renewal" if "/lock" in call.path and "if-match" in call.headers else call.method


def test_a_small_job_asks_its_store_for_little(place: Prefix, proxy: Proxy) -> None:
    """For a window a write and a read; the rest is of the job, however long it is."""
    url = place.put("in.jsonl", ROWS)
    ran = end(begin(url, place.url("out.jsonl"), proxy.url, "--sync-seconds", "60"))
    assert ran.code == 0, ran.err
    counts = Counter(kind(call) for call, _ in proxy.seen)
    of_windows = [c for c, _ in proxy.seen if "/0000" in c.path and "job" in c.path]
    assert Counter(kind(call) for call in of_windows) == {"PUT": WINDOWS, "GET": WINDOWS}
    assert counts["LIST"] <= 4, counts
    assert counts.total() - counts["renewal"] <= 2 * WINDOWS + 45, counts


def interrupted(process: subprocess.Popen[bytes]) -> None:
    """Press Ctrl-C; it ends soon, with the words and exit code of an interrupt."""
    process.send_signal(signal.SIGINT)
    ran = end(process, SOON_SECONDS)
    assert (ran.code, "interrupted" in ran.err) == (130, True), ran.err


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_ctrl_c_does_not_wait_for_a_server_that_never_answers(
    place: Prefix, silent: socket.socket
) -> None:
    process = begin(
        place.url("in.jsonl"), place.url("out.jsonl"), f"http://127.0.0.1:{silent.getsockname()[1]}"
    )
    connection, _ = silent.accept()
    assert connection.recv(10)
    interrupted(process)
    connection.close()


def reads_the_input(call: Call) -> bool:
    return call.method == "GET" and call.path.endswith("in.jsonl")


@pytest.mark.parametrize("all_of_it", [False, True], ids=["only the input", "nothing answers"])
def test_ctrl_c_does_not_wait_for_an_input_that_does_not_come(
    place: Prefix, proxy: Proxy, all_of_it: bool
) -> None:
    """It hangs in the middle of the input, where another thread reads than that of the job."""
    url = place.put("in.jsonl", ROWS * 10)
    seen = []

    def hold(call: Call) -> bool:
        seen.append(reads_the_input(call))
        began = sum(seen) >= 3
        return began and (all_of_it or seen[-1])

    proxy.hold = hold
    process = begin(url, place.url("out.jsonl"), proxy.url, "--lease-seconds", "20")
    assert proxy.held.wait(60)
    interrupted(process)
    if not all_of_it:
        assert "out.jsonl.job/lock" not in place.names(), "what answers is left in order"
