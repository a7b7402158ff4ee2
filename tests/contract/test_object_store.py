"""Object stores: what the network breaks is mended, what cannot be mended is said in words."""

from __future__ import annotations

import errno
import io
import itertools
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.s3_server import (
    Answer,
    Call,
    Fault,
    Proxy,
    always,
    once,
    s3_client,
)
from support.stores import BUCKET
from textmill.errors import InputError, OutputError, TextmillError, UsageError
from textmill.storage.base import Target
from textmill.storage.cloud_errors import is_passing
from textmill.storage.connecting import Address, StoreOptions
from textmill.storage.objects import ObjectStore
from textmill.storage.segments import Segment, segments_in_force

MIB = 1 << 20
_numbers = itertools.count()


def store_at(url: str | None, *, bucket: str = BUCKET, retry_seconds: float = 30) -> ObjectStore:
    options = StoreOptions(endpoint_url=url, retry_seconds=retry_seconds)
    return ObjectStore(Address("s3", bucket), f"objects {next(_numbers)}/", options)


@pytest.fixture
def store(proxy: Proxy) -> ObjectStore:
    return store_at(proxy.url)


@pytest.fixture
def amazon(s3_url: str) -> Any:
    return s3_client(s3_url)


def key_of(store: ObjectStore, name: str) -> str:
    return store.label(name).removeprefix(f"s3://{BUCKET}/")


# --- faults -----------------------------------------------------------------------------------


def written(store: ObjectStore, data: bytes) -> None:
    store.replace("file", data)
    assert store.read("file") == data


def created(store: ObjectStore, data: bytes) -> None:
    assert store.create("file", data) is True
    assert store.create("file", data) is False
    assert store.read("file") == data


def streamed(store: ObjectStore, data: bytes) -> None:
    store.replace("file", data)
    stream = store.open("file")
    assert stream.read(1000) + stream.read() == data


def listed(store: ObjectStore, data: bytes) -> None:
    store.replace("file", data)
    assert store.names("") == ["file"]


def removed(store: ObjectStore, data: bytes) -> None:
    store.replace("file", data)
    store.remove("file")
    assert store.stat("file") is None


def logged(store: ObjectStore, data: bytes) -> None:
    log = store.log("log")
    for start in range(0, len(data), MIB):
        log.append(data[start : start + MIB])
        log.sync()
    assert store.log("log").read() == data


def uploaded(store: ObjectStore, data: bytes) -> None:
    target = store.target("file")
    target.write(data)
    target.commit()
    assert store.read("file") == data


def uploaded_in_parts(store: ObjectStore, data: bytes) -> None:
    uploaded(store, data * 6)


WORK = (
    *(written, created, streamed, listed, removed, logged, uploaded),
    pytest.param(uploaded_in_parts, marks=pytest.mark.full),  # 18 MiB each
)
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("work", WORK)
def test_no_single_fault_is_noticed(
    work: Callable[[ObjectStore, bytes], None], fault: Fault, proxy: Proxy
) -> None:
    """Each kind of request of each kind of work is spoiled once, in each way."""
    data = os.urandom(3 * MIB)
    methods = METHODS if work is not uploaded_in_parts else ("POST", "PUT")
    for method in methods:
        store = store_at(proxy.url)
        proxy.rule = once(fault, lambda call, method=method: call.method == method)
        work(store, data)


@pytest.mark.parametrize("fault", Fault)
def test_a_completion_whose_reply_is_lost_counts(
    fault: Fault, store: ObjectStore, proxy: Proxy, amazon: Any
) -> None:
    data = os.urandom(20 * MIB)
    proxy.rule = once(fault, lambda call: call.method == "POST" and "uploadId" in call.path)
    target = store.target("file")
    target.write(data)
    target.commit()
    assert store.read("file") == data
    assert uploads(amazon, store) == []


def test_a_name_that_another_takes_between_two_tries_is_anothers(
    store: ObjectStore, proxy: Proxy, amazon: Any
) -> None:
    def rule(call: Call) -> Fault | None:
        if call.method != "PUT" or amazon.list_objects_v2(Bucket=BUCKET, Prefix=key)["KeyCount"]:
            return None
        amazon.put_object(Bucket=BUCKET, Key=key, Body=b"mine")
        return Fault.RESET_REQUEST

    key = key_of(store, "file")
    proxy.rule = rule
    assert store.create("file", b"mine") is False, "the same bytes, but not the same run"


