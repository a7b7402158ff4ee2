"""An endpoint behind a socket: uvicorn, with a limit on how long a request's head may take."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn
from msgspec import Struct
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from textmill.errors import UsageError
from textmill.serving.endpoint import Endpoint
from textmill.serving.health import FRESH_SECONDS
from textmill.serving.limits import Limits
from textmill.serving.refusals import Refused

_KEEP_ALIVE_S = 75
_BACKLOG = 2048


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
        """A socket that listens. Raises `UsageError`."""
        try:
            found = socket.getaddrinfo(
                self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            family, kind, protocol, _, address = found[0]
            # asyncio sends small answers at once only where the protocol is said to be TCP
            with contextlib.ExitStack() as stack:
                bound = stack.enter_context(socket.socket(family, kind, protocol))
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                bound.bind(address)
                bound.listen(_BACKLOG)
                stack.pop_all()
                return bound
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"cannot listen on {self.host}:{self.port}: {error}",
                hint="choose another with --host and --port; --port 0 takes any that is free",
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

    def __init__(self, endpoint: Endpoint, app: ASGIApp, listen: Listen) -> None:
        """Listens at once. Raises `UsageError`."""
        self._endpoint, self._listen = endpoint, listen
        self._server = Server(_config(app, listen, endpoint.limits))
        self._socket = listen.bind()
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
        probing = asyncio.create_task(self._probe())
        try:
            await self._server.serve([self._socket])
        finally:
            probing.cancel()

    async def _probe(self) -> None:
        """An idle endpoint computes something now and then, so that readiness stays a fact."""
        while True:
            await asyncio.sleep(FRESH_SECONDS / 2)
            with contextlib.suppress(Refused):
                self._endpoint.probe()


def _config(app: ASGIApp, listen: Listen, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=_protocol(limits.header_seconds),
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, int(listen.drain_seconds)),
        limit_concurrency=limits.max_connections,
        h11_max_incomplete_event_size=limits.max_header_bytes,
        ssl_certfile=listen.tls_cert,
        ssl_keyfile=listen.tls_key,
    )


def _protocol(header_seconds: float) -> type[H11Protocol]:
    """uvicorn's protocol, which hangs up on a client whose head does not come in time."""

    class Patient(H11Protocol):
        """Hangs up after `header_seconds` without a whole head."""

        late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._expect_head()

        def data_received(self, data: bytes) -> None:
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before:
                self._head_came()
            elif self.late is None and (before is None or before.response_complete):
                self._expect_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_came()
            super().connection_lost(exc)

        def _expect_head(self) -> None:
            self.late = self.loop.call_later(header_seconds, self.transport.abort)

        def _head_came(self) -> None:
            if self.late is not None:
                self.late.cancel()
                self.late = None

    return Patient
