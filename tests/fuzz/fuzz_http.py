"""Random HTTP against a real endpoint: `fuzz_http.py SECONDS [flags of textmill serve]`.

    PYTHONPATH=src:tests python tests/fuzz/fuzz_http.py 600 --engine echo

Calls of every dialect are bent at random, in method, address, head, body and framing, and sent
whole, in pieces or cut off, over many connections at once. Whatever comes: no status says that the
endpoint is at fault, a JSON answer is JSON, the log tells of no fault, and good calls in between
get their answers. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from support.serving import Served, serving

CLIENTS = 12
GOOD_EVERY = 40
ANSWER_S = 2.0
DIALECTS = (
    ("POST", "/invocations", "application/json", b'{"text_inputs": ["a", "b"], "num_beams": 2}'),
    ("POST", "/invocations", "application/json", b'{"id": 1, "text_inputs": "a", "seed": 4}'),
    ("POST", "/invocations", "application/json", b'{"inputs": "a", "parameters": {"top_k": 5}}'),
    ("POST", "/invocations", "application/jsonlines", b'{"text_inputs": "a"}\n{"id": 2}\n'),
    ("POST", "/invocations", "application/x-text", "grüß".encode()),
    ("POST", "/endpoints/any/invocations", "application/json", b'{"text_inputs": "a"}'),
    ("POST", "/v1/completions", "application/json", b'{"prompt": ["a"], "max_tokens": 5}'),
    (
        "POST",
        "/v2/models/echo/infer",
        "application/json",
        b'{"inputs": [{"name": "t", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}',
    ),
    ("GET", "/ping", "", b""),
    ("GET", "/metrics", "", b""),
    ("GET", "/live", "", b""),
    ("GET", "/openapi.json", "", b""),
    ("GET", "/v1/models/echo", "", b""),
)
TOKENS = (
    *(b"[" * 50, b"]", b"{", b"}", b'"', b":", b",", b"\\u0000", b"\\ud83d", b"\\", b"\x00"),
    *(b"\xff", b"\xc3", "\u202e".encode(), b"\r\n", b"\n\n", b"NaN", b"1e999", b"-0", b"9" * 400),
    *(b"null", b"true", b"1.0", b'""', b"[]", b"{}", b'"text_inputs"', b'"inputs"', b'"id"'),
    *(b'"parameters"', b'"max_new_tokens"', b'"batch_size"', b'"stop"', b'"data"', b"a" * 3000),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "OPTIONS", "TRACE", "CONNECT", "FOO", "get", "PRI")
VALUES = (
    *("", "0", "-1", "1e9", "9" * 30, "gzip", "chunked", "100-continue", "text/csv", "*/*;q=0"),
    *("a/b;q=x,,;", "Bearer x", "Basic !!", "localhost", "evil.example", "[::1", "nan", "\x80\xff"),
    *("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "attempt=1; max=3", "x" * 9000),
)
NAMES = (
    *("host", "content-length", "content-type", "accept", "transfer-encoding", "expect", "origin"),
    *("authorization", "x-api-key", "x-request-timeout", "traceparent", "amz-sdk-invocation-id"),
    *("amz-sdk-request", "connection", "upgrade", "content-encoding", "cookie", "x" * 200),
    "inference-header-content-length",
)

Chance = random.Random


def bent(chance: Chance, data: bytes) -> bytes:
    """Some bytes, with a few changes."""
    for _ in range(chance.choice((0, 1, 1, 2, 4))):
        at = chance.randint(0, len(data))
        upto = min(len(data), at + chance.choice((1, 2, 8)))
        with_ = chance.choice((b"", chance.choice(TOKENS), chance.randbytes(2), data[at:upto] * 2))
        data = data[:at] + with_ + data[upto:]
    return data


def request(chance: Chance) -> bytes:
    """A call that may have anything wrong with it."""
    method, path, kind, body = chance.choice(DIALECTS)
    body = bent(chance, body)
    headers = [("host", "localhost"), ("content-type", kind)]
    if chance.random() < 0.2:
        method = chance.choice(METHODS)
    if chance.random() < 0.2:
        path = bent(chance, path.encode()).decode("latin-1")
    for _ in range(chance.choice((0, 0, 1, 2))):
        headers.insert(chance.randint(0, 2), (chance.choice(NAMES), chance.choice(VALUES)))
    if chance.random() < 0.2:
        headers.append(("transfer-encoding", "chunked"))
        body = chunked(chance, body)
    else:
        headers.append(("content-length", str(len(body) + chance.choice((0, 0, 0, 0, -1, 1)))))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "", ""]
    head = "\r\n".join(lines).encode("latin-1", "replace")
    return (bent(chance, head) if chance.random() < 0.1 else head) + body


def chunked(chance: Chance, body: bytes) -> bytes:
    """A body in chunks, of which one may be wrong."""
    pieces = []
    while body:
        size = chance.randint(1, len(body))
        said = size if chance.random() < 0.97 else chance.choice((0, -1, size + 5, 1 << 70))
        pieces.append(b"%x\r\n%b\r\n" % (said, body[:size]))
        body = body[size:]
    return b"".join(pieces) + b"0\r\n\r\n"


class Fuzzer:
    """Many clients of one endpoint."""

    def __init__(self, url: str, seed: int) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._chance = Chance(seed)
        self.statuses: Counter[str] = Counter()
        self.good = 0

    async def run(self, seconds: float) -> None:
        """Until the time is over. Raises `AssertionError` with what the endpoint got wrong."""
        end = time.monotonic() + seconds
        await asyncio.gather(*(self._client(end) for _ in range(CLIENTS)))

    async def _client(self, end: float) -> None:
        calls = 0
        while time.monotonic() < end:
            calls += 1
            data = request(self._chance)
            answer = await self._send(data)
            self.statuses[answer[9:12].decode("latin-1") if answer else "none"] += 1
            check(data, answer)
            if calls % GOOD_EVERY == 0:
                await self._good_call()

    async def _send(self, data: bytes) -> bytes:
        """What comes for some bytes, however they are sent; nothing where they are cut off."""
        chance = self._chance
        reader, writer = await asyncio.open_connection(self._host, self._port)
        cut = chance.randint(0, len(data)) if chance.random() < 0.1 else None
        try:
            for piece in pieces(chance, data[:cut]):
                writer.write(piece)
                await asyncio.sleep(0.002 * (len(piece) != len(data)))
            if cut is not None:
                if chance.random() < 0.5:  # a reset rather than an end
                    raw = writer.get_extra_info("socket")
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return b""
            return await asyncio.wait_for(first_answer(reader), ANSWER_S)
        except (OSError, TimeoutError, EOFError):
            return b""
        finally:
            writer.close()

    async def _good_call(self) -> None:
        body = b'{"text_inputs": "good", "max_new_tokens": 9}'
        head = b"POST /invocations HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n"
        reader, writer = await asyncio.open_connection(self._host, self._port)
        writer.write(head % len(body) + body)
        answer = await asyncio.wait_for(first_answer(reader), 60)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200"), answer
        self.good += 1


def pieces(chance: Chance, data: bytes) -> list[bytes]:
    """The same bytes, whole or in a few pieces."""
    if chance.random() < 0.9:
        return [data]
    places = sorted(chance.choices(range(len(data) + 1), k=3))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


async def first_answer(reader: asyncio.StreamReader) -> bytes:
    """Head and body of the first answer, those that bid to go on left out."""
    head = await reader.readuntil(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100"):
        head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"),
        0,
    )
    return head + await reader.read(length)


def check(data: bytes, answer: bytes) -> None:
    """The answer does not say that the endpoint is at fault."""
    if not answer:
        return
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head[9:12])
    assert status < 500 or status in (503, 504), (data, answer)
    if b"content-type: application/json\r" in head + b"\r" and body and data[:4] != b"HEAD":
        json.loads(body)


def resident_mb(served: Served) -> float:
    status = Path(f"/proc/{served.process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def main() -> None:
    """Run it."""
    seconds = float(sys.argv[1])
    with serving(*(sys.argv[2:] or ["--engine", "echo"]), "--quiet") as served:
        fuzzer = Fuzzer(served.url, seed=int(time.time()))
        asyncio.run(fuzzer.run(min(seconds, 10.0)))
        before = resident_mb(served)
        asyncio.run(fuzzer.run(seconds - min(seconds, 10.0)))
        after = resident_mb(served)
        assert served.stop() == 0
        faults = [line for line in served.log if "broke" in line or "Traceback" in line]
        assert not faults, "".join(served.log)[:20_000]
    figures = {
        "seconds": seconds,
        "executions": sum(fuzzer.statuses.values()),
        "good_calls": fuzzer.good,
        "statuses": dict(fuzzer.statuses.most_common()),
        "resident_mb": [round(before), round(after)],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
