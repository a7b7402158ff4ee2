"""The gateway as an ASGI application: every request to its service, every answer on its wire."""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from msgspec import Struct
from msgspec.structs import replace

from textmill.errors import TextmillError
from textmill.gateway.operations import AT_ONCE, OPERATIONS
from textmill.gateway.operations.endpoints import invoke_endpoint
from textmill.gateway.plane import Call, Plane
from textmill.gateway.wire import reading, signing, writing
from textmill.gateway.wire.faults import AwsError
from textmill.gateway.wire.models import IAM, LOGS, RUNTIME, SAGEMAKER, STS
from textmill.gateway.wire.routing import S3, Destination, Scope, route, scope_of
from textmill.gateway.wire.writing import Answer
from textmill.words import written

MAX_BODY_BYTES = 1 << 20
"""Of a request of the control plane."""

MAX_INVOCATION_BYTES = 26_214_400
"""Of a request to an endpoint: SageMaker's limit today, 25 MiB."""

_SMALL_BYTES = 4096
"""Of a body that is checked while no other request goes on."""

_LOOPBACK_NAMES = frozenset({"localhost"})
_HEX64 = re.compile(r"[0-9a-f]{64}")
_log = logging.getLogger("textmill.gateway")

Scoped = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Gone(ConnectionError):
    """The client went away before its request was answered: nobody is there to be told."""


class _Exchange:
    """Passes a request and its answer on, and knows how far they are."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.is_read = self.began = False

    async def receive(self) -> Mapping[str, Any]:
        message = await self._receive()
        self.is_read |= not message.get("more_body")
        return message

    async def send(self, message: Mapping[str, Any]) -> None:
        self.began = True
        try:
            await self._send(message)
        except Exception as error:
            # The server has given the connection up before it has told: a body broke its framing.
            raise Gone from error


class Head(Struct, frozen=True, kw_only=True):
    """A request without its body. path and query are percent-encoded."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    scope: Scope | None

    @property
    def fields(self) -> dict[str, str]:
        """The query's."""
        return dict(parse_qsl(self.query, keep_blank_values=True))


StreamHandler = Callable[[Head, Receive, Send, str], Awaitable[None]]
"""Answers a request whole: its body may be of any size."""


