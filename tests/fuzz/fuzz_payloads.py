"""Fuzzing of the endpoint, guided by coverage: `fuzz_payloads.py [libFuzzer's options]`.

    PYTHONPATH=src:tests python tests/fuzz/fuzz_payloads.py -max_total_time=600 CORPUS_FOLDER

The whole application on the echo engine, without a socket. The first byte chooses the route, the
second the kind of body and of answer; the rest is the body. Whatever it is, the answer is never a
status of 500 or more, is what its content type says, and the next good call is answered.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import Any

import atheris

with atheris.instrument_imports():
    from support.serving import echo_model
    from textmill.serving.app import make_app
    from textmill.serving.endpoint import Endpoint
    from textmill.serving.guard import Access

ROUTES = ("/invocations", "/v1/completions", "/v2/models/echo/infer", "/endpoints/x/invocations")
KINDS = (
    "application/json",
    "application/jsonlines",
    "application/x-text",
    "text/csv",
    "application/json; charset=latin-1",
    "",
)
SEEDS = (
    (
        0,
        0,
        b'{"text_inputs": ["a", "b"], "max_length": 5, "num_beams": 2, "num_return_sequences": 2}',
    ),
    (0, 0, b'{"id": 1, "text_inputs": "a", "seed": 4, "do_sample": false, "top_k": 5}'),
    (0, 0, b'{"inputs": "a", "parameters": {"max_new_tokens": 5}}'),
    (0, 1, b'{"text_inputs": "a"}\n{"text_inputs": "b", "num_beams": 2}\n'),
    (0, 2, "grüß".encode()),
    (1, 0, b'{"model": "echo", "prompt": ["a", "b"], "max_tokens": 5, "stream": false}'),
    (
        2,
        0,
        b'{"id": "1", "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data":'
        b' ["a"]}], "parameters": {"max_new_tokens": 4}}',
    ),
)
GOOD = (0, 0, b'{"text_inputs": "good"}')


class Application:
    """One endpoint, called without HTTP."""

    def __init__(self) -> None:
        self._endpoint = Endpoint(echo_model())
        self._endpoint.start()
        self._app = make_app(self._endpoint, Access(), version="0")
        self._loop = asyncio.new_event_loop()

    def call(self, route: int, kind: int, body: bytes) -> tuple[int, str, bytes]:
        """Status, content type and body of the answer."""
        return self._loop.run_until_complete(self._call(route, kind, body))

    async def _call(self, route: int, kind: int, body: bytes) -> tuple[int, str, bytes]:
        sent: list[Any] = []
        path = ROUTES[route % len(ROUTES)]
        asked = KINDS[kind % len(KINDS)]
        accept = KINDS[kind // len(KINDS) % len(KINDS)]
        headers = [(b"content-length", str(len(body)).encode())]
        headers += [(b"content-type", asked.encode())] * bool(asked)
        headers += [(b"accept", accept.encode())] * bool(accept)
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await asyncio.sleep(3600)  # the client stays
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        await self._app(scope, receive, send)
        start = sent[0]
        types = [value.decode() for name, value in start["headers"] if name == b"content-type"]
        return start["status"], types[0], b"".join(m.get("body", b"") for m in sent[1:])


def check(application: Application, data: bytes) -> None:
    """One call, and a good one after it."""
    if len(data) < 2:
        return
    status, kind, body = application.call(data[0], data[1], data[2:])
    assert 200 <= status < 500, (status, body)
    if kind.startswith("application/json") and "lines" not in kind:
        json.loads(body)
    elif kind.startswith("application/jsonlines"):
        for line in body.splitlines():
            json.loads(line)
    status, _, body = application.call(*GOOD)
    assert (status, json.loads(body)) == (200, {"generated_texts": ["good"]})


def main() -> None:
    """Run it."""
    logging.disable(logging.CRITICAL)
    application = Application()
    for route, kind, body in SEEDS:
        status, _, answer = application.call(route, kind, body)
        assert status < 500, (body, answer)
    atheris.Setup(sys.argv, lambda data: check(application, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
