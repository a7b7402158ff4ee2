"""The gateway put together, and served."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import logging
import os
import secrets
import socket
import threading
from pathlib import Path
from typing import Any

from msgspec import Struct

from textmill.errors import OutputError, UsageError
from textmill.gateway.app import Gateway, Receive, Scoped, Send
from textmill.gateway.endpoints import Endpoints
from textmill.gateway.hosting import Hosting
from textmill.gateway.jobs import Jobs
from textmill.gateway.plane import Plane
from textmill.gateway.registry import Registry
from textmill.gateway.supervisor import Supervisor
from textmill.gateway.transform.work import Means
from textmill.gateway.wire.models import SAGEMAKER, service
from textmill.gateway.wire.routing import DEFAULT_REGION
from textmill.gateway.wire.signing import read_keys

_INTERNAL_ID = "TEXTMILLWORKER"
_TICK_SECONDS = 0.25
_EXTRA = ("botocore", "obstore", "starlette", "uvicorn")
_log = logging.getLogger("textmill.gateway")


class Options(Struct, frozen=True, kw_only=True):
    """The flags of `textmill gateway`, which documents them."""

    state: Path
    home: Path
    host: str = "127.0.0.1"
    port: int = 8088
    s3: Path | None = None
    endpoint_url: str | None = None
    keys: Path | None = None
    jobs: int = 1
    account: str = "000000000000"
    region: str = DEFAULT_REGION
    engine: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    download: bool = False
    idle: float | None = None

    def __post_init__(self) -> None:
        if len(self.account) != 12 or not self.account.isdigit():
            raise UsageError(f"--account {self.account}: an account has twelve digits")
        if self.jobs < 1:
            raise UsageError(f"--jobs {self.jobs}: must be at least 1")
        if self.idle is not None and not self.idle > 0:
            raise UsageError(f"--idle {self.idle}: must be more than 0 seconds")
        if self.s3 is not None and self.endpoint_url is not None:
            raise UsageError("--s3 and --endpoint-url are two places for one thing: choose one")
        if self.keys is None and self.host not in {"127.0.0.1", "::1", "localhost"}:
            raise UsageError(
                f"--host {self.host}: other machines would be answered without any check",
                hint="give the keys that are known with --keys FILE, or keep to 127.0.0.1",
            )


def check_extra() -> None:
    """Raise `UsageError` if what the gateway needs is not installed."""
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the gateway needs an extra that is not installed ({', '.join(missing)})",
            hint="pip install 'textmill[gateway]'",
        )


def serve(options: Options) -> None:
    """Serve until SIGINT or SIGTERM. Raises `UsageError` and its kin before the first request."""
    import uvicorn

    listening = _listen(options)
    address = listening.getsockname()
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)  # noqa: S104
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{address[1]}"
    with listening, contextlib.ExitStack() as stack:
        running = stack.enter_context(_Running(options, url))
        config = uvicorn.Config(
            running.app,
            interface="asgi3",
            ws="none",
            proxy_headers=False,
            log_config=None,
            access_log=False,
            lifespan="on",
            timeout_keep_alive=75,
            limit_concurrency=1000,
            server_header=False,
            date_header=True,
        )
        _quiet_the_server()
        _log.warning("serving SageMaker, its runtime, STS, IAM, Logs and S3 at %s", url)
        _log.warning("%s", _places(options))
        uvicorn.Server(config).run(sockets=[listening])


def _quiet_the_server() -> None:
    """What is no HTTP has been answered with 400 or hung up on: that is all there is to say.

    The server also fails to say so where an answer has begun before the request went wrong.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    for name in ("asyncio", "uvicorn.error"):
        logging.getLogger(name).addFilter(lambda record: not _is_about_http(record))