class Gateway:
    """An ASGI application.

    keys: secrets by access keys; None takes any signature and none, from this machine alone.
    internal_keys: of our own workers.
    """

    def __init__(
        self,
        plane: Plane,
        *,
        keys: Mapping[str, str] | None,
        internal_keys: Mapping[str, str],
        s3: StreamHandler,
    ) -> None:
        self._plane, self._s3 = plane, s3
        self._keys = None if keys is None else {**keys, **internal_keys}

    async def __call__(self, scope: Scoped, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        id_, exchange = writing.request_id(), _Exchange(receive, send)
        try:
            await self._exchange(scope, exchange, id_)
        except Gone:
            _log.info("request %s: the client went away", id_)
        except ConnectionError as error:
            _log.warning("request %s: %s", id_, error)

    async def _exchange(self, scope: Scoped, exchange: _Exchange, id_: str) -> None:
        """Answer one request. Raises `ConnectionError` if that cannot be brought to its end."""
        service = _service_of(scope)
        try:
            head = head_of(scope)
            where = route(head.method, head.path, head.headers, head.fields, head.scope)
            service = where.service
            self._check_sender(head)
            if service == S3:
                self._check_signature(head, None)
                await self._s3(head, exchange.receive, exchange.send, id_)
                return
            answer = await self._answer(head, where, exchange.receive, id_)
        except AwsError as error:
            answer = failure(service, error, id_)
        except TextmillError as error:
            _log.warning("%s", error)
            answer = failure(service, AwsError("InternalFailure", error.message, 500), id_)
        except ConnectionError:
            raise
        except OSError as error:
            _log.warning("request %s: %s", id_, error)
            message = f"the gateway's folder cannot be used: {error.strerror}"
            answer = failure(service, AwsError("InternalFailure", message, 500), id_)
        except Exception:  # noqa: BLE001  a bug of ours must not end as a broken connection
            _log.exception("request %s failed", id_)
            answer = failure(service, AwsError("InternalFailure", "internal error", 500), id_)
        if exchange.began:
            raise ConnectionError("the answer broke off")
        if not exchange.is_read:  # what is left of the body must not be taken for a request
            answer = replace(answer, headers={**answer.headers, "connection": "close"})
        await send_answer(exchange.send, answer, head_only=scope["method"] == "HEAD")

    async def _answer(self, head: Head, where: Destination, receive: Receive, id_: str) -> Answer:
        from starlette.concurrency import run_in_threadpool

        is_invocation = where.service == RUNTIME
        most = MAX_INVOCATION_BYTES if is_invocation else MAX_BODY_BYTES
        body = await read_body(head, receive, most)
        self._check_signature(head, hashlib.sha256(body).hexdigest())
        if is_invocation:
            return await self._invoked(head, where, body, id_)
        where, params = _parameters(where, head, body)
        operation = OPERATIONS[where.service].get(where.operation)
        if operation is None:
            raise AwsError(
                "UnknownOperationException",
                f"{written(where.operation[:100])} is not supported here",
            )
        call = Call(where.region, head.headers.get("amz-sdk-invocation-id"))
        if where.operation in AT_ONCE and len(body) <= _SMALL_BYTES:
            output = operation(self._plane, call, params())
        else:
            output = await run_in_threadpool(operation, self._plane, call, params())
        return writing.answer(where.service, where.operation, output, id_)

    async def _invoked(self, head: Head, where: Destination, body: bytes, id_: str) -> Answer:
        from starlette.concurrency import run_in_threadpool

        if where.operation != "InvokeEndpoint":
            raise AwsError("ValidationError", f"{where.operation} is not supported here")
        params = reading.rest_parameters(where, head.headers, body)
        call = Call(where.region)
        output = await run_in_threadpool(invoke_endpoint, self._plane, call, params, head.headers)
        return writing.answer(where.service, where.operation, output, id_)

    def _check_sender(self, head: Head) -> None:
        """Without keys, only programs of this machine: no browser, whatever page it shows."""
        if self._keys is None and ("origin" in head.headers or not _is_loopback(head.headers)):
            raise AwsError(
                "AccessDeniedException",
                "without keys, only programs of this machine are answered",
                403,
            )

    def _check_signature(self, head: Head, body_sha256: str | None) -> None:
        if self._keys is not None:
            request = signing.Signed(
                method=head.method,
                path=head.path,
                query=head.query,
                headers=head.headers,
                body_sha256=body_sha256,
            )
            signing.verify(request, head.scope, self._keys, datetime.now(UTC))


def _service_of(scope: Scoped) -> str:
    """Whose words an error is told in as long as nobody knows where a request goes."""
    is_named = any(name == b"x-amz-target" for name, _ in scope["headers"])
    return SAGEMAKER if is_named else S3


def head_of(scope: Scoped) -> Head:
    """A request as ASGI has it. Raises `AwsError`."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    try:
        query = scope["query_string"].decode("ascii")
        path = scope["raw_path"].decode("ascii").partition("?")[0]
        fields = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=100))
    except ValueError as error:
        raise AwsError("InvalidURI", "the address is not one") from error
    return Head(
        method=scope["method"],
        path=path,
        query=query,
        headers=headers,
        scope=scope_of(headers, fields),
    )


async def read_body(head: Head, receive: Receive, most: int) -> bytes:
    """All of a body. Raises `AwsError` if it is too large, before it is read where it says so, and
    if it is not the one that a signature states."""
    too_large = AwsError("RequestEntityTooLarge", f"a body has at most {most} bytes here", 413)
    length = head.headers.get("content-length", "0")
    if length.isascii() and length.isdigit() and (len(length) > 12 or int(length) > most):
        raise too_large
    found = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        found += message.get("body", b"")
        if len(found) > most:
            raise too_large
        if not message.get("more_body"):
            _check_stated(head, found)
            return bytes(found)


def _check_stated(head: Head, body: bytearray) -> None:
    stated = head.headers.get("x-amz-content-sha256", "")
    if _HEX64.fullmatch(stated) and stated != hashlib.sha256(body).hexdigest():
        raise AwsError("XAmzContentSHA256Mismatch", "the body is not the one that was signed")


def failure(service: str, error: AwsError, id_: str) -> Answer:
    """An error in the words of its service."""
    if service == S3:
        from textmill.gateway.s3.xml import error_body

        headers = {"content-type": "application/xml", "x-amz-request-id": id_}
        return Answer(error.status, headers, error_body(error, id_))
    return writing.failure(service, error, id_)


async def send_answer(send: Send, answer: Answer, *, head_only: bool = False) -> None:
    """Send it. A HEAD has the length of the body that it does not have."""
    headers = {**answer.headers, "content-length": str(len(answer.body))}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if head_only else answer.body})


def _parameters(
    where: Destination, head: Head, body: bytes
) -> tuple[Destination, Callable[[], dict[str, Any]]]:
    """Where a request goes, and how its parameters are read."""
    if where.service in (SAGEMAKER, LOGS):
        return where, lambda: reading.json_parameters(where, body)
    assert where.service in (STS, IAM)  # noqa: S101  all others have handlers of their own
    fields = reading.form(body) if head.method == "POST" else head.fields
    named = Destination(where.service, fields.get("Action", ""), where.region)
    return named, lambda: reading.query_parameters(named, fields)


def _is_loopback(headers: Mapping[str, str]) -> bool:
    """Whether it was sent to a loopback address as such, not by another name that leads here."""
    host = headers.get("host", "").lower()
    name = host.partition("]")[0].strip("[") if host.startswith("[") else host.partition(":")[0]
    if name in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
