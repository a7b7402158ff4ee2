"""`textmill.bench(…)`: an open-loop load test of a server, or of a model behind one of ours."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from textmill.api.pages import write_page
from textmill.errors import UsageError
from textmill.serving.load.arrivals import Stage, Sweep, best
from textmill.serving.load.dialects import detect
from textmill.serving.load.drive import Driver
from textmill.serving.load.report import page, summary
from textmill.serving.load.texts import made_up, read_texts
from textmill.storage.keys import read_key_file

_HOST_AND_PORT = re.compile(r"[\w.-]+:\d+(/.*)?|localhost(/.*)?")
_LEAST_SECONDS, _MOST_SECONDS = 0.2, 3600.0


class Bench(Struct, frozen=True, kw_only=True):
    """What a load test found.

    url: what was called. alone: seconds of a call while nothing else is asked.
    slo: the target in seconds, of the 95th of a hundred calls; None without one.
    stages: every rate that was tried.
    """

    url: str
    alone: float
    slo: float | None
    stages: tuple[Stage, ...]

    @property
    def best(self) -> Stage | None:
        """The highest rate that keeps the target."""
        return best(self.stages, self.slo)

    @property
    def sentences(self) -> list[str]:
        """What was found, in words."""
        return summary(self.stages, self.slo, self.alone)

    def write_report(self, path: str | Path) -> None:
        """Write one HTML page. Raises `OutputError`."""
        write_page(path, page(self.url, self.stages, self.slo, self.alone))


def bench(
    target: str,
    *,
    slo: float | str | None = None,
    rate: float | None = None,
    duration: float = 10.0,
    data: str | Path | None = None,
    prompt: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    seed: int = 0,
    timeout: float = 60.0,
    api_key: str | None = None,
    api_key_file: str | Path | None = None,
    on_stage: Callable[[Stage], None] | None = None,
) -> Bench:
    """Call a server at random moments, at rates that rise until it no longer keeps its target.

    target: the address of a server that speaks SageMaker's `/invocations`, OpenAI's completions or
        KServe's version 2; or a model, which is served for the test.
    slo: what p95 has to keep, in seconds or as `800ms`; without one, all calls have to be answered.
    rate: calls a second to try alone; by default rates are swept.
    duration: seconds of each rate. data: JSON Lines of texts; made-up ones by default.
    prompt, parameters: of the calls. timeout: seconds after which a call has failed.
    api_key: the server's; api_key_file: a file that holds it.
    Raises `UsageError` and its kin.
    """
    from textmill.api.serving import parse_seconds

    seconds = parse_seconds(slo)
    if not _LEAST_SECONDS <= duration <= _MOST_SECONDS:
        raise UsageError(f"duration={duration}: must be {_LEAST_SECONDS} to {_MOST_SECONDS:g} s")
    if rate is not None and not 0 < rate <= 100_000:
        raise UsageError(f"rate={rate}: must be calls a second, more than 0")
    if not 0 < timeout <= _MOST_SECONDS:
        raise UsageError(f"timeout={timeout}: must be seconds, more than 0")
    texts = made_up(seed) if data is None else read_texts(Path(data), prompt)
    with _served(target, seconds) as url:
        alone, stages = asyncio.run(
            _drive(
                url,
                texts,
                dict(parameters or {}),
                slo=seconds,
                rate=rate,
                duration=duration,
                seed=seed,
                timeout=timeout,
                key=api_key if api_key_file is None else read_key_file(api_key_file),
                on_stage=on_stage or _silent,
            )
        )
    return Bench(url=url, alone=alone, slo=seconds, stages=tuple(stages))


async def _drive(
    url: str,
    texts: list[str],
    parameters: dict[str, Any],
    *,
    slo: float | None,
    rate: float | None,
    duration: float,
    seed: int,
    timeout: float,
    key: str | None,
    on_stage: Callable[[Stage], None],
) -> tuple[float, list[Stage]]:
    driver = Driver(url, await detect(url, key, parameters), texts, key=key, timeout=timeout)
    try:
        try:
            alone = await driver.alone()
        except (OSError, EOFError, TimeoutError) as error:
            raise UsageError(f"{url} does not answer: {error or 'timeout'}") from error
        if rate is not None:
            stage = await driver.stage(rate, duration, seed)
            on_stage(stage)
            return alone, [stage]
        sweep = Sweep(0.5 / max(alone, 1e-3), slo)
        return alone, await driver.sweep(sweep, duration, seed, on_stage)
    finally:
        await driver.close()


@contextmanager
def _served(target: str, slo: float | None) -> Iterator[str]:
    """The address to call; a model is served by a process of its own meanwhile."""
    if target.startswith(("http://", "https://")):
        yield target
        return
    if _HOST_AND_PORT.fullmatch(target) and not Path(target).exists():
        raise UsageError(
            f"{target} is no model", hint=f"the address of a server is http://{target}"
        )
    from textmill.serving.load.process import served

    with served(target, slo) as url:
        yield url


def _silent(_: Stage) -> None:
    """Nobody watches."""
