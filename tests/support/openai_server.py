"""A server on the loopback that speaks OpenAI's API, and misbehaves when told to.

    GET  /v1/models
    POST /v1/chat/completions
    POST /v1/completions

Its model turns texts around; a token is a character. What it answers is a function of the request
alone (`answer`), so tests know it beforehand. It keeps a log of what arrived.
"""

from __future__ import annotations

import json
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

MODEL = "tiny/turner"
POISON, LONG = "POISON", "LONG"
"""Texts that hold these are refused."""


@dataclass
class Seen:
    """One request that arrived. Times are of `time.monotonic`; `done` when its answer was sent."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    connection: int
    at: float
    done: float = 0.0

    @property
    def text(self) -> str:
        messages = self.body.get("messages")
        return messages[0]["content"] if messages else self.body["prompt"]


Fault = Callable[["_Handler"], None]
"""Answers a request in place of the model."""


@dataclass
class OpenAIServer:
    """State that tests set and read while the server runs."""

    models: list[str] = field(default_factory=lambda: [MODEL])
    models_status: int = 200
    """What the question for them is answered with."""
    key: str | None = None
    """When set, requests without it are refused with 401."""
    faults: list[Fault | None] = field(default_factory=list)
    """What to do with the next requests for completions; None is an ordinary answer."""
    fault_of: Callable[[Seen], Fault | None] = lambda seen: None
    """What to do with a request, by what it asks."""
    delay_s: float = 0.0
    gather: int = 0
    """Answer nothing until so many requests are here together."""
    seen: list[Seen] = field(default_factory=list)
    peak: int = 0
    """The most requests for completions that were here together."""
    port: int = 0
    certificate: Path | None = None
    """Speak TLS with this certificate and key."""
    stopping: threading.Event = field(default_factory=threading.Event)
    _here: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _server: Any = None

    @property
    def root(self) -> str:
        return f"http{'s' if self.certificate else ''}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.root}/v1"

    @property
    def asked(self) -> list[Seen]:
        """Requests for completions, in order of arrival."""
        return [seen for seen in self.seen if seen.method == "POST"]

    @property
    def texts(self) -> list[str]:
        return [seen.text for seen in self.asked]

    def start(self) -> None:
        """Begin to listen, on the same port as before if there was one."""
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.state = self
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_port
        self.stopping.clear()
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self._server.thread = thread

    def stop(self) -> None:
        """Die: listen no more, and drop every connection."""
        if self._server is None:
            return
        self.stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._server.drop_connections()
        self._server.thread.join()
        self._server = None

    def come(self) -> None:
        with self._changed:
            self._here += 1
            self.peak = max(self.peak, self._here)
            self._changed.notify_all()
            if self.gather:
                self._changed.wait_for(
                    lambda: self.peak >= self.gather or self.stopping.is_set(), timeout=120
                )

    def go(self) -> None:
        with self._changed:
            self._here -= 1
            self._changed.notify_all()

    def wait_for(self, requests: int, timeout: float = 120) -> None:
        """Until so many requests for completions have arrived."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.asked) >= requests, timeout)