def test_a_store_that_stays_busy_is_an_error_in_words(proxy: Proxy) -> None:
    store = store_at(proxy.url, retry_seconds=1)
    proxy.rule = always(Fault.SLOW_DOWN)
    with pytest.raises(OutputError, match="cannot be written: the store is too busy") as caught:
        store.replace("file", b"x")
    assert store.label("file") in caught.value.message
    with pytest.raises(InputError, match="cannot be read: the store is too busy"):
        store.stat("file")


# --- reading ----------------------------------------------------------------------------------


def test_a_change_while_reading_is_seen(store: ObjectStore) -> None:
    store.replace("file", os.urandom(3 * MIB))
    stream = store.open("file")
    stream.read(10)
    store.replace("file", os.urandom(3 * MIB))
    with pytest.raises(InputError, match="changed while it was read"):
        stream.read()


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.integers(-900, 900), st.integers(-1, 900)))
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_stream_is_read_as_bytes_are(
    s3_url: str, credentials: None, moves: list[tuple[int, int, int]]
) -> None:
    """Thousands of bytes, in units of a thousand, so that buffers end within and between reads."""
    data = bytes(n % 251 for n in range(900)) * 1000
    store = ObjectStore(Address("s3", BUCKET), "stream/", StoreOptions(endpoint_url=s3_url))
    store.create("file", data)
    stream, oracle = store.open("file"), io.BytesIO(data)
    for whence, offset, size in moves:
        base = (0, oracle.tell(), len(data))[whence]
        if base + offset * 1000 >= 0:
            assert stream.seek(offset * 1000, whence) == oracle.seek(offset * 1000, whence)
        count = size * 1000 if size >= 0 else -1
        assert stream.read(count) == oracle.read(count)
        assert stream.tell() == oracle.tell()


@pytest.mark.full
def test_thousands_of_objects_are_listed_and_cleared(store: ObjectStore, s3_url: str) -> None:
    """Both go by the thousand, and so does the server."""
    client, prefix = s3_client(s3_url), key_of(store, "")
    names = [f"d/{n:05d}" for n in range(2100)]
    for name in names:
        client.put_object(Bucket=BUCKET, Key=prefix + name, Body=b"x")
    assert store.names("d/") == names
    store.clear("d/0")
    assert store.names("") == []


def test_reading_in_order_makes_few_requests_and_the_end_of_a_file_a_small_one(
    store: ObjectStore, proxy: Proxy
) -> None:
    data = os.urandom(20 * MIB)
    store.replace("file", data)
    proxy.seen.clear()
    stream = store.open("file")
    while stream.read(10_000):
        pass
    assert len(proxy.seen) < 10
    proxy.seen.clear()
    stream = store.open("file")
    stream.seek(-8, os.SEEK_END)
    assert stream.read(8) == data[-8:]
    stream.seek(-2000, os.SEEK_CUR)
    assert stream.read(1000) == data[-2000:-1000]
    assert [call.headers.get("range") for call, _ in proxy.seen][1:] == [
        f"bytes={20 * MIB - 8}-{20 * MIB - 1}",
        f"bytes={20 * MIB - 2000}-{20 * MIB - 1}",
    ]


def test_who_follows_a_log_asks_for_its_new_segments_only(
    store: ObjectStore, proxy: Proxy, amazon: Any
) -> None:
    """Else each look at a job of a day would ask for thousands of objects."""
    writer, follower = store.log("journal"), store.log("journal")
    written = b""
    for number in range(5):
        writer.append(b"line %d\n" % number)
        writer.sync()
        written += b"line %d\n" % number
        proxy.seen.clear()
        assert follower.read() == written
        asked = [call.path for call, _ in proxy.seen if "list-type" not in call.path]
        assert [path.partition("?")[0][-13:] for path in asked] == [f"{number:06d}-000001"]
    key = key_of(store, "journal/segment-000003-000002")
    amazon.put_object(Bucket=BUCKET, Key=key, Body=b"of a run that took over\n")
    taken_over = b"line 0\nline 1\nline 2\nof a run that took over\n"
    assert follower.read() == store.log("journal").read() == taken_over
    follower.append(b"more")
    assert follower.read() == taken_over + b"more"


