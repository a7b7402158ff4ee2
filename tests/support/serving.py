"""Endpoints for tests: in this process on the echo engine, and as real server processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.command import environment
from textmill.batching.clock import Clock, ManualClock
from textmill.batching.loop import Loop
from textmill.batching.scheduler import BatchLimits, Scheduler
from textmill.core import Params, Record, Rejected, Request
from textmill.engines.base import Engine
from textmill.engines.bytes_tokenizer import ByteTokenizer
from textmill.engines.echo import EchoEngine
from textmill.params import KNOWN_NAMES, Resolver
from textmill.records.shape import Shape
from textmill.serving.calls import Call
from textmill.serving.endpoint import Endpoint, Model
from textmill.serving.ends import LiveEnds
from textmill.serving.health import Health
from textmill.serving.limits import Limits
from textmill.serving.metrics import Metrics
from textmill.transform.windows import Preparer

PARAMS = Params(max_new_tokens=10_000)


def request(ordinal: int, length: int, params: Params = PARAMS, index: int = 0) -> Request:
    return Request(ordinal, index, [ordinal % 250 + 1] * length, params)


class Bench:
    """The ends of a loop with a manual clock, and the loop, run in this thread."""

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        limits: BatchLimits | None = None,
        serving: Limits | None = None,
        slo_seconds: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.clock = clock or ManualClock()
        self.engine = engine or EchoEngine()
        self.limits = limits or BatchLimits()
        self.health = Health(self.clock)
        self.metrics = Metrics(self.clock)
        self.ends = LiveEnds(
            self.engine,
            ByteTokenizer(),
            self.limits,
            limits=serving or Limits(),
            clock=self.clock,
            health=self.health,
            metrics=self.metrics,
            slo_seconds=slo_seconds,
        )

    def call(self, requests: Sequence[Request], deadline: float | None = None) -> Call:
        call = Call(requests, arrived=self.clock.now(), deadline=deadline)
        self.ends.offer(call)
        return call

    def run(self) -> None:
        """Answer everything, then end."""
        self.ends.close()
        self.loop().run()

    def loop(self) -> Loop:
        padded = self.engine.capabilities.padded
        scheduler = Scheduler(self.limits, self.engine.group, padded=padded)
        return Loop(self.ends, scheduler, self.engine, self.ends, journal=self.ends)


def echo_model(engine: Engine | None = None, **shape: Any) -> Model:
    engine = engine or EchoEngine()
    resolver = Resolver([])
    preparer = Preparer(resolver, ByteTokenizer(), engine, max_input_tokens=None, truncate=False)
    return Model(
        name="echo",
        engine=engine,
        tokenizer=ByteTokenizer(),
        preparer=preparer,
        batch_limits=BatchLimits(),
        shape=Shape(parameters=KNOWN_NAMES, **shape),
    )


@contextmanager
def echo_endpoint(engine: Engine | None = None, **settings: Any) -> Iterator[Endpoint]:
    endpoint = Endpoint(echo_model(engine), **settings)
    endpoint.start()
    try:
        yield endpoint
    finally:
        endpoint.close(5.0)


def rows_of(*texts: str, **params: Any) -> list[Record | Rejected]:
    return [
        Record(ordinal=n, id=b"0", texts=(text,), params=params or None)
        for n, text in enumerate(texts)
    ]


class Served:
    """A `textmill serve` process."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process, self.url = process, url
        self.log: list[str] = []
        assert process.stderr is not None
        self._reader = threading.Thread(target=self._read, args=(process.stderr,), daemon=True)
        self._reader.start()

    def _read(self, stream: Any) -> None:
        self.log += stream

    def stop(self, number: int = signal.SIGTERM, timeout: float = 30.0) -> int:
        """Ask it to end; returns its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(timeout)
        self._reader.join(5)
        return code


def start_serving(
    *flags: str | Path, env: dict[str, str] | None = None, before: Sequence[str | Path] = ()
) -> Served:
    """A server on a free port if the flags name none, ready. Fails the test if it ends instead.

    before: the command that starts it.
    """
    port = [] if "--port" in flags else ["--port", "0"]
    serve = [sys.executable, "-m", "textmill", "serve", *port]
    process = subprocess.Popen(
        [*map(str, before), *serve, *map(str, flags)],
        env=env or environment(**_home()),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    found = re.search(r"(https?://\S+)", process.stdout.readline())
    if found is None:
        _, err = process.communicate(timeout=30)
        raise AssertionError(f"the server ended with {process.returncode}: {err}")
    return Served(process, found[1])


def _home() -> dict[str, str]:
    home = os.environ.get("TEXTMILL_TEST_HOME")
    return {"TEXTMILL_HOME": home} if home else {}


@contextmanager
def serving(
    *flags: str | Path, env: dict[str, str] | None = None, before: Sequence[str | Path] = ()
) -> Iterator[Served]:
    """The same, killed at the end if it still runs."""
    served = start_serving(*flags, env=env, before=before)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.process.kill()
        served.process.wait(10)
        for stream in (served.process.stdout, served.process.stderr):
            if stream is not None:
                stream.close()
