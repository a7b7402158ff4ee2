"""What stands before every route: who asks, how often, what is logged; and no exception passes.

An ASGI application around another one.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from msgspec import Struct
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from textmill.serving.access import Keys, RateLimiter, is_foreign, key_in
from textmill.serving.calls import Timings
from textmill.serving.errors import error_response
from textmill.serving.faults import log_fault
from textmill.serving.metrics import Metrics
from textmill.serving.refusals import Code, Refused
from textmill.serving.tracing import Traced, Tracing

_calls = logging.getLogger("textmill.calls")
_TRACE = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_OPEN = frozenset({"/ping", "/v2/health/live", "/v2/health/ready"})
"""Health says nothing that is worth a key, and those who ask for it have none."""


class Access(Struct, frozen=True, kw_only=True):
    """Who may ask. keys: None lets everybody. hosts: names to answer to; None for any."""

    keys: Keys | None = None
    limiter: RateLimiter | None = None
    hosts: tuple[str, ...] | None = None


class Guard:
    """Around the routes."""

    def __init__(self, app: ASGIApp, access: Access, metrics: Metrics) -> None:
        self._app, self._access, self._metrics = app, access, metrics
        self._tracing = Tracing.if_installed()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request of HTTP; of WebSocket and the like none is spoken."""
        if scope["type"] != "http":
            return
        began = perf_counter()
        headers = Headers(scope=scope)
        exchange = _Exchange(send, headers)
        try:
            scope["textmill.client"] = self._admit(scope, headers)
            await self._app(scope, receive, exchange.send)
        except Refused as refused:
            await self._refuse(refused, scope, receive, exchange)
        except Exception as error:  # noqa: BLE001 - whatever it was, the next call is served
            log_fault("a call broke", error)
            broken = Refused(Code.INTERNAL, "a fault of this endpoint; its log tells more")
            await self._refuse(broken, scope, receive, exchange)
        self._note(scope, headers, exchange, perf_counter() - began)

    def _admit(self, scope: Scope, headers: Mapping[str, str]) -> str:
        """The name of who asks. Raises `Refused`."""
        if is_foreign(headers, self._access.hosts):
            raise Refused(Code.FORBIDDEN, "this endpoint does not answer to that Host or Origin")
        if scope["path"] in _OPEN:
            return "health"
        client = (scope.get("client") or ("",))[0]
        if self._access.keys is not None:
            client = self._access.keys.name_of(key_in(headers))
            if client is None:
                raise Refused(Code.UNAUTHORIZED, "the key is missing or wrong")
        if self._access.limiter is not None and (wait := self._access.limiter.wait(client)):
            raise Refused(Code.RATE_LIMITED, "too many calls", retry_after_s=wait)
        return str(client)

    async def _refuse(
        self, refused: Refused, scope: Scope, receive: Receive, exchange: _Exchange
    ) -> None:
        if exchange.status:
            return  # the answer has begun; the connection ends with it
        exchange.code = refused.code
        self._metrics.refused(refused.code)
        response: Response = error_response(refused, scope["path"])
        await response(scope, receive, exchange.send)

    def _note(self, scope: Scope, headers: Headers, exchange: _Exchange, seconds: float) -> None:
        """One line in the log, one count, one span: no text of a call, no key."""
        timings = scope.get("textmill.timings")
        route = scope.get("textmill.route", "none")
        status = exchange.status or 499
        self._metrics.answered(route, status, timings, seconds)
        if self._tracing is not None:
            call = Traced(
                method=scope["method"],
                route=route,
                status=status,
                seconds=seconds,
                headers=headers,
                timings=timings,
            )
            self._tracing.note(call)
        if _calls.isEnabledFor(logging.INFO):
            said = {"route": route, "status": status, "seconds": round(seconds, 4)}
            who = {"client": scope.get("textmill.client")}
            _calls.info(
                json.dumps({"action": "call", **said, **who, **_details(exchange, timings)})
            )


def _details(exchange: _Exchange, timings: Timings | None) -> dict[str, Any]:
    """What the log says of a call, as far as there is something to say."""
    found: dict[str, Any] = {}
    if exchange.code is not None:
        found["code"] = exchange.code
    if exchange.trace is not None:
        found["traceparent"] = exchange.trace
    if timings is not None:
        found |= {name: _short(getattr(timings, name)) for name in timings.__struct_fields__}
    return found


def _short(value: float) -> float:
    return round(value, 4) if isinstance(value, float) else value


class _Exchange:
    """An answer on its way: its status, and what every answer carries."""

    def __init__(self, send: Send, headers: Headers) -> None:
        trace = headers.get("traceparent", "")
        self._send = send
        self.trace = trace if _TRACE.fullmatch(trace) else None
        self.status = 0
        self.code: Code | None = None

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            extra = [*_ALWAYS]
            if self.trace is not None:
                extra.append((b"traceparent", self.trace.encode()))
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await self._send(message)


_ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
