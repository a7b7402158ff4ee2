"""The engine: many requests at once to one server, each failing alone.

Requests are tasks of an event loop in the background; what is done comes back through a queue.
So `step` waits interruptibly, and what is abandoned hangs up at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue

from msgspec.structs import replace

from textmill.core import Batch, Outcome, Params, Request
from textmill.engines.base import Capabilities
from textmill.engines.openai_api.background import Background
from textmill.engines.openai_api.conversation import Conversation
from textmill.engines.openai_api.wire import check_params

_NOTES = (
    "Texts come from a server and are not promised to be the same when asked for again.",
    "Token counts are the server's own; an answer without them counts as 0 tokens.",
    "A text ends before its stop string, which the API leaves out.",
    "top_k is not sent: OpenAI's API has no word for it.",
)

_Done = SimpleQueue[Outcome | Exception | None]
"""None interrupts who waits."""


class OpenAIEngine:
    """Answers each text by one request to a server."""

    capabilities = Capabilities(
        name="openai",
        precision="remote",
        continuous=True,
        padded=False,
        batch_invariant=False,
        max_batch_rows=1,
        local=False,
        notes=_NOTES,
    )

    def __init__(
        self, conversation: Conversation, background: Background, *, concurrency: int
    ) -> None:
        """Owns the conversation and its thread. concurrency: requests in flight at once."""
        self.capabilities = replace(self.capabilities, parallel=concurrency)
        self._conversation, self._background = conversation, background
        self._concurrency = concurrency
        self._done: _Done = SimpleQueue()
        self._asked: set[Future[None]] = set()
        self._in_flight = 0
        self._closed = False

    def check(self, params: Params) -> None:
        """Refuse what the API has no word for."""
        check_params(params)

    def group(self, params: Params) -> None:
        """All requests may share a batch."""

    def room(self) -> int:
        """Requests that may still be sent at once."""
        return max(0, self._concurrency - self._in_flight)

    def add(self, batch: Batch) -> None:
        """Send the batch's requests; those over the concurrency wait for their turn."""
        self._in_flight += len(batch.requests)
        for request in batch.requests:
            asked = self._background.start(self._ask(request, self._done))
            self._asked.add(asked)
            asked.add_done_callback(self._asked.discard)

    async def _ask(self, request: Request, done: _Done) -> None:
        try:
            done.put(await self._conversation.outcome(request))
        except Exception as error:  # noqa: BLE001 - handed to the caller of `step`, which raises it
            done.put(error)

    def step(self) -> Sequence[Outcome]:
        """Wait for at least one answer, and take all that are there; none if it is interrupted.

        Raises `ModelError` when the server refuses everything (key, route, model), and
        `EngineUnavailable` when it is away for too long.
        """
        if not self._in_flight:
            return ()
        arrived = [self._done.get()]
        with suppress(Empty):
            while True:
                arrived.append(self._done.get_nowait())
        return self._taken([done for done in arrived if done is not None])

    def interrupt(self) -> None:
        """Let `step` return, so that it can be given more."""
        self._done.put(None)

    def _taken(self, arrived: list[Outcome | Exception]) -> list[Outcome]:
        """What arrived; an error waits for the next step if there are outcomes to be saved."""
        outcomes = [done for done in arrived if not isinstance(done, Exception)]
        errors = [done for done in arrived if isinstance(done, Exception)]
        self._in_flight -= len(outcomes)
        if errors and not outcomes:
            raise errors[0]
        for error in errors:
            self._done.put(error)
        return outcomes

    def abandon(self) -> None:
        """Hang up; answers that arrive meanwhile go nowhere."""
        self._done, self._in_flight = SimpleQueue(), 0
        for asked in list(self._asked):
            asked.cancel()

    def close(self) -> None:
        """Hang up and end the thread."""
        if not self._closed:
            self._closed = True
            self.abandon()
            self._background.close(self._conversation.close())
