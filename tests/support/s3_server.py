"""An S3 server on the loopback (moto), and a proxy before it that makes the network misbehave.

The proxy relays one request at a time per connection and, when its rule says so, spoils it:

    SLOW_DOWN      503 SlowDown, the server never sees the request
    RESET_REQUEST  the connection breaks in the middle of the request's body
    RESET_REPLY    the server answers, the connection breaks in the middle of the answer's body
    LOST_REPLY     the server applies the request, the connection breaks before any answer
"""

from __future__ import annotations

import http.client
import logging
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from botocore.client import BaseClient

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}


class Fault(StrEnum):
    SLOW_DOWN = "slow down"
    RESET_REQUEST = "reset in the request"
    RESET_REPLY = "reset in the reply"
    LOST_REPLY = "applied, reply lost"


@dataclass(frozen=True)
class Call:
    """One request, as a rule sees it. `path` has the query."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Answer:
    """An answer of the proxy's own; the server never sees the request."""

    status: int
    code: str = ""

    @property
    def body(self) -> bytes:
        return f"<Error><Code>{self.code}</Code><Message>{self.code}.</Message></Error>".encode()


Spoiled = Fault | Answer | None
Rule = Callable[[Call], Spoiled]


@dataclass
class Proxy:
    """`rule` may be replaced at any time. `seen` has every request and what was done to it.

    A request for which `hold` is true waits, before the server sees it, until `go_on` is set.
    """

    upstream: tuple[str, int]
    url: str = ""
    rule: Rule = lambda call: None
    hold: Callable[[Call], bool] = lambda call: False
    held: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    seen: list[tuple[Call, Spoiled]] = field(default_factory=list)
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def decide(self, call: Call) -> Spoiled:
        with self._mutex:
            fault = self.rule(call)
            self.seen.append((call, fault))
            return fault


def once(fault: Spoiled, when: Callable[[Call], bool] = lambda call: True) -> Rule:
    """`fault` for the first call for which `when` is true."""
    return times(1, fault, when)


def times(count: int, fault: Spoiled, when: Callable[[Call], bool] = lambda call: True) -> Rule:
    """`fault` for the first `count` calls for which `when` is true."""
    left = [count]

    def rule(call: Call) -> Spoiled:
        if not left[0] or not when(call):
            return None
        left[0] -= 1
        return fault

    return rule


def always(fault: Spoiled, when: Callable[[Call], bool] = lambda call: True) -> Rule:
    """`fault` for every call for which `when` is true."""
    return lambda call: fault if when(call) else None


def at_random(seed: int, rate: float) -> Rule:
    """Any fault, at that rate."""
    rng = random.Random(seed)
    return lambda call: rng.choice(list(Fault)) if rng.random() < rate else None


class _Relay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def relay(self) -> None:
        call = Call(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        assert "transfer-encoding" not in call.headers, "bodies have a length here"
        size = int(call.headers.get("content-length", 0))
        fault = self.proxy.decide(call)
        if self.proxy.hold(call):
            self.proxy.held.set()
            assert self.proxy.go_on.wait(120)
        if fault is Fault.RESET_REQUEST:
            self.rfile.read(size // 2)
            self._reset()
            return
        body = self.rfile.read(size)
        if fault is Fault.SLOW_DOWN:
            fault = Answer(503, "SlowDown")
        if isinstance(fault, Answer):
            self._answer(fault.status, {"content-type": "application/xml"}, fault.body, None)
            return
        status, headers, answer = self._ask(call, body)
        if fault is Fault.LOST_REPLY:
            self._reset()
        else:
            self._answer(status, headers, answer, fault)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = relay  # noqa: N815  http.server's names

    def _ask(self, call: Call, body: bytes) -> tuple[int, dict[str, str], bytes]:
        server = http.client.HTTPConnection(*self.proxy.upstream, timeout=120)
        try:
            server.request(call.method, call.path, body, call.headers)
            reply = server.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            server.close()

    def _answer(
        self, status: int, headers: dict[str, str], body: bytes, fault: Fault | None
    ) -> None:
        self.send_response_only(status)
        names = {name.lower() for name in headers}
        for name, value in headers.items():
            if name.lower() not in {"connection", "transfer-encoding"}:
                self.send_header(name, value)
        if "content-length" not in names:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        body = b"" if self.command == "HEAD" else body
        if fault is Fault.RESET_REPLY:
            self.wfile.write(body[: len(body) // 2])
            self._reset()
        else:
            self.wfile.write(body)

    def _reset(self) -> None:
        """End the connection as a crash would: the other side gets a reset, not an end."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, *_: object) -> None:
        pass


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away, or a connection that the proxy itself has reset."""


@contextmanager
def proxy_before(url: str) -> Iterator[Proxy]:
    """A proxy on the loopback before the server at `url`."""
    host, _, port = url.removeprefix("http://").partition(":")
    proxy = Proxy(upstream=(host, int(port)))
    server = _QuietServer(("127.0.0.1", 0), type("Relay", (_Relay,), {"proxy": proxy}))
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.go_on.set()
        server.shutdown()
        server.server_close()


@contextmanager
def s3_server() -> Iterator[str]:
    """The URL of a new S3 server without buckets."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def s3_client(url: str) -> BaseClient:
    """The oracle: Amazon's own client."""
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
