"""`textmill.serve(…)`: a model behind an endpoint, in this process."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from textmill.catalog.fetch import Transfer
from textmill.core import Failure, Record
from textmill.errors import EngineError, UsageError
from textmill.serving.access import Keys, RateLimiter, is_loopback, parse_rate, read_keys
from textmill.serving.endpoint import Endpoint as Core
from textmill.serving.endpoint import Model
from textmill.serving.limits import Limits
from textmill.serving.refusals import Refused
from textmill.settings import find_api_key, read_settings
from textmill.transform.setup import Setup, SetupRequest
from textmill.words import written

if TYPE_CHECKING:
    from socket import socket

    from textmill.serving.guard import Access
    from textmill.serving.server import HttpServer, Listen

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}
_MEGABYTE = 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")
_DAY = 86_400.0
_BOUNDS = {
    "max_body_mb": (0.001, 1024.0),
    "max_texts": (1, 1e6),
    "max_new_tokens": (1, 1e6),
    "queue": (1, 1e9),
    "timeout": (0.001, _DAY),
    "drain": (0.0, _DAY),
}


class Endpoint:
    """A model that answers calls, of this process and over HTTP. A context manager.

    url: where it listens; None where it does not.
    """

    def __init__(self, core: Core, server: HttpServer | None, stack: ExitStack) -> None:
        self._core, self._server, self._stack = core, server, stack
        self.url = None if server is None else server.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def state(self) -> str:
        """`ready` when a batch was really computed lately; else what stands against it."""
        return str(self._core.state)

    @property
    def title(self) -> str:
        """The endpoint in one line."""
        capabilities = self._core.model.engine.capabilities
        slo = self._core.slo_seconds
        target = "" if slo is None else f"   target {slo:g} s"
        return f"{self._core.model.name}   {capabilities.name} {capabilities.precision}{target}"

    def generate(self, texts: str | Sequence[str], **params: Any) -> list[str] | list[list[str]]:
        """As `load(model).generate`, but from any number of threads at once: they share batches.

        Raises `UsageError` for a text or a parameter that cannot be used, and `EngineError` when
        the engine fails or the endpoint has no room.
        """
        several = [texts] if isinstance(texts, str) else list(texts)
        rows = [
            Record(ordinal=place, id=b"0", texts=(_checked(place, text),), params=params or None)
            for place, text in enumerate(several)
        ]
        if not rows:
            return []
        window = self._core.prepare(rows)
        for rejected in window.rejected:
            raise UsageError(f"text {rejected.ordinal}: {rejected.message}")
        try:
            answers = self._core.call(window).done.result()
        except Refused as refused:
            raise EngineError(refused.message) from refused
        found = []
        for place, answer in enumerate(answers):
            if isinstance(answer, Failure):
                raise EngineError(f"text {place}: {answer.message}", code=answer.code)
            found.append(list(answer.texts))
        if all(len(texts) == 1 for texts in found):
            return [texts[0] for texts in found]
        return found

    def serve_until_stopped(self) -> None:
        """Answer calls until SIGTERM or SIGINT, then what was taken. For the main thread."""
        if self._server is None:
            raise UsageError("this endpoint does not listen", hint="give it a port")
        self._server.serve_until_stopped()

    def close(self) -> None:
        """Answer what was taken, then give everything back. Idempotent."""
        self._stack.close()


def serve(
    model: str | Path | None = None,
    *,
    slo: float | str | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    name: str | None = None,
    api_key_file: str | Path | None = None,
    no_auth: bool = False,
    rate_limit: str | None = None,
    tls_cert: str | Path | None = None,
    tls_key: str | Path | None = None,
    prompt: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    hyper_params: str | None = None,
    engine: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    truncate: bool = False,
    max_input_tokens: int | None = None,
    max_batch_tokens: int | None = None,
    max_body_mb: float = 1.0,
    max_texts: int = 256,
    max_new_tokens: int = 2048,
    queue: int = 4096,
    concurrency: int | None = None,
    timeout: float = 60.0,
    drain: float = 30.0,
    offline: bool = False,
    home: Path | None = None,
    on_transfer: Callable[[Transfer], None] | None = None,
    in_background: bool = True,
) -> Endpoint:
    """Load a model and answer calls until the endpoint is closed.

    The arguments are the flags of `textmill serve`, but that without a `port` nothing listens and
    only `generate` asks. in_background: answer HTTP in a thread; else call `serve_until_stopped`.
    Returns when a real batch has been computed. Raises `UsageError` and its kin.
    """
    _check_bounds(
        max_body_mb=max_body_mb,
        max_texts=max_texts,
        max_new_tokens=max_new_tokens,
        queue=queue,
        timeout=timeout,
        drain=drain,
    )
    _check_name(name)
    limits = _limits(max_body_mb, max_texts, max_new_tokens, queue, timeout)
    seconds = parse_seconds(slo)
    listen = None if port is None else _listen(host, port, tls_cert, tls_key, drain)
    _check_access(host if listen else "127.0.0.1", api_key_file, no_auth=no_auth)
    request = SetupRequest(
        model=model,
        prompt=prompt,
        parameters=parameters or {},
        hyper_params=hyper_params,
        engine=engine,
        precision=precision,
        threads=threads,
        truncate=truncate,
        max_input_tokens=max_input_tokens,
        max_batch_tokens=max_batch_tokens,
        concurrency=concurrency,
        timeout=timeout,
        api_key=find_api_key(None),
        offline=offline or read_settings().offline,
        home=home or read_settings().home,
        on_transfer=on_transfer,
    )
    with ExitStack() as stack:
        keys = None if api_key_file is None else read_keys(Path(api_key_file))
        rate = None if rate_limit is None else parse_rate(rate_limit)
        bound = None if listen is None else stack.enter_context(listen.bind())
        # gives way to this process, which decides on calls and answers them
        setup = stack.enter_context(Setup(request, gives_way=True))
        core = Core(_model(setup, name), limits=limits, slo_seconds=seconds)
        stack.callback(core.close, drain)
        server = None
        if listen is not None and bound is not None:
            limiter = None if rate is None else RateLimiter(rate, core.clock)
            access = _access(keys, limiter, host)
            server = _server(core, access, listen, bound, any_name=name is None)
        core.start()
        if server is not None and in_background:
            server.start()
            stack.callback(server.close)
        return Endpoint(core, server, stack.pop_all())


def parse_seconds(duration: float | str | None) -> float | None:
    """`800ms`, `2s`, `1.5`, or a number of seconds. Raises `UsageError`."""
    if duration is None:
        return None
    found = _DURATION.fullmatch(str(duration).strip())
    seconds = float(found[1]) * _UNITS[found[2]] if found else 0.0
    if not 0 < seconds <= 3600:
        raise UsageError(f"slo {written(duration)}: write a time, as in 800ms or 2s")
    return seconds


def _check_bounds(**given: float) -> None:
    for what, value in given.items():
        least, most = _BOUNDS[what]
        if not least <= value <= most:
            raise UsageError(f"{what}={value}: must be from {least:g} to {most:,g}")


def _check_name(name: str | None) -> None:
    if name is not None and _NAME.fullmatch(name) is None:
        raise UsageError(
            f"name {written(name)}: letters, digits and - . _ : / are what addresses can hold"
        )


def _limits(
    max_body_mb: float, max_texts: int, max_new_tokens: int, queue: int, timeout: float
) -> Limits:
    default = Limits()
    return Limits(
        max_body_bytes=int(max_body_mb * _MEGABYTE),
        max_texts=max_texts,
        max_new_tokens=max_new_tokens,
        max_work=max(default.max_work, max_new_tokens * default.max_beams),
        max_waiting_texts=queue,
        seconds=timeout,
    )


def _listen(
    host: str, port: int, cert: str | Path | None, key: str | Path | None, drain: float
) -> Listen:
    from textmill.serving.extra import listen_type

    if (cert is None) != (key is None):
        raise UsageError("TLS needs both: --tls-cert and --tls-key")
    for path in (cert, key):
        if path is not None and not Path(path).is_file():
            raise UsageError(f"there is no file {path}")
    listen = listen_type()(
        host=host,
        port=port,
        tls_cert=None if cert is None else Path(cert),
        tls_key=None if key is None else Path(key),
        drain_seconds=drain,
    )
    listen.check_tls()
    return listen


def _check_access(host: str, api_key_file: str | Path | None, *, no_auth: bool) -> None:
    if api_key_file is not None and no_auth:
        raise UsageError("--api-key-file and --no-auth contradict each other")
    if not is_loopback(host) and api_key_file is None and not no_auth:
        raise UsageError(
            f"{host or 'every address'} can be reached from other machines, and there is no key",
            hint="give --api-key-file FILE, or --no-auth where everybody may ask",
        )


def _model(setup: Setup, name: str | None) -> Model:
    """What the endpoint serves. With HYPER_PARAMS, records in JSON Lines carry no parameters, as
    JumpStart has it; other payloads still may."""
    resolver = setup.resolver
    line_params = not resolver.record_params_ignored
    resolver.record_params_ignored = False
    identity = setup.identity.name
    return Model(
        name=name or (Path(identity).name if Path(identity).is_absolute() else identity),
        engine=setup.model.engine,
        tokenizer=setup.model.tokenizer,
        preparer=setup.preparer,
        batch_limits=setup.limits,
        shape=setup.shape,
        line_params=line_params,
    )


def _access(keys: Keys | None, limiter: RateLimiter | None, host: str) -> Access:
    from textmill.serving.guard import Access

    hosts = (host,) if keys is None and is_loopback(host) else None
    return Access(keys=keys, limiter=limiter, hosts=hosts)


def _server(
    core: Core, access: Access, listen: Listen, bound: socket, *, any_name: bool
) -> HttpServer:
    from textmill import __version__
    from textmill.serving.app import make_app
    from textmill.serving.server import HttpServer

    app = make_app(core, access, version=__version__, any_name=any_name)
    return HttpServer(core, app, listen, bound)


def _checked(place: int, text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f"text {place} is {written(text)}: a text that is not empty is needed")
    try:
        text.encode()
    except UnicodeEncodeError:
        message = f"text {place} holds half a surrogate pair, which is no character"
        raise UsageError(message) from None
    return text
