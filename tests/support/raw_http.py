"""A server that answers in raw bytes, so that it can do what no HTTP library lets it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextmanager
def answering(handle: Handle) -> Iterator[str]:
    """A server in a thread; its address for calls."""
    loop = asyncio.new_event_loop()
    started = threading.Event()
    address: list[int] = []

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        address.append(server.sockets[0].getsockname()[1])
        started.set()
        async with server:
            await server.serve_forever()

    task = loop.create_task(main())
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([task])))
    thread.start()
    assert started.wait(5)
    try:
        yield f"http://127.0.0.1:{address[0]}/invocations"
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def reply(status: int, body: bytes = b"{}", headers: bytes = b"") -> bytes:
    """An answer."""
    return b"HTTP/1.1 %d X\r\n%bcontent-length: %d\r\n\r\n%b" % (status, headers, len(body), body)


async def read_call(reader: asyncio.StreamReader) -> None:
    """Read one call to its end."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
