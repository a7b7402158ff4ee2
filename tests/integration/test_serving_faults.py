"""Whatever breaks, hangs or leaves: neighbours get their answers, the next call is served."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx2 as httpx
import pytest

from support.isolation import venomous_engine
from support.serving import echo_endpoint, echo_model, rows_of
from support.waiting import wait_for
from textmill.batching.clock import RealClock
from textmill.core import Failure
from textmill.engines.bytes_tokenizer import ByteTokenizer
from textmill.engines.echo import EchoEngine
from textmill.errors import EngineError, ErrorCode
from textmill.serving.access import Keys, RateLimiter, parse_rate
from textmill.serving.app import make_app
from textmill.serving.endpoint import Endpoint
from textmill.serving.ends import LiveEnds
from textmill.serving.guard import Access
from textmill.serving.limits import Limits
from textmill.serving.refusals import Code, Refused
from textmill.serving.server import HttpServer, Listen
from textmill.testing.engines import PoisonEngine, Venom
from textmill.transform.windows import Preparer


@contextmanager
def listening(endpoint, access=None, **listen):
    app = make_app(endpoint, access or Access(), version="test")
    where = Listen(port=0, **listen)
    with where.bind() as bound:
        server = HttpServer(endpoint, app, where, bound)
        server.start()
        try:
            yield server.url
        finally:
            server.close()


SHARED = {}


@pytest.fixture(autouse=True, scope="module")
def shared_client():
    """Making a client costs more than asking."""
    with httpx.Client(timeout=60, limits=httpx.Limits(max_keepalive_connections=0)) as client:
        SHARED["client"] = client
        yield


def ask(url, text="hello", **headers):
    return SHARED["client"].post(
        f"{url}/invocations",
        content=json.dumps({"text_inputs": text}),
        headers={"content-type": "application/json", **headers},
    )


class VenomTokenizer(ByteTokenizer):
    """Turns the name of a venom in a text into its token."""

    def encode(self, texts, *, src_lang=None):
        found = super().encode(texts, src_lang=src_lang)
        return [
            [*ids, *(int(venom) for venom in Venom if venom.name in text.split())]
            for text, ids in zip(texts, found, strict=True)
        ]

    def decode(self, sequences):
        return super().decode([[n for n in ids if n < 1000] for ids in sequences])


@contextmanager
def venomous_endpoint(*, timeout_s=1.0, parallel=1, **settings):
    engine = venomous_engine(timeout_s=timeout_s, parallel=parallel)
    engine.wait_until_loaded()
    base = echo_model()
    from msgspec.structs import replace

    tokenizer = VenomTokenizer()
    preparer = Preparer(
        base.preparer._resolver, tokenizer, engine, max_input_tokens=None, truncate=False
    )
    model = replace(base, engine=engine, tokenizer=tokenizer, preparer=preparer)
    endpoint = Endpoint(model, **settings)
    endpoint.start()
    try:
        yield endpoint
    finally:
        endpoint.close(5.0)
        engine.close()


@pytest.mark.parametrize(
    ("venom", "code"),
    [
        (Venom.FAIL, ErrorCode.ENGINE_ERROR),
        (Venom.RAISE, ErrorCode.ENGINE_ERROR),
        (Venom.SEGFAULT, ErrorCode.CRASHED),
        (Venom.HANG, ErrorCode.TIMEOUT),
        (Venom.NO_MEMORY, ErrorCode.OOM),
    ],
)
def test_a_poisoned_text_fails_alone_among_the_calls_that_share_its_batch(venom, code):
    with venomous_endpoint() as endpoint:
        slow = endpoint.call(endpoint.prepare(rows_of("SLOW")))  # the others gather behind it
        time.sleep(0.05)
        texts = [f"text {n}" for n in range(6)]
        calls = [endpoint.call(endpoint.prepare(rows_of(text))) for text in texts]
        poisoned = endpoint.call(endpoint.prepare(rows_of(f"a {venom.name} b")))
        (answer,) = poisoned.done.result(30)
        assert isinstance(answer, Failure)
        assert answer.code is code
        assert [call.done.result(30)[0].texts[0] for call in calls] == texts
        assert not isinstance(slow.done.result(30)[0], Failure)
        assert max(call.batch_rows for call in calls) > 1


def test_a_hung_engine_turns_readiness_red_and_its_recovery_green():
    with (
        venomous_endpoint(timeout_s=1.5, stall_seconds=0.4) as endpoint,
        listening(endpoint) as url,
    ):
        assert httpx.get(f"{url}/ping").status_code == 200
        call = endpoint.call(endpoint.prepare(rows_of("HANG")))
        wait_for(lambda: httpx.get(f"{url}/ping").status_code == 503)
        assert httpx.get(f"{url}/v2/health/ready").status_code == 503
        assert httpx.get(f"{url}/v2/health/live").status_code == 200
        refused = ask(url)
        assert (refused.status_code, refused.json()["code"]) == (503, "not_ready")
        assert call.done.result(30)[0].code is ErrorCode.TIMEOUT
        endpoint.probe()
        wait_for(lambda: httpx.get(f"{url}/ping").status_code == 200)
        assert ask(url).status_code == 200


def test_an_engine_that_cannot_compute_is_not_served():
    engine = PoisonEngine(EchoEngine(), lambda r: True)
    with pytest.raises(EngineError, match="cannot compute"), echo_endpoint(engine):
        pass


class Gate(EchoEngine):
    """An echo that answers only while its gate is open."""

    def __init__(self):
        super().__init__()
        self.open = threading.Event()
        self.open.set()
        self.seen = []
        self.entered = threading.Event()

    def step(self):
        batch = self._waiting[0] if self._waiting else None
        self.entered.set()
        assert self.open.wait(30)
        if batch is not None:
            self.seen.append([bytes(r.ids).decode() for r in batch.requests])
        return super().step()

    def shut(self):
        self.entered.clear()
        self.open.clear()


@contextmanager
def gated(**settings):
    gate = Gate()
    with echo_endpoint(gate, **settings) as endpoint, listening(endpoint) as url:
        gate.seen.clear()
        try:
            yield gate, endpoint, url
        finally:
            gate.open.set()


async def hang_up_after(url, text, seconds, **headers):
    """Ask, and leave before there is an answer."""
    async with httpx.AsyncClient(timeout=seconds) as client:
        with pytest.raises(httpx.TimeoutException):
            await client.post(
                f"{url}/invocations",
                content=json.dumps({"text_inputs": text}),
                headers={"content-type": "application/json", **headers},
            )


def test_those_who_left_are_dropped_before_they_are_computed():
    with gated() as (gate, endpoint, url), ThreadPoolExecutor(2) as pool:
        gate.shut()
        first = pool.submit(ask, url, "first")
        assert gate.entered.wait(5)
        asyncio.run(hang_up_after(url, "left", 0.3))
        stays = pool.submit(ask, url, "stays")
        wait_for(lambda: endpoint.ends.figures()["waiting_texts"] >= 0 and stays.running())
        time.sleep(0.2)
        gate.open.set()
        assert first.result().json() == {"generated_texts": ["first"]}
        assert stays.result().json() == {"generated_texts": ["stays"]}
        computed = [text for batch in gate.seen for text in batch]
        assert "left" not in computed
        assert "departed_total 1" in httpx.get(f"{url}/metrics").text


def test_a_retried_invocation_does_not_run_twice():
    name = {"amz-sdk-invocation-id": "4f1e", "amz-sdk-request": "attempt=1; max=3"}
    with gated() as (gate, _, url), ThreadPoolExecutor(2) as pool:
        gate.shut()
        first = pool.submit(ask, url, "once", **name)
        assert gate.entered.wait(5)
        second = pool.submit(ask, url, "once", **name)
        time.sleep(0.2)
        gate.open.set()
        assert first.result().json() == second.result().json() == {"generated_texts": ["once"]}
        assert ask(url, "once", **name).json() == {"generated_texts": ["once"]}
        assert [text for batch in gate.seen for text in batch].count("once") == 1
        # another body under the same name is another call
        assert ask(url, "other", **name).json() == {"generated_texts": ["other"]}


def test_a_retry_finds_the_work_of_a_client_that_gave_up():
    name = {"amz-sdk-invocation-id": "5a", "amz-sdk-request": "attempt=1; max=3"}
    with gated() as (gate, _, url):
        gate.shut()
        asyncio.run(hang_up_after(url, "again", 0.3, **name))
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(ask, url, "again", **name)
            time.sleep(0.2)
            gate.open.set()
            assert second.result().json() == {"generated_texts": ["again"]}
        assert [text for batch in gate.seen for text in batch] == ["again"]


def test_what_was_refused_may_be_tried_again_under_its_name():
    name = {"amz-sdk-invocation-id": "7"}
    with echo_endpoint() as endpoint, listening(endpoint) as url:
        endpoint.health._draining = True
        assert ask(url, **name).status_code == 503
        endpoint.health._draining = False
        assert ask(url, **name).status_code == 200


def test_a_client_that_says_how_long_it_waits_is_answered_by_then():
    with gated() as (gate, _, url):
        gate.shut()
        began = time.monotonic()
        answer = ask(url, **{"x-request-timeout": "0.3"})
        assert (answer.status_code, answer.json()["code"]) == (504, "timeout")
        assert time.monotonic() - began < 5
        gate.open.set()
        assert ask(url).status_code == 200
        assert ask(url, **{"x-request-timeout": "soon"}).status_code == 400


def test_a_full_queue_refuses_at_once_and_says_when_to_come_back():
    with gated(limits=Limits(max_waiting_texts=3)) as (gate, _, url):
        gate.shut()
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, url, "first")]
            assert gate.entered.wait(30)  # it is computed, so that all others have to wait
            asked += [pool.submit(ask, url, f"t{n}") for n in range(7)]
            wait_for(lambda: sum(f.done() for f in asked) >= 4)
            refused = [f.result() for f in asked if f.done()]
            assert {r.status_code for r in refused} == {429}
            assert all(int(r.headers["retry-after"]) >= 1 for r in refused)
            gate.open.set()
            answered = [f.result() for f in asked]
        assert sum(r.status_code == 200 for r in answered) == 8 - len(refused)


def test_what_was_taken_is_answered_when_it_is_told_to_stop():
    gate = Gate()
    with echo_endpoint(gate) as endpoint, ThreadPoolExecutor(4) as pool:
        with listening(endpoint) as url:
            gate.shut()
            asked = [pool.submit(ask, url, f"t{n}") for n in range(4)]
            assert gate.entered.wait(5)
            time.sleep(0.3)
            timer = threading.Timer(0.3, gate.open.set)
            timer.start()
        assert sorted(f.result().json()["generated_texts"][0] for f in asked) == [
            f"t{n}" for n in range(4)
        ]
        timer.join()


def test_nobody_is_taken_after_that():
    with echo_endpoint() as endpoint:
        window = endpoint.prepare(rows_of("a"))
        endpoint.close(5.0)
        with pytest.raises(Refused) as caught:
            endpoint.call(window)
        assert caught.value.code is Code.NOT_READY


def test_calls_from_many_threads_share_batches_and_get_their_own_texts():
    gate = Gate()
    with echo_endpoint(gate) as endpoint, ThreadPoolExecutor(32) as pool:

        def one(n):
            call = endpoint.call(endpoint.prepare(rows_of(f"text {n}", f"more {n}")))
            return [answer.texts[0] for answer in call.done.result(20)]

        found = list(pool.map(one, range(300)))
    assert found == [[f"text {n}", f"more {n}"] for n in range(300)]


def test_keys_and_rates_belong_to_clients_not_to_addresses():
    access = Access(keys=Keys({"a": "k" * 20}), limiter=RateLimiter(parse_rate("2/h"), RealClock()))
    with echo_endpoint() as endpoint, listening(endpoint, access) as url:
        assert ask(url).status_code == 401
        statuses = [ask(url, **{"x-api-key": "k" * 20}).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]


def test_answers_are_not_held_back_for_larger_packets():
    """Without TCP_NODELAY each answer on a kept connection waits 40 ms for an acknowledgement."""
    with echo_endpoint() as endpoint, listening(endpoint) as url, httpx.Client() as client:
        body = json.dumps({"text_inputs": "a"})
        seconds = []
        for _ in range(30):
            began = time.perf_counter()
            client.post(f"{url}/invocations", content=body)
            seconds.append(time.perf_counter() - began)
        listening_socket = Listen(port=0).bind()
        with listening_socket:
            assert listening_socket.proto == socket.IPPROTO_TCP
        assert min(seconds) < 0.035


def test_no_text_of_a_caller_reaches_the_log_even_by_an_exception(caplog):
    model = echo_model(type("Engine", (EchoEngine,), {})())
    endpoint = Endpoint(model)
    endpoint.start()
    real = endpoint.prepare

    def quoting(rows):
        raise ValueError(f"cannot work on {rows[0].texts[0]!r}")

    try:
        with listening(endpoint) as url:
            endpoint.prepare = quoting
            answer = ask(url, "PRIVATE WORDS")
            assert answer.status_code == 500
            assert "PRIVATE" not in answer.text
            endpoint.prepare = real
            assert ask(url).status_code == 200
    finally:
        endpoint.close(5.0)
    assert "a call broke" in caplog.text
    assert "ValueError" in caplog.text
    assert "PRIVATE" not in caplog.text


def test_what_an_engine_says_of_itself_is_for_the_log(caplog):
    poison = PoisonEngine(
        EchoEngine(), lambda r: b"bad" in bytes(r.ids), error=EngineError("/secret/model.bin broke")
    )
    with echo_endpoint(poison) as endpoint, listening(endpoint) as url:
        answer = ask(url, "bad")
        assert (answer.status_code, answer.json()["code"]) == (500, "engine_error")
        assert "/secret" not in answer.text
    assert "/secret/model.bin broke" in caplog.text


def test_an_endpoint_before_another_server_asks_it_for_all_calls_at_once():
    """Calls that come one after the other do not wait for each other's answers."""
    import textmill
    from support.openai_server import running, turned

    with running() as upstream, textmill.serve(upstream.url, concurrency=8) as endpoint:
        upstream.peak, upstream.gather = 0, 6  # nothing is answered until six are there
        with ThreadPoolExecutor(6) as pool:

            def late(n):
                time.sleep(0.05 * n)
                return endpoint.generate([f"text {n}"])

            found = list(pool.map(late, range(6)))
        assert found == [[turned(f"text {n}")] for n in range(6)]
        assert upstream.peak >= 6


def test_admission_is_told_how_late_the_event_loop_is(monkeypatch):
    """A loop that stands still for a while: the next look at it says for how long."""
    real, told = Endpoint.prepare, [0.0]

    def slow(self, rows):
        time.sleep(0.3)
        return real(self, rows)

    noted = property(lambda _: told[-1], lambda _, seconds: told.append(seconds))
    monkeypatch.setattr(LiveEnds, "handling_seconds", noted, raising=False)
    with echo_endpoint() as endpoint, listening(endpoint) as url:
        assert ask(url).status_code == 200
        monkeypatch.setattr(Endpoint, "prepare", slow)
        assert ask(url).status_code == 200
        wait_for(lambda: max(told) > 0.25)
        wait_for(lambda: told[-1] < 0.25)
