"""One request from its first attempt to its outcome."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from msgspec import Struct
from msgspec.structs import replace

from textmill.core import Failure, Outcome, Request
from textmill.engines.openai_api.address import ServerAddress
from textmill.engines.openai_api.client import Client
from textmill.engines.openai_api.pacing import Gate
from textmill.engines.openai_api.verdicts import Fate, Reply, Trouble, Verdict, judge
from textmill.engines.openai_api.waiting import MAX_ASKED_S, Retries, exhausted_s, retry_after_s
from textmill.engines.openai_api.wire import read_answer, request_body
from textmill.errors import ErrorCode, ModelError

_MAX_MESSAGE_CHARS = 300


class ServerOptions(Struct, frozen=True, kw_only=True):
    """How to use a server.

    api_key: sent as a bearer token. concurrency: requests in flight at once.
    timeout_s: for one whole answer; None means no limit.
    seed: of sampling, for requests whose parameters have none.
    """

    api_key: str | None = None
    concurrency: int = 16
    timeout_s: float | None = 600.0
    seed: int = 0
    retries: Retries = Retries()

    def __repr__(self) -> str:
        return f"ServerOptions(concurrency={self.concurrency}, timeout_s={self.timeout_s}, …)"


class Conversation:
    """Asks one model of one server. Used in one event loop."""

    def __init__(
        self, client: Client, address: ServerAddress, model: str, options: ServerOptions
    ) -> None:
        """Owns the client."""
        self._client, self._address = client, address
        self._model, self._options = model, options
        self._gate = Gate(options.concurrency, options.retries)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def outcome(self, request: Request) -> Outcome:
        """Try until there is an answer or the request has had its attempts.

        Raises `ModelError` when the server would refuse every request, `EngineUnavailable` when
        it is away for too long.
        """
        try:
            body = request_body(
                request, route=self._address.route, model=self._model, seed=self._options.seed
            )
        except UnicodeError as error:
            return Failure(request, ErrorCode.BAD_RECORD, f"the text is not Unicode: {error}")
        outcome = await self._try(request, body)
        if isinstance(outcome, Failure):
            return replace(outcome, message=self._printable(outcome.message))
        return outcome

    async def _try(self, request: Request, body: bytes) -> Outcome:
        failed = timeouts = 0
        while True:
            async with self._gate.turn():
                attempt = await self._client.complete(body)
                verdict = self._settle(attempt)
            failed += verdict.counts
            if isinstance(attempt, Reply) and verdict.fate is Fate.READ:
                outcome = read_answer(attempt.body, request, route=self._address.route)
                tried = isinstance(outcome, Failure)
                return replace(outcome, attempts=failed) if tried else outcome
            timeouts += attempt is Trouble.TIMEOUT
            if verdict.fate is Fate.FAIL or self._has_had_its_attempts(failed, timeouts):
                return Failure(request, verdict.code, verdict.message, attempts=failed)
            if verdict.fate is Fate.AGAIN:
                await asyncio.sleep(self._delay_s(attempt, failed, request))

    def _has_had_its_attempts(self, failed: int, timeouts: int) -> bool:
        retries = self._options.retries
        return failed >= retries.attempts or timeouts >= retries.timeouts

    def _settle(self, attempt: Reply | Trouble) -> Verdict:
        """Judge an attempt, and tell the gate before it lets anyone else through."""
        verdict = judge(attempt)
        if isinstance(attempt, Reply):
            self._gate.rest(exhausted_s(attempt.headers, datetime.now(UTC)))
        if verdict.fate is Fate.STOP:
            raise ModelError(self._printable(verdict.message), hint=verdict.hint)
        if verdict.fate is Fate.HOLD:
            self._gate.hold(_asked_s(attempt), self._printable(verdict.message))
        elif verdict.fate is not Fate.AGAIN:
            self._gate.answered()
        return verdict

    def _delay_s(self, attempt: Reply | Trouble, failed: int, request: Request) -> float:
        asked_s = _asked_s(attempt)
        if asked_s is not None:
            return min(asked_s, MAX_ASKED_S)
        return self._options.retries.delay_s(failed, request.ordinal, request.index)

    def _printable(self, message: str) -> str:
        return printable(message, self._options.api_key)


def _asked_s(attempt: Reply | Trouble) -> float | None:
    if isinstance(attempt, Trouble):
        return None
    return retry_after_s(attempt.headers, datetime.now(UTC))


def printable(message: str, api_key: str | None) -> str:
    """A message that may hold a server's words as one bounded line, without the key."""
    if api_key:
        message = message.replace(api_key, "[the API key]")
    line = "".join(c if c.isprintable() else " " for c in message).strip()
    return line if len(line) <= _MAX_MESSAGE_CHARS else f"{line[:_MAX_MESSAGE_CHARS]}…"
