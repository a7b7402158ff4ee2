"""Spans of a server under `opentelemetry-instrument`, as a collector gets them over OTLP."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2 as httpx
import pytest

from support.command import environment
from support.serving import Served, serving

pytest.importorskip("opentelemetry.instrumentation")

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """Takes OTLP and keeps the spans."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []

    @property
    def spans(self) -> list:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.path == "/v1/traces":
            self.server.bodies.append(body)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def traced(address: str) -> Iterator[Served]:
    instrument = Path(sys.executable).with_name("opentelemetry-instrument")
    env = environment(
        OTEL_EXPORTER_OTLP_ENDPOINT=address,
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
        OTEL_SERVICE_NAME="summaries",
    )
    with serving("--engine", "echo", env=env, before=[instrument]) as served:
        yield served


def test_a_call_is_a_span_of_its_client_s_trace_with_its_wait_and_its_work_inside():
    with collector() as collected:
        with traced(f"http://127.0.0.1:{collected.server_port}") as served:
            secret = "a text that nobody else may see"
            answer = httpx.post(
                f"{served.url}/invocations",
                json={"text_inputs": [secret, "two words"]},
                headers={"traceparent": f"00-{TRACE}-{PARENT}-01"},
            )
            assert answer.status_code == 200
            assert httpx.post(f"{served.url}/invocations", json=1).status_code == 400
            assert served.stop() == 0
        spans = {span.name: span for span in collected.spans if span.trace_id.hex() == TRACE}
        call = spans["POST /invocations"]
        assert call.parent_span_id.hex() == PARENT
        assert {spans[name].parent_span_id for name in ("wait", "generate")} == {call.span_id}
        wait, work = spans["wait"], spans["generate"]
        begun = call.start_time_unix_nano
        assert begun <= wait.start_time_unix_nano <= wait.end_time_unix_nano
        assert wait.end_time_unix_nano == work.start_time_unix_nano <= work.end_time_unix_nano
        assert work.end_time_unix_nano <= call.end_time_unix_nano
        found = {a.key: a.value.int_value or a.value.string_value for a in call.attributes}
        assert found["http.response.status_code"] == 200
        assert found["textmill.texts"] == 2
        refused = [span for span in collected.spans if span.trace_id.hex() != TRACE]
        assert [a.value.int_value for a in refused[0].attributes if "status" in a.key] == [400]
        assert not any(secret.encode() in body for body in collected.bodies)