def _is_about_http(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return error is not None and type(error).__module__.startswith("h11")


class _Running:
    """Everything between the wire and the folder of state. A context manager."""

    def __init__(self, options: Options, url: str) -> None:
        self._registry = Registry(options.state)
        secret = _own_secret(options.state)
        inside = options.endpoint_url is None
        means = Means(
            home=str(options.home),
            endpoint_url=options.endpoint_url or url,
            region=options.region,
            engine=options.engine,
            precision=options.precision,
            threads=options.threads,
            download=options.download,
        )
        own = {"AWS_ACCESS_KEY_ID": _INTERNAL_ID, "AWS_SECRET_ACCESS_KEY": secret}
        environment = own if inside else {}
        self._supervisor = Supervisor(means, environment)
        self._endpoints = Endpoints(self._registry, Hosting(environment), means, idle=options.idle)
        self._jobs = Jobs(self._registry, self._supervisor, at_once=options.jobs)
        if _has_moved(options.state, means.endpoint_url):
            self._jobs.end_workers()
        self._changed = threading.Event()
        self._closing = threading.Event()
        plane = Plane(
            self._registry, self._jobs, self._endpoints, options.account, self._changed.set
        )
        self._gateway = Gateway(
            plane,
            keys=None if options.keys is None else read_keys(options.keys),
            internal_keys={_INTERNAL_ID: secret} if inside else {},
            s3=_s3(options, inside=inside),
        )
        self._thread = threading.Thread(target=self._reconcile, name="textmill-reconcile")

    def __enter__(self) -> _Running:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._registry.close()

    async def app(self, scope: Scoped, receive: Receive, send: Send) -> None:
        """The ASGI application, with its begin and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self._gateway(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._thread.start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _reconcile(self) -> None:
        _settle()
        while not self._closing.is_set():
            try:
                self._jobs.reconcile()
                self._endpoints.reconcile()
                self._endpoints.end_strays()
            except Exception:  # noqa: BLE001  what one step cannot do, the next may
                _log.exception("reconciling failed")
            self._changed.wait(_TICK_SECONDS)
            self._changed.clear()

    def _stop(self) -> None:
        self._closing.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join()
        self._jobs.end_workers()
        self._supervisor.close()
        self._endpoints.close()


def _settle() -> None:
    """Read what requests need, and keep it out of garbage collections for good: one that looks
    through all shapes of SageMaker's model stops every request for 40 ms."""
    service(SAGEMAKER)
    gc.collect()
    gc.freeze()


def _places(options: Options) -> str:
    """Where what clients create is kept."""
    if options.endpoint_url is not None:
        return f"state in {options.state}, buckets at {options.endpoint_url}"
    return f"state in {options.state}, a folder for each bucket in {_root_of(options)}"


def _root_of(options: Options) -> Path:
    return options.s3 or options.state / "s3"


def _s3(options: Options, *, inside: bool) -> Any:
    from textmill.gateway.jumpstart import catalog_keys, catalog_object, is_catalog
    from textmill.gateway.s3.disk import Disk
    from textmill.gateway.s3.handler import S3
    from textmill.gateway.s3.virtual import Virtual

    disk = None
    if inside:
        root = _root_of(options)
        root.mkdir(parents=True, exist_ok=True)
        disk = Disk(root)
    catalog = Virtual(has_bucket=is_catalog, read=catalog_object, keys=catalog_keys)
    return S3(disk, catalog)


def _listen(options: Options) -> socket.socket:
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    # Only where the protocol is named does asyncio send small answers at once.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((options.host, options.port))
        listening.listen(1024)  # from now on clients wait instead of being refused
    except OSError as error:
        listening.close()
        raise UsageError(
            f"port {options.port} of {options.host} cannot be served: {error.strerror}",
            hint="choose another with --port; 0 takes any that is free",
        ) from error
    return listening


def _has_moved(state: Path, url: str | None) -> bool:
    """Whether workers of a former gateway look for the S3 in another place; notes the new one."""
    path = state / "s3.url"
    before = path.read_text() if path.exists() else None
    path.write_text(str(url))
    return before not in (None, str(url))


def _own_secret(state: Path) -> str:
    """The key of our own workers: one for a state, so that workers outlive a gateway."""
    path = state / "worker.key"
    try:
        return path.read_text()
    except FileNotFoundError:
        pass
    secret = secrets.token_hex(32)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(secret)
    return secret
