"""An endpoint behind a socket: bound, served, watched and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from msgspec import Struct
from starlette.types import ASGIApp

from textmill.errors import UsageError
from textmill.serving.endpoint import Endpoint
from textmill.serving.faults import log_fault
from textmill.serving.health import FRESH_SECONDS
from textmill.serving.limits import Limits
from textmill.serving.protocol import connections_within, patient_protocol
from textmill.serving.refusals import Refused

_KEEP_ALIVE_S = 75
_BACKLOG = 2048
_MOST_PORT = 65_535
_WATCH_S = 0.05
_FADE = 0.8
"""What counts of an earlier look: one quiet moment is no end of a rush."""
_TURNS = 8
"""Of the event loop that a call takes: read, begun, put to the engine, answered, written."""


class Listen(Struct, frozen=True, kw_only=True):
    """Where to listen.

    port: 0 is any that is free. drain_seconds: for what was taken, at the end.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    tls_cert: Path | None = None
    tls_key: Path | None = None
    drain_seconds: float = 30.0

    def bind(self) -> socket.socket:
        """A socket that has the address and does not listen yet. Raises `UsageError`."""
        if not 0 <= self.port <= _MOST_PORT:  # the system takes what is left of a larger one
            raise UsageError(f"port {self.port}: must be from 0 to {_MOST_PORT}")
        with self._errors(), contextlib.ExitStack() as stack:
            found = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            family, kind, protocol, _, address = found[0]
            # asyncio sends small answers at once only where the protocol is said to be TCP
            bound = stack.enter_context(socket.socket(family, kind, protocol))
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            stack.pop_all()
            return bound

    def open(self, bound: socket.socket) -> None:
        """Let clients connect to a socket of `bind`. Raises `UsageError`."""
        with self._errors():
            bound.listen(_BACKLOG)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, UnicodeError) as error:
            raise UsageError(
                f"cannot listen on {self.host}:{self.port}: {error}",
                hint="choose another with --host and --port; --port 0 takes any that is free",
            ) from error

    def check_tls(self) -> None:
        """Raise `UsageError` for a certificate and a key that TLS cannot be spoken with."""
        if self.tls_cert is None:
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.tls_cert, self.tls_key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise UsageError(
                f"{self.tls_cert} and {self.tls_key} are no certificate and its key: {error}",
                hint="both in PEM, the key of this certificate and without a password",
            ) from error

    def url(self, bound: socket.socket) -> str:
        """The address of a socket of `bind`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{bound.getsockname()[1]}"


class Server(uvicorn.Server):
    """uvicorn that leaves signals to us, and whose end is one drained endpoint."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are handled by `serve_until_stopped`, which ends with exit code 0."""
        yield


class HttpServer:
    """Serves one endpoint on one socket."""

    def __init__(
        self, endpoint: Endpoint, app: ASGIApp, listen: Listen, bound: socket.socket
    ) -> None:
        """`bound`: of `listen.bind()`. Clients may connect at once. Raises `UsageError`."""
        self._endpoint, self._listen, self._socket = endpoint, listen, bound
        self._server = Server(_config(app, listen, endpoint.limits))
        listen.open(bound)
        self.url = listen.url(self._socket)
        self._thread: threading.Thread | None = None

    def serve_until_stopped(self) -> None:
        """Serve in this thread until SIGTERM or SIGINT; a second one ends without waiting."""
        asyncio.run(self._main(with_signals=True))

    def start(self) -> None:
        """Serve in a thread of its own, until `close`."""
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main(with_signals=False)),
            name="textmill-http",
            daemon=True,
        )
        self._thread.start()

    def close(self) -> None:
        """End; what was taken is answered first."""
        self._stop()
        if self._thread is not None:
            self._thread.join(self._listen.drain_seconds + 5.0)

    def _stop(self) -> None:
        if self._server.should_exit:
            self._server.force_exit = True
            return
        self._endpoint.ends.close()
        self._server.should_exit = True

    async def _main(self, *, with_signals: bool) -> None:
        if with_signals:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop)
        watching = [asyncio.create_task(one) for one in (self._probe(), self._watch_handling())]
        try:
            await self._server.serve([self._socket])
        finally:
            for one in watching:
                one.cancel()

    async def _probe(self) -> None:
        """An idle endpoint computes something now and then, so that readiness stays a fact."""
        while True:
            await asyncio.sleep(FRESH_SECONDS / 2)
            try:
                self._endpoint.probe()
            except Refused:
                continue  # there is work enough, or the end is near
            except Exception as error:  # noqa: BLE001 - whatever it was, the next probe is made
                log_fault("a probe broke", error)

    async def _watch_handling(self) -> None:
        """Where more calls come than the event loop can even read, each of a call's turns waits for
        all the others': admission has to know, since nothing else of it is late."""
        loop, ends = asyncio.get_running_loop(), self._endpoint.ends
        while True:
            due = loop.time() + _WATCH_S
            await asyncio.sleep(_WATCH_S)
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            ends.handling_seconds = max(loop.time() - due, ends.handling_seconds * _FADE)


def _config(app: ASGIApp, listen: Listen, limits: Limits) -> uvicorn.Config:
    most = connections_within(limits.max_connections)
    return uvicorn.Config(
        app,
        http=patient_protocol(limits.header_seconds, most),
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, int(listen.drain_seconds)),
        limit_concurrency=most + 1,
        h11_max_incomplete_event_size=limits.max_header_bytes,
        ssl_certfile=listen.tls_cert,
        ssl_keyfile=listen.tls_key,
    )
