"""Two runs on one output: the lock of an object store is a lease, and the loser of it is fenced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.s3_server import Call, Fault, Proxy, always, proxy_before, times
from support.stores import BUCKET
from support.waiting import wait_for
from textmill.errors import OutputError
from textmill.storage.connecting import Address, StoreOptions
from textmill.storage.objects import ObjectLock, ObjectStore

SECONDS = 2.0
"""Of the leases here."""


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return f"leases/{request.node.name}/"


@pytest.fixture
def other_proxy(s3_url: str, credentials: None) -> Iterator[Proxy]:
    with proxy_before(s3_url) as proxy:
        yield proxy


def run_through(proxy: Proxy, prefix: str) -> ObjectStore:
    """The store as one run sees it, through a network of its own."""
    options = StoreOptions(endpoint_url=proxy.url, retry_seconds=3, lease_seconds=SECONDS)
    return ObjectStore(Address("s3", BUCKET), prefix, options)


def is_lost(lock: ObjectLock) -> bool:
    try:
        lock.check()
    except OutputError:
        return True
    return False


def refusals(store: ObjectStore) -> Iterator[str]:
    """Why each way of writing is refused."""
    log, target = store.log("job/parts/0"), store.target("out")
    log.append(b"stale ")
    target.write(b"stale")
    for work in (
        log.sync,
        target.commit,
        lambda: store.replace("job/job.json", b"stale"),
        lambda: store.create("manifest", b"stale"),
        lambda: store.remove("job/job.json"),
        lambda: store.clear("job/"),
    ):
        with pytest.raises(OutputError) as caught:
            work()
        yield caught.value.message
    target.discard()


def test_a_holder_that_lives_is_named(proxy: Proxy, prefix: str) -> None:
    lock = run_through(proxy, prefix).lock("job/lock")
    with pytest.raises(OutputError, match=f"another run .* \\(process {os.getpid()} on ") as caught:
        run_through(proxy, prefix).lock("job/lock")
    assert f"s3://{BUCKET}/{prefix}job/lock" in caught.value.message
    lock.release()


def test_a_run_that_is_cut_off_stops_and_is_replaced(
    proxy: Proxy, other_proxy: Proxy, prefix: str
) -> None:
    old, new = run_through(proxy, prefix), run_through(other_proxy, prefix)
    old_lock = old.lock("job/lock")
    old.replace("job/job.json", b"both")
    proxy.rule = always(Fault.RESET_REQUEST)  # its network is gone
    wait_for(lambda: is_lost(old_lock))
    assert all("did not answer for so long" in reason for reason in refusals(old))
    new_lock = new.lock("job/lock")
    new.log("job/parts/0")
    proxy.rule = lambda call: None  # and back again
    wait_for(lambda: any("has taken this output over" in reason for reason in refusals(old)))
    old_lock.release()
    new_lock.check()
    assert new.read("job/job.json") == b"both"
    assert new.names("") == ["job/job.json", "job/lock"]
    new_lock.release()
    assert new.names("") == ["job/job.json"]


@pytest.mark.full
def test_a_segment_on_its_way_when_the_lease_is_lost_does_not_count(
    proxy: Proxy, other_proxy: Proxy, prefix: str
) -> None:
    old, new = run_through(proxy, prefix), run_through(other_proxy, prefix)
    old_lock, old_log = old.lock("job/lock"), old.log("log")
    old_log.append(b"both ")
    old_log.sync()
    old_log.append(b"late ")
    proxy.hold = lambda call: call.method == "PUT" and "segment" in call.path
    proxy.rule = always(Fault.RESET_REQUEST, lambda call: "lock" in call.path)
    late = threading.Thread(target=old_log.sync)
    late.start()
    assert proxy.held.wait(120)

    new_lock, new_log = new.lock("job/lock"), new.log("log")
    assert new_log.read() == b"both "
    new_log.append(b"new")
    new_log.sync()
    proxy.go_on.set()
    late.join()

    assert len(new.listing("log/")) == 3, "it has landed"
    assert new_log.read() == new.log("log").read() == b"both new"
    with pytest.raises(OutputError):
        old_lock.check()
    old_lock.release()
    new_lock.release()


def test_a_manifest_on_its_way_when_the_lease_is_lost_is_noticed_by_the_new_run(
    proxy: Proxy, other_proxy: Proxy, prefix: str
) -> None:
    old, new = run_through(proxy, prefix), run_through(other_proxy, prefix)
    old_lock = old.lock("job/lock")
    proxy.hold = lambda call: call.method == "PUT" and "manifest" in call.path
    proxy.rule = always(Fault.RESET_REQUEST, lambda call: "lock" in call.path)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(old.create, "manifest", b"old")
        assert proxy.held.wait(120)
        new_lock = new.lock("job/lock")
        assert new.create("manifest", b"new") is True
        proxy.go_on.set()
        assert late.result() is False
    assert new.read("manifest") == b"new"
    old_lock.release()
    new_lock.release()


def test_of_several_runs_that_find_a_dead_one_one_gets_the_lock(proxy: Proxy, prefix: str) -> None:
    with proxy_before(proxy.url) as dead:
        run_through(dead, prefix).lock("job/lock")
        dead.rule = always(Fault.RESET_REQUEST)

        def take(_: int) -> ObjectLock | None:
            try:
                return run_through(proxy, prefix).lock("job/lock")
            except OutputError:
                return None

        with ThreadPoolExecutor(4) as pool:
            locks = [lock for lock in pool.map(take, range(4)) if lock]
        assert len(locks) == 1
        locks[0].check()
        locks[0].release()


@pytest.mark.parametrize(
    "fault",
    [f if f is Fault.LOST_REPLY else pytest.param(f, marks=pytest.mark.full) for f in Fault],
)
def test_lost_replies_do_not_lose_the_lease(fault: Fault, proxy: Proxy, prefix: str) -> None:
    """The first two tries to take it, and later two renewals, are spoiled."""

    def renewals() -> int:
        return len([call for call, _ in proxy.seen if is_renewal(call)])

    def is_renewal(call: Call) -> bool:
        return call.method == "PUT" and "lock" in call.path

    proxy.rule = times(2, fault, is_renewal)
    store = run_through(proxy, prefix)
    lock = store.lock("job/lock")
    lock.check()
    proxy.rule = times(2, fault, is_renewal)
    proxy.seen.clear()
    wait_for(lambda: renewals() >= 4)
    lock.check()
    lock.release()
    assert store.names("") == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault.LOST_REPLY,
        *(pytest.param(f, marks=pytest.mark.full) for f in (Fault.SLOW_DOWN, Fault.RESET_REQUEST)),
    ],
)
def test_a_run_that_was_cut_off_for_longer_goes_on_if_nobody_came(
    fault: Fault, proxy: Proxy, prefix: str
) -> None:
    """Writing waits for the network; renewals that were applied unheard are its own."""
    store = run_through(proxy, prefix)
    lock = store.lock("job/lock")
    proxy.rule = always(fault)
    back = threading.Timer(1.5 * SECONDS, setattr, (proxy, "rule", lambda call: None))
    back.start()
    time.sleep(SECONDS)
    proxy.seen.clear()
    store.replace("job/job.json", b"after all")
    assert all("job.json" not in call.path for call, spoiled in proxy.seen if spoiled)
    back.join()
    lock.check()
    assert store.read("job/job.json") == b"after all"
    lock.release()


def test_a_run_that_finds_its_lock_gone_is_out(proxy: Proxy, prefix: str) -> None:
    lock, other = run_through(proxy, prefix).lock("job/lock"), run_through(proxy, prefix)
    other.remove("job/lock")
    wait_for(lambda: is_lost(lock))
    with pytest.raises(OutputError, match="has taken this output over"):
        lock.check()
    lock.release()


def test_a_removal_that_is_tried_again_does_not_take_the_lock_of_the_next_run(
    proxy: Proxy, other_proxy: Proxy, prefix: str
) -> None:
    """The first try was applied, its reply lost; before the second, another run has the lock."""
    old, new = run_through(proxy, prefix), run_through(other_proxy, prefix)
    taken: list[ObjectLock] = []
    removed = threading.Event()

    def rule(call: Call) -> Fault | None:
        if removed.is_set() and not taken:
            taken.append(new.lock("job/lock"))
        if "delete" not in call.path and call.method != "DELETE":
            return None
        first = not removed.is_set()
        removed.set()
        return Fault.LOST_REPLY if first else None

    lock = old.lock("job/lock")
    proxy.rule = rule
    lock.release()
    assert new.names("") == ["job/lock"]
    taken[0].check()
    taken[0].release()
    assert new.names("") == []


RUN = f"""
import sys
from textmill.errors import OutputError
from textmill.storage.connecting import Address, StoreOptions
from textmill.storage.objects import ObjectStore

