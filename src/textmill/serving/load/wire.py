"""A lean client of HTTP/1.1: kept connections, one call at a time on each.

It is made for load tests, where a client that is busy with itself would measure itself.
"""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

from msgspec import Struct

from textmill.errors import UsageError
from textmill.words import written

_MOST_CONNECTIONS = 1000
_MOST_HEAD = 64 * 1024


class Answer(Struct, frozen=True):
    """What came back."""

    status: int
    body: bytes


class Target(Struct, frozen=True, kw_only=True):
    """Where to call. path: with the query. headers: of every call, whole lines."""

    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None = None
    headers: str = ""

    @classmethod
    def of(cls, url: str, *, key: str | None = None, path: str | None = None) -> Target:
        """The target at a URL. Raises `UsageError`."""
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
            raise UsageError(
                f"{written(url)} is not the address of a server", hint="http://host:port/…"
            )
        secure = parts.scheme == "https"
        host = parts.hostname
        head = f"host: {parts.netloc.rpartition('@')[2]}\r\ncontent-type: application/json\r\n"
        if key is not None:
            head += f"authorization: Bearer {key}\r\n"
        return cls(
            host=host,
            port=port or (443 if secure else 80),
            path=path or parts.path or "/",
            tls=ssl.create_default_context() if secure else None,
            headers=head,
        )


class Client:
    """Calls one target, each call on a connection of its own while it lasts."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._room = asyncio.Semaphore(_MOST_CONNECTIONS)

    async def post(self, body: bytes) -> Answer:
        """Send a body. Raises `OSError` and `EOFError` for a connection that breaks."""
        return await self._call("POST", self.target.path, body)

    async def get(self, path: str) -> Answer:
        """Get an address of the same server."""
        return await self._call("GET", path, b"")

    async def close(self) -> None:
        """Hang up."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()
        await asyncio.sleep(0)

    async def _call(self, method: str, path: str, body: bytes) -> Answer:
        head = (
            f"{method} {path} HTTP/1.1\r\n{self.target.headers}content-length: {len(body)}\r\n\r\n"
        )
        async with self._room:
            fresh = not self._idle
            reader, writer = await self._connect() if fresh else self._idle.pop()
            try:
                try:
                    answer, keep = await _exchange(reader, writer, head.encode() + body)
                except (OSError, EOFError):
                    if fresh:
                        raise
                    writer.close()  # the server has closed what it had kept: once more
                    reader, writer = await self._connect()
                    answer, keep = await _exchange(reader, writer, head.encode() + body)
            except BaseException:
                writer.close()
                raise
            if keep:
                self._idle.append((reader, writer))
            else:
                writer.close()
            return answer

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        target = self.target
        return await asyncio.open_connection(
            target.host, target.port, ssl=target.tls, limit=_MOST_HEAD
        )


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes
) -> tuple[Answer, bool]:
    """Send and read. Returns the answer, and whether the connection can be used again."""
    writer.write(data)
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {}
    for line in head[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip().lower()
    words = head[0].split(" ")
    status = int(words[1]) if len(words) > 1 and words[1].isdecimal() else 0
    keep = headers.get("connection") != "close"
    if "chunked" in headers.get("transfer-encoding", ""):
        body = await _chunked(reader)
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body, keep = await reader.read(), False
    return Answer(status, body), keep


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readline()
    while (await reader.readline()).strip():
        pass
    return body
