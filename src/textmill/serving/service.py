"""A call from its bytes to its answer, on the event loop."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct
from starlette.requests import Request

from textmill.core import Record
from textmill.serving.answers import Answer
from textmill.serving.asked import Asked, Reply, RowResult, row_results
from textmill.serving.calls import Call, Timings
from textmill.serving.endpoint import Endpoint, Window
from textmill.serving.health import State
from textmill.serving.reading import Reader
from textmill.serving.refusals import Code, Refused
from textmill.serving.replay import Replays
from textmill.words import written

_INLINE_CHARS = 4096
"""Shorter texts are tokenized at once; longer ones by a thread, so that nobody waits for them."""

_RETRY_GRACE_S = 5.0
"""A client that left may send its call again, if it said that it would."""

Render = Callable[[Sequence[RowResult]], Reply]


class Read(Struct, frozen=True):
    """A call that was read, and what makes its answer of the results."""

    asked: Asked
    render: Render


class Done(Struct, frozen=True):
    """A call's answer, and what it took."""

    reply: Reply
    timings: Timings


class _Shared:
    """Work that several connections may wait for: a call, and its retries."""

    def __init__(self, task: asyncio.Task[Done]) -> None:
        self.task = task
        self.waiters = 0


class Gone(Exception):
    """The client has left."""


class Service:
    """Answers calls by one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.limits = endpoint.limits
        self.reader = Reader(endpoint.model.shape, endpoint.limits)
        self._replays: Replays[_Shared] = Replays(endpoint.clock)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="textmill-tokenize")

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def check_open(self) -> None:
        """Raise `Refused` where a call cannot be answered, before any of it is read."""
        state = self.endpoint.state
        if state is not State.READY:
            raise Refused(Code.NOT_READY, f"the endpoint is {state}", retry_after_s=1.0)
        self.endpoint.ends.check_room()

    async def answer(self, request: Request, read: Callable[[bytes], Read]) -> Done:
        """The whole way. Raises `Refused`, and `Gone` when there is nobody to answer."""
        arrived = self.endpoint.clock.now()
        self.check_open()
        _check_encoding(request)
        deadline = arrived + self._seconds(request)
        body = await self._body(request)
        name = request.headers.get("amz-sdk-invocation-id")
        if not name:
            task = asyncio.create_task(self._compute(read(body), deadline))
            return await self._wait(request, _Shared(task), grace=0.0)
        key = _replay_key(request, name, body)
        shared = self._replays.find(key)
        if shared is None:
            shared = _Shared(asyncio.create_task(self._compute(read(body), deadline)))
            self._replays.keep(key, shared)
            shared.task.add_done_callback(lambda task: self._note_replay(key, task))
        grace = _RETRY_GRACE_S if _will_retry(request) else 0.0
        return await self._wait(request, shared, grace=grace)

    def _note_replay(self, key: Hashable, task: asyncio.Task[Done]) -> None:
        """What was refused, or has failed, may be tried again."""
        if task.cancelled() or task.exception() is not None:
            self._replays.drop(key)
        else:
            self._replays.answered(key, len(task.result().reply.body))

    async def _wait(self, request: Request, shared: _Shared, *, grace: float) -> Done:
        """Wait for the work, or until the client leaves; work that nobody waits for is dropped."""
        gone = asyncio.create_task(_disconnected(request))
        shared.waiters += 1
        try:
            await asyncio.wait({gone, shared.task}, return_when=asyncio.FIRST_COMPLETED)
            if shared.task.done():
                return shared.task.result()
            raise Gone
        finally:
            gone.cancel()
            shared.waiters -= 1
            if not shared.waiters and not shared.task.done():
                asyncio.get_running_loop().call_later(grace, _drop, shared)

    async def _compute(self, read: Read, deadline: float) -> Done:
        rows = read.asked.rows
        window = await self._prepare(read.asked)
        call = self.endpoint.call(window, deadline=deadline)
        try:
            answers = await self._until(call, deadline)
        except BaseException:
            self.endpoint.ends.cancel(call)
            raise
        results = row_results(rows, window.rejected, window.requests, answers)
        return Done(read.render(results), call.timings())

    async def _prepare(self, asked: Asked) -> Window:
        texts = [text for row in asked.rows if isinstance(row, Record) for text in row.texts]
        self.limits.check_texts(len(texts))
        if sum(map(len, texts)) <= _INLINE_CHARS:
            return self.endpoint.prepare(asked.rows)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self.endpoint.prepare, asked.rows)

    async def _until(self, call: Call, deadline: float) -> list[Answer]:
        left = deadline - self.endpoint.clock.now()
        try:
            return await asyncio.wait_for(asyncio.wrap_future(call.done), max(0.0, left))
        except TimeoutError:
            raise Refused(Code.TIMEOUT, "there was no answer in time") from None

    def _seconds(self, request: Request) -> float:
        """How long the client waits, in so far as it says so."""
        text = request.headers.get("x-request-timeout")
        if text is None:
            return self.limits.seconds
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 < seconds <= 3600:
            message = "x-request-timeout: must be seconds, more than 0 and at most 3600"
            raise Refused(Code.BAD_PARAMETER, message)
        return min(seconds, self.limits.seconds)

    async def _body(self, request: Request) -> bytes:
        """The body, within the limits of size and time. Raises `Refused`, `Gone`."""
        most = self.limits.max_body_bytes
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > most:
            raise _too_large(most)
        body = bytearray()
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                more = True
                while more:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise Gone
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > most:
                        raise _too_large(most)
        except TimeoutError:
            raise Refused(Code.SLOW_REQUEST, "the body took too long to come") from None
        return bytes(body)


def _check_encoding(request: Request) -> None:
    """Raise `Refused` for a body that would have to be unpacked, to nobody knows how much."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        message = f"the body is packed ({written(encoding, 40)}): send it as it is"
        raise Refused(Code.UNSUPPORTED_MEDIA_TYPE, message)


def _too_large(most: int) -> Refused:
    return Refused(Code.TOO_LARGE, f"the body is over {most:,} bytes")


def _drop(shared: _Shared) -> None:
    if not shared.waiters:
        shared.task.cancel()


async def _disconnected(request: Request) -> None:
    """Returns when the client has left. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _will_retry(request: Request) -> bool:
    """Whether the client has tries left, as AWS clients say in `amz-sdk-request`."""
    said = dict(
        pair.strip().split("=", 1)
        for pair in request.headers.get("amz-sdk-request", "").split(";")
        if "=" in pair
    )
    attempt, most = said.get("attempt", ""), said.get("max", "")
    return attempt.isdecimal() and most.isdecimal() and int(attempt) < int(most)


def _replay_key(request: Request, name: str, body: bytes) -> Hashable:
    """The same client's same call: a name alone could be another's, or be used twice."""
    digest = hashlib.blake2b(body, digest_size=16).digest()
    client = request.scope.get("textmill.client", "")
    return (client, request.url.path, request.headers.get("accept"), name[:128], digest)
