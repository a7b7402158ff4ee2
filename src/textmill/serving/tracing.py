"""Spans for OpenTelemetry: one for each call, with its wait and its work inside.

Only the API is called, which does nothing until whoever starts the process sets up where spans
go, as `opentelemetry-instrument` does. Names are those of OpenTelemetry's semantic conventions.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from textmill.serving.calls import Timings

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

_NANOSECONDS = 1_000_000_000


class Traced(Struct, frozen=True, kw_only=True):
    """A call that is over.

    headers: of the request, whose `traceparent` is what the span belongs to. route: as in metrics.
    seconds: from its first byte to its last. timings: None if nothing was computed for it.
    """

    method: str
    route: str
    status: int
    seconds: float
    headers: Mapping[str, str]
    timings: Timings | None = None


class Tracing:
    """Writes spans."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @classmethod
    def if_installed(cls) -> Tracing | None:
        """None without the extra `[otel]`."""
        try:
            from opentelemetry import trace
        except ModuleNotFoundError:
            return None
        return cls(trace.get_tracer("textmill"))

    def note(self, call: Traced) -> None:
        """Write the spans of a call that ends now. No text of it is in them."""
        from opentelemetry import propagate, trace

        end = time.time_ns()
        began = end - _ns(call.seconds)
        span = self._tracer.start_span(
            f"{call.method} {call.route}",
            context=propagate.extract(call.headers),
            kind=trace.SpanKind.SERVER,
            attributes=_attributes(call),
            start_time=began,
        )
        if call.status >= 500:
            span.set_status(trace.Status(trace.StatusCode.ERROR))
        if call.timings is not None:
            inside = trace.set_span_in_context(span)
            done = end  # the answer is written within a moment of its last text
            execute = done - _ns(call.timings.execute)
            for name, since, until in (
                ("wait", max(began, execute - _ns(call.timings.wait)), execute),
                ("generate", execute, done),
            ):
                child = self._tracer.start_span(name, context=inside, start_time=since)
                child.end(until)
        span.end(end)


def _attributes(call: Traced) -> dict[str, str | int]:
    found: dict[str, str | int] = {
        "http.request.method": call.method,
        "http.route": call.route,
        "http.response.status_code": call.status,
    }
    if call.timings is not None:
        found |= {
            "gen_ai.usage.input_tokens": call.timings.input_tokens,
            "gen_ai.usage.output_tokens": call.timings.output_tokens,
            "textmill.texts": call.timings.texts,
            "textmill.batch_rows": call.timings.batch_rows,
        }
    return found


def _ns(seconds: float) -> int:
    return int(seconds * _NANOSECONDS)
