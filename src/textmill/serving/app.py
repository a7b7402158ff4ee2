"""The routes: thin, each from a request to `Service.answer` and back."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from textmill.serving import kserve, openai
from textmill.serving.calls import Timings
from textmill.serving.endpoint import Endpoint
from textmill.serving.guard import Access, Guard
from textmill.serving.health import State
from textmill.serving.invocations import Invocations
from textmill.serving.openapi import document
from textmill.serving.page import live_figures, page_response
from textmill.serving.refusals import Code, Refused
from textmill.serving.service import Done, Gone, Read, Service

Handler = Callable[[Request], Awaitable[Response]]

_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
_MEGABYTE = 1024 * 1024
_VARIANT = "AllTraffic"


def make_app(endpoint: Endpoint, access: Access, *, version: str, any_name: bool = True) -> ASGIApp:
    """The ASGI application of an endpoint.

    any_name: whether `/endpoints/NAME/invocations` answers to every name, or to the model's only.
    """
    routes = Routes(Service(endpoint), version=version, any_name=any_name)
    return Guard(routes.router(), access, endpoint.metrics)


class Routes:
    """What each address does."""

    def __init__(self, service: Service, *, version: str, any_name: bool) -> None:
        self._service, self._version, self._any_name = service, version, any_name
        self._endpoint = service.endpoint
        self._model = service.endpoint.model
        self._invocations = Invocations(
            service.reader, service.limits, line_params=self._model.line_params
        )

    def router(self) -> Router:
        """All routes."""
        table: dict[str, dict[str, Handler]] = {
            "/": {"GET": self._page},
            "/live": {"GET": self._live},
            "/ping": {"GET": self._ping},
            "/execution-parameters": {"GET": self._execution_parameters},
            "/invocations": {"POST": self._invoke},
            "/endpoints/{name}/invocations": {"POST": self._invoke_named},
            "/metrics": {"GET": self._metrics},
            "/openapi.json": {"GET": self._openapi},
            "/v1/completions": {"POST": self._completions},
            "/v1/models": {"GET": self._models},
            "/v1/models/{name:path}": {"GET": self._model_card},
            "/v2": {"GET": self._server},
            "/v2/health/live": {"GET": self._alive},
            "/v2/health/ready": {"GET": self._ping},
            "/v2/models/{name:path}/infer": {"POST": self._infer},
            "/v2/models/{name:path}/ready": {"GET": self._model_ready},
            "/v2/models/{name:path}": {"GET": self._metadata},
        }
        routes = [Route(path, _Address(path, handlers)) for path, handlers in table.items()]
        return Router(routes, redirect_slashes=False, default=_not_found)

    # SageMaker

    async def _invoke(self, request: Request) -> Response:
        return await self._answer(request, partial(self._read_invocation, request))

    async def _invoke_named(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not self._any_name and name != self._model.name:
            raise Refused(Code.NOT_FOUND, f"Endpoint {name[:63]} of this account not found.")
        response = await self._invoke(request)
        response.headers["x-amzn-invoked-production-variant"] = _VARIANT
        return response

    def _read_invocation(self, request: Request, body: bytes) -> Read:
        headers = request.headers
        read = self._invocations.read(body, headers.get("content-type"), headers.get("accept"))
        return Read(read.asked, partial(self._invocations.write, read))

    async def _ping(self, _: Request) -> Response:
        state = self._endpoint.state
        if state is not State.READY:
            raise Refused(Code.NOT_READY, f"the endpoint is {state}", retry_after_s=1.0)
        return Response()

    async def _execution_parameters(self, _: Request) -> Response:
        limits = self._service.limits
        return JSONResponse(
            {
                "MaxConcurrentTransforms": max(2, self._model.engine.capabilities.parallel * 2),
                "BatchStrategy": "MULTI_RECORD",
                "MaxPayloadInMB": max(1, limits.max_body_bytes // _MEGABYTE),
            }
        )

    # OpenAI

    async def _completions(self, request: Request) -> Response:
        def read(body: bytes) -> Read:
            asked = openai.read(body, self._service.reader, self._model.name)
            write = partial(
                openai.write,
                asked,
                model=self._model.name,
                id_=uuid4().hex,
                created=int(time.time()),
            )
            return Read(asked.asked, write)

        return await self._answer(request, read)

    async def _models(self, _: Request) -> Response:
        return JSONResponse(openai.models(self._model.name))

    async def _model_card(self, request: Request) -> Response:
        self._check_model(request)
        return JSONResponse(openai.model_card(self._model.name))

    # KServe

    async def _infer(self, request: Request) -> Response:
        self._check_model(request)

        def read(body: bytes) -> Read:
            if "inference-header-content-length" in request.headers:
                message = "binary data are not spoken here: send JSON"
                raise Refused(Code.UNSUPPORTED_MEDIA_TYPE, message)
            asked = kserve.read(body, self._service.reader)
            return Read(asked.asked, partial(kserve.write, asked, model=self._model.name))

        return await self._answer(request, read)

    async def _server(self, _: Request) -> Response:
        return JSONResponse(kserve.server_metadata(self._version))

    async def _metadata(self, request: Request) -> Response:
        self._check_model(request)
        platform = f"textmill_{self._model.engine.capabilities.name}"
        return JSONResponse(kserve.model_metadata(self._model.name, platform))

    async def _model_ready(self, request: Request) -> Response:
        self._check_model(request)
        return await self._ping(request)

    async def _alive(self, _: Request) -> Response:
        if not self._endpoint.is_alive:
            raise Refused(Code.NOT_READY, "the endpoint's thread has ended")
        return Response()

    # Looking on

    async def _metrics(self, _: Request) -> Response:
        gauges = self._endpoint.ends.figures()
        gauges["ready"] = float(self._endpoint.state is State.READY)
        return PlainTextResponse(
            self._endpoint.metrics.prometheus(gauges), headers={"content-type": _PROMETHEUS}
        )

    async def _openapi(self, _: Request) -> Response:
        return JSONResponse(document(self._model.name, self._version, self._service.limits))

    async def _page(self, _: Request) -> Response:
        return page_response()

    async def _live(self, _: Request) -> Response:
        return JSONResponse(live_figures(self._endpoint))

    # Shared

    def _check_model(self, request: Request) -> None:
        name = request.path_params["name"]
        if name != self._model.name:
            message = f"this endpoint serves {self._model.name}, not {name[:80]}"
            raise Refused(Code.NOT_FOUND, message)

    async def _answer(self, request: Request, read: Callable[[bytes], Read]) -> Response:
        try:
            done = await self._service.answer(request, read)
        except Gone:
            return Response(status_code=499)
        request.scope["textmill.timings"] = done.timings
        reply = done.reply
        response = Response(reply.body, reply.status, _headers(done), reply.content_type)
        if reply.failed:
            response.headers["x-textmill-failed"] = str(reply.failed)
        return response


class _Address:
    """What one address does for each method; any other method is refused in our own words."""

    def __init__(self, path: str, handlers: dict[str, Handler]) -> None:
        self._path, self._handlers = path, handlers
        self._allowed = [*handlers, "HEAD"] if "GET" in handlers else [*handlers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Raises `Refused`."""
        scope["textmill.route"] = self._path
        request = Request(scope, receive, send)
        handler = self._handlers.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            message = f"ask with {' or '.join(self._handlers)}"
            raise Refused(Code.METHOD_NOT_ALLOWED, message, allowed=self._allowed)
        response = await handler(request)
        await response(scope, receive, send)


async def _not_found(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise Refused(Code.NOT_FOUND, "there is nothing at this address")


def _headers(done: Done) -> dict[str, str]:
    timings: Timings = done.timings
    return {
        "server-timing": (
            f"wait;dur={timings.wait * 1000:.2f}, execute;dur={timings.execute * 1000:.2f},"
            f" total;dur={timings.total * 1000:.2f}"
        ),
        "x-textmill-batch-rows": str(timings.batch_rows),
        "x-textmill-tokens": f"{timings.input_tokens}+{timings.output_tokens}",
    }
