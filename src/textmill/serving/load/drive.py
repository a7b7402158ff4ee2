"""One rate after the other against a server; latencies count from when a call was due.

A call that has to wait because the server, or this client, is behind has waited all the same: so
no slow answer hides the calls that would have come meanwhile (coordinated omission).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
from msgspec import Struct

from textmill.errors import UsageError
from textmill.serving.load.arrivals import Stage, Sweep, poisson
from textmill.serving.load.dialects import Dialect
from textmill.serving.load.wire import Answer, Client, Target

_REFUSALS = (429, 503)
_WARM_UP_CALLS = 8
_PAUSE_S = 0.5

OnStage = Callable[[Stage], None]


class _Call(Struct, frozen=True):
    """One call: when it was due, made and answered, in seconds of the event loop."""

    due: float
    made: float
    answered: float
    status: int


class Driver:
    """Drives one server with texts, in their order, again and again."""

    def __init__(
        self, url: str, dialect: Dialect, texts: Sequence[str], *, key: str | None, timeout: float
    ) -> None:
        self._client = Client(Target.of(url, key=key, path=dialect.path))
        self._bodies = [dialect.body(text) for text in texts]
        self._at = 0
        self._timeout = timeout

    async def close(self) -> None:
        """Hang up."""
        await self._client.close()

    async def alone(self) -> float:
        """Seconds of one call while nothing else is asked: the median of several.

        Raises `UsageError` if the server has no answer.
        """
        seconds = []
        for _ in range(_WARM_UP_CALLS):
            loop = asyncio.get_running_loop()
            began = loop.time()
            answer = await self._ask()
            if answer.status != 200:
                said = answer.body[:300].decode(errors="replace")
                raise UsageError(f"the server answers {answer.status}: {said}")
            seconds.append(loop.time() - began)
        return sorted(seconds)[len(seconds) // 2]

    async def stage(self, rate: float, duration: float, seed: int) -> Stage:
        """Call at one rate."""
        loop = asyncio.get_running_loop()
        began = loop.time() + 0.05
        moments = poisson(rate, duration, seed)
        tasks = []
        for moment in moments:
            await asyncio.sleep(max(0.0, began + moment - loop.time()))
            tasks.append(asyncio.create_task(self._timed(began + moment)))
        calls = await asyncio.gather(*tasks)
        return _stage(rate, duration, calls, await self._budget())

    async def sweep(
        self, sweep: Sweep, duration: float, seed: int, on_stage: OnStage
    ) -> list[Stage]:
        """All rates that the sweep wants."""
        stages: list[Stage] = []
        for rate in sweep:
            stage = await self.stage(rate, duration, seed + len(stages))
            stages.append(stage)
            on_stage(stage)
            sweep.done(stage)
            await asyncio.sleep(_PAUSE_S)
        return stages

    async def _timed(self, due: float) -> _Call:
        loop = asyncio.get_running_loop()
        made, status = loop.time(), 0
        with suppress(OSError, EOFError, TimeoutError, ValueError):
            status = (await self._ask()).status
        return _Call(due, made, loop.time(), status)

    async def _ask(self) -> Answer:
        body = self._bodies[self._at % len(self._bodies)]
        self._at += 1
        return await asyncio.wait_for(self._client.post(body), self._timeout)

    async def _budget(self) -> float | None:
        """The budget of a batch, where the server is one of ours."""
        with suppress(OSError, EOFError, msgspec.MsgspecError, LookupError, TypeError, ValueError):
            answer = await asyncio.wait_for(self._client.get("/live"), 5.0)
            if answer.status == 200:
                return float(msgspec.json.decode(answer.body)["now"]["batch_budget_tokens"])
        return None


def _stage(rate: float, duration: float, calls: Sequence[_Call], budget: float | None) -> Stage:
    lags = sorted(call.made - call.due for call in calls)
    return Stage(
        rate=rate,
        duration=duration,
        sent=len(calls),
        refused=sum(call.status in _REFUSALS for call in calls),
        failed=sum(call.status != 200 and call.status not in _REFUSALS for call in calls),
        seconds=tuple(sorted(c.answered - c.due for c in calls if c.status == 200)),
        lag=lags[int(0.99 * len(lags))] if lags else 0.0,
        batch_tokens=budget,
    )