def test_folder_markers_are_no_files(store: ObjectStore, amazon: Any) -> None:
    for name, body in (("d/", b""), ("d/e/", b""), ("d/e/file", b"1"), ("d/empty", b"")):
        amazon.put_object(Bucket=BUCKET, Key=key_of(store, name), Body=body)
    assert store.names("") == ["d/e/file", "d/empty"]


def test_a_key_that_cannot_be_used_is_refused_by_name(store: ObjectStore, amazon: Any) -> None:
    amazon.put_object(Bucket=BUCKET, Key=key_of(store, "d//file"), Body=b"1")
    with pytest.raises(InputError, match="an empty part"):
        store.names("d/")
    with pytest.raises(InputError, match="an empty part"):
        store.read("d//file")
    for name in ("../file", "a/./b", "a\nb", "\udcff"):
        with pytest.raises(OutputError, match="cannot be written"):
            store.replace(name, b"")
    for name in ("", "d/", "/"):
        with pytest.raises(InputError, match="does not name an object"):
            store.read(name)


# --- uploads ----------------------------------------------------------------------------------


def uploads(amazon: Any, store: ObjectStore) -> list[str]:
    found = amazon.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    return [upload["Key"] for upload in found if upload["Key"].startswith(key_of(store, ""))]


def test_a_discarded_upload_leaves_no_parts(store: ObjectStore, amazon: Any) -> None:
    target = store.target("file")
    target.write(os.urandom(40 * MIB))
    assert uploads(amazon, store)
    target.discard()
    assert uploads(amazon, store) == []
    assert store.names("") == []


def fill(target: Target, data: bytes, times: int) -> None:
    for _ in range(times):
        target.write(data)
    target.commit()


def test_an_upload_that_fails_leaves_nothing(proxy: Proxy, amazon: Any) -> None:
    store = store_at(proxy.url, retry_seconds=0.5)
    store.replace("file", b"before")
    proxy.rule = always(Fault.SLOW_DOWN, lambda call: "partNumber=2" in call.path)
    target = store.target("file")
    with pytest.raises(OutputError, match="too busy"):
        fill(target, os.urandom(10 * MIB), 8)
    target.discard()
    assert uploads(amazon, store) == []
    assert store.read("file") == b"before"


# --- logs -------------------------------------------------------------------------------------


def append(store: ObjectStore, data: bytes) -> Any:
    log = store.log("log")
    log.append(data)
    log.sync()
    return log


def test_a_late_segment_of_a_run_that_was_replaced_does_not_count(store: ObjectStore) -> None:
    old = append(store, b"both ")
    new = store.log("log")
    assert new.read() == b"both "
    old.append(b"late ")
    new.append(b"new ")
    new.sync()
    old.sync()
    old.append(b"later ")
    old.sync()
    assert new.read() == store.log("log").read() == b"both new "
    new.append(b"newer")
    new.sync()
    assert store.log("log").read() == b"both new newer"
    assert append(store, b", newest").read() == b"both new newer, newest"


def test_two_writers_without_a_lock_are_found_out(store: ObjectStore) -> None:
    first, second = store.log("log"), store.log("log")
    for log in (first, second):
        assert log.read() == b""
        log.append(b"x")
    second._next = second._first()  # both have looked, none has written
    first.sync()
    with pytest.raises(OutputError, match="another run is writing to it"):
        second.sync()


def test_a_missing_segment_is_damage(store: ObjectStore) -> None:
    log = append(store, b"one")
    log.append(b"two")
    log.sync()
    store._bucket.delete(key_of(store, "log/segment-000000-000001"))
    with pytest.raises(InputError, match="its segment 0 is missing"):
        store.log("log").read()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=5))
def test_the_last_writer_decides_where_its_segments_begin(runs: list[tuple[int, int]]) -> None:
    """Each run writes on after what counts, `written` segments; then `late` ones land later."""
    stored: list[Segment] = []
    late: list[list[Segment]] = []
    expected: list[Segment] = []
    for writer, (written, in_flight) in enumerate(runs, start=1):
        if not written:
            continue
        first = len(segments_in_force(stored, "log"))
        mine = [Segment(first + n, writer) for n in range(written + in_flight)]
        stored += mine[:written]
        expected = expected[:first] + mine[:written]
        late.append(mine[written:])
    late_ones = [segment for segments in late[:-1] for segment in segments]
    assert segments_in_force(stored + late_ones, "log") == expected


# --- errors -----------------------------------------------------------------------------------