@contextmanager
def running(**settings: Any) -> Iterator[OpenAIServer]:
    server = OpenAIServer(**settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def self_signed(path: Path) -> Path:
    """Write a certificate for 127.0.0.1, which nobody vouches for, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def turned(text: str, *, max_tokens: int = 10**6, stop: tuple[str, ...] = ()) -> str:
    """What the model makes of a text."""
    return _cut(text[::-1], max_tokens, stop)[0]


def _cut(text: str, max_tokens: int, stop: Any) -> tuple[str, str]:
    for string in stop:
        text = text.split(string, maxsplit=1)[0]
    return text[:max_tokens], "length" if len(text) > max_tokens else "stop"


def answer(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The answer to a request: a pure function."""
    chat = path.endswith("/chat/completions")
    prompt = body["messages"][0]["content"] if chat else body["prompt"]
    choices = []
    for index in range(body.get("n", 1)):
        text = prompt[::-1]
        if body.get("temperature", 1):
            letters = list(text)
            random.Random(f"{body.get('seed')} {index}").shuffle(letters)
            text = "".join(letters)
        text, finish = _cut(text, body["max_tokens"], body.get("stop", ()))
        said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        choices.append({"index": index, "finish_reason": finish, **said})
    tokens = [len(c["message"]["content"] if chat else c["text"]) for c in choices]
    usage = {"prompt_tokens": len(prompt), "completion_tokens": sum(tokens)}
    return {"id": "x", "model": body["model"], "choices": choices, "usage": usage}


def reply(status: int, body: Any = None, **headers: str) -> Fault:
    """Answer with a status. Names of headers with _ for -; a body of bytes is sent as it is."""
    if body is None:
        body = {"error": {"message": f"status {status}", "type": "t", "code": None}}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.send(status, data, named)


def with_headers(**headers: str) -> Fault:
    """The ordinary answer, with more headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.send_answer(named)


def reset(handler: _Handler) -> None:
    """Drop the connection without an answer."""
    handler.close_connection = True
    linger_none = b"\1\0\0\0\0\0\0\0"
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_none)


def half(handler: _Handler) -> None:
    """Announce more than is sent, then drop the connection."""
    _begin(handler, "Content-Length", "1000")


def half_unannounced(handler: _Handler) -> None:
    """The same without a word about the length, as HTTP/1.0 allows."""
    _begin(handler, "Connection", "close")


def _begin(handler: _Handler, header: str, value: str) -> None:
    handler.send_response(200)
    handler.send_header(header, value)
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"text": "a')
    handler.close_connection = True


def hang(handler: _Handler) -> None:
    """Say nothing until the client hangs up or the server stops."""
    handler.wait_for_the_end()


def drip(handler: _Handler) -> None:
    """Send a byte now and then, for ever."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    with suppress(OSError):
        while not handler.server.state.stopping.is_set():
            handler.wfile.write(b" ")
            time.sleep(0.02)
    handler.close_connection = True


def huge(handler: _Handler) -> None:
    """An answer without an end."""
    handler.send_response(200)
    handler.end_headers()
    with suppress(OSError):
        while not handler.server.state.stopping.is_set():
            handler.wfile.write(b" " * 2**20)
    handler.close_connection = True


def by_text(faults: dict[str, Fault]) -> Callable[[Seen], Fault | None]:
    """Faults for certain texts, every time they come."""
    return lambda seen: faults.get(seen.text)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    state: OpenAIServer
    thread: threading.Thread

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._connections: set[socket.socket] = set()

    def process_request(self, request: Any, address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def drop_connections(self) -> None:
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: Any) -> None:
        """Clients that hang up are no error here."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        state, seen = self.server.state, self._log(None)
        if self._refused():
            return
        if seen.path == "/v1/models":
            models = [{"id": name, "object": "model"} for name in state.models]
            body = json.dumps({"object": "list", "data": models}).encode()
            self.send(state.models_status, body)
        else:
            self.send(404, b'{"detail": "Not Found"}')

    def do_POST(self) -> None:
        state = self.server.state
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen = seen = self._log(json.loads(data))
        state.come()
        try:
            fault = state.faults.pop(0) if state.faults else None
            fault = fault or state.fault_of(seen)
            if state.delay_s:
                time.sleep(state.delay_s)
            if fault:
                fault(self)
            elif not self._refused():
                self.send_answer({})
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            seen.done = time.monotonic()
            state.go()

    def send_answer(self, headers: dict[str, str]) -> None:
        seen = self.seen
        if seen.path not in ("/v1/chat/completions", "/v1/completions"):
            self.send(404, b'{"detail": "Not Found"}')
        elif seen.body["model"] not in self.server.state.models:
            self._complain(404, "no such model", "model_not_found")
        elif POISON in seen.text:
            self._complain(400, "this text\x1b[31m is poison\n" + "x" * 5000, "bad_request")
        elif LONG in seen.text:
            self._complain(400, "too many tokens", "context_length_exceeded")
        else:
            self.send(200, json.dumps(answer(seen.path, seen.body)).encode(), headers)

    def send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def wait_for_the_end(self) -> None:
        self.connection.settimeout(0.05)
        while not self.server.state.stopping.is_set():
            try:
                if not self.connection.recv(1, socket.MSG_PEEK):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        self.close_connection = True

    def _log(self, body: Any) -> Seen:
        headers = {name.lower(): value for name, value in self.headers.items()}
        seen = Seen(
            self.command, self.path, headers, body, self.client_address[1], time.monotonic()
        )
        self.server.state.seen.append(seen)
        return seen

    def _refused(self) -> bool:
        key = self.server.state.key
        if key is None or self.headers.get("Authorization") == f"Bearer {key}":
            return False
        said = self.headers.get("Authorization", "nothing")
        self._complain(401, f"Incorrect API key: {said}", "invalid_api_key")
        return True

    def _complain(self, status: int, message: str, code: str) -> None:
        error = {"message": message, "type": "invalid_request_error", "code": code}
        self.send(status, json.dumps({"error": error}).encode())