options = StoreOptions(endpoint_url=sys.argv[1], lease_seconds={SECONDS})
store = ObjectStore(Address("s3", "{BUCKET}"), sys.argv[2], options)
store.lock("job/lock")
print("holds", flush=True)
sys.stdin.readline()
try:
    store.replace("job/job.json", b"stale")
except OutputError as error:
    print(error.message, flush=True)
"""


@pytest.fixture
def process(proxy: Proxy, prefix: str) -> Iterator[subprocess.Popen[str]]:
    """Another run, which holds the lock and writes when it is sent a line."""
    with subprocess.Popen(
        [sys.executable, "-c", RUN, proxy.url, prefix],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as run:
        assert run.stdout
        assert run.stdout.readline() == "holds\n"
        yield run
        run.kill()


@pytest.mark.full
def test_a_killed_run_is_replaced(
    process: subprocess.Popen[str], proxy: Proxy, prefix: str
) -> None:
    process.kill()
    run_through(proxy, prefix).lock("job/lock").release()


def test_a_run_that_slept_and_wakes_writes_nothing(
    process: subprocess.Popen[str], proxy: Proxy, prefix: str
) -> None:
    process.send_signal(signal.SIGSTOP)
    store = run_through(proxy, prefix)
    lock = store.lock("job/lock")
    store.replace("job/job.json", b"new")
    process.send_signal(signal.SIGCONT)
    said, _ = process.communicate("write\n", timeout=120)
    assert "taken this output over" in said
    assert store.read("job/job.json") == b"new"
    lock.check()
    lock.release()