def failures(store: ObjectStore) -> Iterator[TextmillError]:
    for work in (
        lambda: store.replace("file", b"x"),
        lambda: store.create("file", b"x"),
        lambda: store.read("file"),
        lambda: store.names(""),
        lambda: store.stat("file"),
    ):
        with pytest.raises((InputError, OutputError)) as caught:
            work()
        assert store.label("").rstrip("/") in caught.value.message
        assert len(str(caught.value)) < 400
        assert "\n\n" not in str(caught.value)
        yield caught.value


def test_a_missing_bucket_is_said(proxy: Proxy) -> None:
    store = store_at(proxy.url, bucket="no-such-bucket")
    for work in (lambda: store.replace("a", b""), lambda: store.read("a"), lambda: store.names("")):
        with pytest.raises(TextmillError, match="there is no such bucket"):
            work()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(403, "AccessDenied"), "access is denied"),
        (Answer(403, "InvalidAccessKeyId"), "the credentials are not valid|access is denied"),
        (Answer(400, "ExpiredToken"), "the credentials have expired|status 400"),
        (Answer(301, "PermanentRedirect"), "the bucket is in another region"),
        (Answer(400, "AuthorizationHeaderMalformed"), "in another region|status 400"),
        (Answer(507, "InsufficientStorage"), "InsufficientStorage|status 507"),
    ],
)
def test_refusals_are_said_in_words(proxy: Proxy, answer: Answer, reason: str) -> None:
    """A HEAD has no body, so what is known there is the status alone."""
    store = store_at(proxy.url, retry_seconds=0.3)
    proxy.rule = always(answer)
    for error in failures(store):
        assert any(part in error.message for part in reason.split("|")), error.message


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_a_server_that_is_not_there_is_said(credentials: None) -> None:
    for error in failures(store_at(f"http://127.0.0.1:{free_port()}", retry_seconds=0.3)):
        assert "it cannot be reached" in error.message


def test_missing_credentials_are_said(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    for error in failures(store_at(s3_url, retry_seconds=0.3)):
        assert "no credentials were found" in error.message
        assert "AWS_ACCESS_KEY_ID" in str(error)


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(UsageError, match=r"pip install 'textmill\[s3\]'"):
        store_at("http://127.0.0.1:9", bucket="another")


# --- where traffic goes -----------------------------------------------------------------------


@pytest.fixture
def asked_for(monkeypatch: pytest.MonkeyPatch, credentials: None) -> Iterator[list[str]]:
    """The hosts that are asked for over https, by way of a proxy that refuses them all."""
    hosts: list[str] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            hosts.append(connection.recv(4096).decode().splitlines()[0])
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.getsockname()[1]}")
    yield hosts
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


@pytest.mark.parametrize(
    ("address", "host"),
    [
        (Address("s3", "bucket"), "s3.eu-west-3.amazonaws.com"),
        (Address("gs", "bucket"), "storage.googleapis.com"),
        (Address("az", "box@account"), "account.blob.core.windows.net"),
        (Address("abfss", "box@account.dfs.core.windows.net"), "account.blob.core.windows.net"),
    ],
)
def test_the_environment_cannot_send_traffic_elsewhere(
    address: Address, host: str, proxy: Proxy, asked_for: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
    others = ("GOOGLE_BASE_URL", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")
    trap = dict.fromkeys((*aws, *others), proxy.url)
    trap |= {"AWS_ALLOW_HTTP": "true", "AZURE_STORAGE_USE_EMULATOR": "true", "AWS_REGION": "mars-1"}
    trap |= {"GOOGLE_SKIP_SIGNATURE": "true", "AZURE_SKIP_SIGNATURE": "true"}
    for name, value in trap.items():
        monkeypatch.setenv(name, value)
    store = ObjectStore(address, "", StoreOptions(region="eu-west-3", retry_seconds=0.1))
    with pytest.raises(InputError, match="cannot be reached"):
        store.stat("file")
    assert set(asked_for) == {f"CONNECT {host}:443 HTTP/1.1"}
    assert proxy.seen == []


def test_an_azure_address_needs_its_account() -> None:
    with pytest.raises(UsageError, match="the storage account is missing"):
        ObjectStore(Address("az", "box"), "", StoreOptions())


def test_a_full_disk_of_this_machine_does_not_pass():
    assert not is_passing(OSError(errno.ENOSPC, "No space left on device"))
    assert is_passing(OSError("connection reset"))
