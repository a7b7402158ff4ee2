"""An exception in any function of the endpoint: calls get some answer, and the next is served.

Every method of every class between a client's bytes and the engine is made to raise in turn, while
calls of all kinds come, some that fail, some that break the loop, some whose clients leave.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FunctionType
from urllib.parse import urlsplit

import httpx2 as httpx
import pytest

from support.serving import echo_model
from support.waiting import wait_for
from textmill.batching.clock import RealClock
from textmill.batching.loop import Loop
from textmill.batching.scheduler import Scheduler
from textmill.engines.base import BatchError
from textmill.engines.bytes_tokenizer import ByteTokenizer
from textmill.engines.echo import EchoEngine
from textmill.serving.access import Keys, RateLimiter, parse_rate
from textmill.serving.admission import Safety
from textmill.serving.app import Routes, make_app
from textmill.serving.backlog import Backlog
from textmill.serving.budget import Budget
from textmill.serving.calls import Call
from textmill.serving.cost import CostModel, Steps
from textmill.serving.endpoint import Endpoint
from textmill.serving.ends import LiveEnds
from textmill.serving.forecast import Forecast
from textmill.serving.guard import Access, Guard
from textmill.serving.health import Health
from textmill.serving.invocations import Invocations
from textmill.serving.limits import Limits
from textmill.serving.metrics import Metrics
from textmill.serving.reading import Reader
from textmill.serving.replay import Replays
from textmill.serving.server import HttpServer, Listen
from textmill.serving.service import Service
from textmill.transform.windows import Preparer

KEY = "k" * 20
CLASSES = (
    *(Guard, Keys, RateLimiter, Routes, Service, Replays, Reader, Invocations, Limits, Preparer),
    *(Endpoint, LiveEnds, Call, Backlog, Forecast, CostModel, Steps, Budget, Safety, Health),
    *(Metrics, Loop, Scheduler, EchoEngine, ByteTokenizer),
)
BEFORE_AND_AFTER = {
    *("Endpoint.start", "Endpoint._run", "Endpoint._warm_up", "Endpoint._check_defaults"),
    *("Endpoint.close", "LiveEnds.close", "Service.close", "EchoEngine.close", "Health.drain"),
    *("Routes.router", "LiveEnds.fail_all", "Endpoint.probe", "Endpoint._text_call"),
}
"""What runs at the start or at the end, when there is no next call, and probes."""

HOOKS = [
    (owner, name)
    for owner in CLASSES
    for name, value in vars(owner).items()
    if isinstance(value, FunctionType)
    and not name.startswith("__")
    and f"{owner.__name__}.{name}" not in BEFORE_AND_AFTER
]


class FragileEngine(EchoEngine):
    """Fails on `bad`, and loses its head over `break`."""

    def step(self):
        batch = self._waiting[0] if self._waiting else None
        if batch is not None and any(bytes(r.ids) == b"break" for r in batch.requests):
            raise RuntimeError("not a failure of a batch")
        if batch is not None and any(bytes(r.ids) == b"slow" for r in batch.requests):
            time.sleep(0.05)
        if batch is not None and any(bytes(r.ids) == b"bad" for r in batch.requests):
            self._waiting.popleft()
            raise BatchError(batch) from RuntimeError("bad")
        return super().step()


@contextlib.contextmanager
def endpoint_with_everything():
    """With keys, rates, a target and retries, so that every part has its part."""
    model = echo_model(FragileEngine())
    endpoint = Endpoint(model, limits=Limits(seconds=5.0), slo_seconds=10.0)
    endpoint.start()
    limiter = RateLimiter(parse_rate("100000/s"), RealClock())
    app = make_app(endpoint, Access(keys=Keys({"a": KEY}), limiter=limiter), version="test")
    where = Listen(port=0)
    with where.bind() as bound:
        server = HttpServer(endpoint, app, where, bound)
        server.start()
        try:
            yield endpoint, server.url
        finally:
            endpoint.close(5.0)
            server.close()


def calls(client: httpx.Client) -> list[int]:
    """Calls of all kinds; the status of each, 0 for a connection that ended without one."""
    jsonl = {"content-type": "application/jsonlines"}
    named = {"amz-sdk-invocation-id": "1"}
    asked: list[Callable[[], httpx.Response]] = [
        lambda: post(client, {"text_inputs": "hello"}),
        lambda: post(client, {"text_inputs": ["x" * 5000, "bad", "c"]}),
        lambda: client.post("/invocations", content=b'{"text_inputs": "a"}\nno\n', headers=jsonl),
        lambda: client.post(
            "/invocations", content=b"text", headers={"content-type": "text/plain"}
        ),
        lambda: client.post("/invocations", content=b'{"text_inputs": "a"}', headers=named),
        lambda: client.post("/invocations", content=b'{"text_inputs": "a"}', headers=named),
        lambda: client.post("/endpoints/x/invocations", content=b'{"inputs": ["a"]}'),
        lambda: client.post("/v1/completions", content=b'{"prompt": "a"}'),
        lambda: client.post("/v2/models/echo/infer", content=INFER),
        lambda: post(client, {}),
        *(lambda path=path: client.get(path) for path in LOOKING_ON),
    ]
    statuses = []
    for ask in asked:
        try:
            statuses.append(ask().status_code)
        except httpx.HTTPError:
            statuses.append(0)
    with ThreadPoolExecutor(4) as pool:  # some come, and one leaves, while others are computed
        slow = [pool.submit(post, client, {"text_inputs": "slow"}) for _ in range(4)]
        time.sleep(0.02)
        leave(client)
    return statuses + [one.result().status_code for one in slow]


INFER = b'{"inputs": [{"name": "t", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}'
LOOKING_ON = (
    *("/", "/live", "/ping", "/metrics", "/openapi.json", "/execution-parameters", "/v1/models"),
    *("/v1/models/echo", "/v2", "/v2/models/echo", "/v2/models/echo/ready", "/v2/health/live"),
    "/nothing",
)


def post(client, payload):
    return client.post("/invocations", content=json.dumps(payload))


def leave(client):
    """Ask, and do not wait for the answer."""
    parts = urlsplit(str(client.base_url))
    body = json.dumps({"text_inputs": ["left"] * 50}).encode()
    head = f"POST /invocations HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ncontent-length: "
    with socket.create_connection((parts.hostname, parts.port)) as line:
        line.sendall(head.encode() + b"%d\r\n\r\n" % len(body) + body)


@pytest.mark.parametrize(
    ("owner", "hook"), HOOKS, ids=[f"{owner.__name__}.{name}" for owner, name in HOOKS]
)
def test_an_exception_in_any_hook_costs_one_call_at_most(owner, hook, monkeypatch):
    """Nothing is left behind either: no request that would wait for ever, no batch that counts."""
    real, armed, raised = getattr(owner, hook), threading.Event(), threading.Event()

    def once():
        if armed.is_set() and not raised.is_set():
            raised.set()
            raise RuntimeError("injected")

    def broken(*args, **kwargs):
        once()
        return real(*args, **kwargs)

    async def broken_later(*args, **kwargs):
        once()
        return await real(*args, **kwargs)

    is_async = inspect.iscoroutinefunction(real)
    monkeypatch.setattr(owner, hook, broken_later if is_async else broken)
    with (
        endpoint_with_everything() as (endpoint, url),
        httpx.Client(base_url=url, timeout=20, headers={"x-api-key": KEY}) as client,
    ):
        armed.set()
        statuses = {*calls(client)}
        if not raised.is_set():
            statuses.add(post(client, {"text_inputs": "break"}).status_code)
        assert statuses <= {0, 200, 400, 401, 404, 424, 500, 503}
        wait_for(lambda: post(client, {"text_inputs": "a"}).status_code == 200)
        assert post(client, {"text_inputs": "next"}).json() == {"generated_texts": ["next"]}
        assert endpoint.is_alive
        wait_for(lambda: endpoint.ends.is_empty)
        figures = endpoint.ends.figures()
        assert (figures["waiting_texts"], figures["running_batches"]) == (0, 0)
        assert client.get("/ping").status_code == 200
    if not raised.is_set():
        UNREACHED.add(f"{owner.__name__}.{hook}")


UNREACHED: set[str] = set()


def test_a_probe_that_breaks_is_not_the_last_one(monkeypatch):
    monkeypatch.setattr("textmill.serving.server.FRESH_SECONDS", 0.02)
    probes = []

    def broken(self):
        probes.append(self)
        raise RuntimeError("injected")

    monkeypatch.setattr(Endpoint, "probe", broken)
    with endpoint_with_everything():
        wait_for(lambda: len(probes) > 2)


def test_nearly_every_hook_was_reached():
    """Else the test above says nothing. Left is what needs a want of memory, or another engine."""
    assert len(UNREACHED) < len(HOOKS) / 10
