"""`textmill.compare(…)`: the engines and precisions for a model, on this machine and some texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from textmill.api.generation import run_in_memory
from textmill.core import Completion, Outcome, Record, Rejected, Request
from textmill.engines.choice import Measured, fastest, remember
from textmill.engines.loading import contenders, threads_for
from textmill.engines.outcomes import usage_of
from textmill.errors import ModelError, OutputError, TextmillError, UnsupportedParameter, UsageError
from textmill.evaluation.likeness import likeness
from textmill.serving.load.texts import made_up, read_texts
from textmill.settings import read_settings
from textmill.transform.setup import Setup, SetupRequest, find_model
from textmill.words import written

_EXACT = "float32"
_PROBED = 16
_PASSES = 4
_LEAST_SECONDS, _MOST_SECONDS = 0.2, 3600.0

Pair = tuple[str, str]
"""Engine and precision."""

OnVisit = Callable[[str, str, float], None]


class Refused(Struct, frozen=True, kw_only=True):
    """An engine that cannot do it at all, and why."""

    engine: str
    precision: str
    message: str


class Comparison(Struct, frozen=True, kw_only=True):
    """What a comparison found.

    texts: how many were computed. left_out: of those looked at, how many the model cannot take.
    measured: fastest first. kept: whether `auto` goes by it from now on.
    """

    texts: int
    left_out: int
    measured: tuple[Measured, ...]
    refused: tuple[Refused, ...]
    kept: bool

    @property
    def best(self) -> Measured | None:
        """The fastest whose texts agree with those of float32."""
        return fastest(self.measured)


def compare(
    model: str | Path,
    *,
    engine: str = "all",
    data: str | Path | None = None,
    prompt: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    duration: float = 10.0,
    threads: int | None = None,
    seed: int = 0,
    home: Path | None = None,
    on_visit: OnVisit | None = None,
) -> Comparison:
    """Compute the same texts with every engine and precision there is, one after the other.

    With all engines, `auto` goes by what was found: for this model, machine and number of threads.

    engine: `all`, or the one whose precisions are compared.
    data: JSON Lines of texts, of which some are taken, spread over the file; made-up ones by
        default, from `seed`. prompt, parameters: as of `run`; no sampling, which differs by chance.
    duration: seconds for the first; a slower precision takes as much longer as it is slower.
    on_visit: called with engine, precision and seconds, whenever one has computed all texts.

    Raises `UsageError` and its kin.
    """
    pairs = [pair for pair in contenders() if engine in ("all", pair[0])]
    if not pairs:
        known = ", ".join(dict.fromkeys(name for name, _ in contenders()))
        raise UsageError(f"there is no engine {written(engine)} to compare: all, or one of {known}")
    if not _LEAST_SECONDS <= duration <= _MOST_SECONDS:
        raise UsageError(f"duration={duration}: must be {_LEAST_SECONDS} to {_MOST_SECONDS:g} s")
    settings = read_settings()
    request = SetupRequest(
        model=model,
        parameters=dict(parameters or {}),
        threads=threads,
        home=home or settings.home,
        offline=settings.offline,
    )
    find_model(request)
    texts = made_up(seed) if data is None else read_texts(Path(data), prompt)
    tour = _Tour(request, _Sample(texts, duration), on_visit or _silent)
    tour.visit(pairs)
    measured = _measured(tour.runs)
    kept = engine == "all"
    if kept:
        _keep(request, tour.weights_digest, measured)
    return Comparison(
        texts=tour.sample.size,
        left_out=tour.sample.left_out,
        measured=tuple(sorted(measured, key=lambda m: -m.records_per_second)),
        refused=tuple(
            Refused(engine=engine, precision=precision, message=str(error))
            for (engine, precision), error in tour.refused.items()
        ),
        kept=kept,
    )


class _Sample:
    """The texts to compute: as many as the first engine does in its time, the same for all."""

    def __init__(self, texts: Sequence[str], duration: float) -> None:
        self._texts, self._duration = texts, duration
        self._chosen = False
        self.left_out = 0

    @property
    def size(self) -> int:
        """How many texts there are to compute."""
        return len(self._texts)

    def requests(self, setup: Setup) -> list[Request]:
        """The requests of an engine."""
        requests = self._prepared(setup)
        if self._chosen:
            return requests
        probe = _spread(requests, _PROBED)
        run_in_memory(setup, probe)
        started = time.perf_counter()
        run_in_memory(setup, probe)
        seconds = (time.perf_counter() - started) / len(probe)
        kept = _spread(requests, max(_PROBED, int(self._duration / _PASSES / seconds)))
        self._texts = [self._texts[request.ordinal] for request in kept]
        self._chosen = True
        return self._prepared(setup)

    def _prepared(self, setup: Setup) -> list[Request]:
        rows: list[Record | Rejected] = [
            Record(ordinal=n, id=b"0", texts=(text,)) for n, text in enumerate(self._texts)
        ]
        window = setup.preparer.prepare(0, rows)
        self.left_out += len(window.rejected)
        if not window.requests:
            raise UsageError(f"the model can take none of the texts: {window.rejected[0].message}")
        return window.requests


class _Run(Struct):
    """The visits to one engine: how long they took, and the outcomes of the last."""

    visits: int = 0
    seconds: float = 0.0
    outcomes: list[Outcome] = []


class _Tour:
    """Visits engines in order and back, so that a machine that slows down slows all alike."""

    def __init__(self, request: SetupRequest, sample: _Sample, on_visit: OnVisit) -> None:
        self._request, self._on_visit = request, on_visit
        self.sample = sample
        self.runs: dict[Pair, _Run] = {}
        self.refused: dict[Pair, TextmillError] = {}
        self.weights_digest = ""

    def visit(self, pairs: Sequence[Pair]) -> None:
        """Visit all. Raises the first refusal if there is nothing else."""
        for pair in (*pairs, *reversed(pairs)):
            if pair not in self.refused:
                self._visit(pair)
        if not self.runs:
            raise next(iter(self.refused.values()))

    def _visit(self, pair: Pair) -> None:
        engine, precision = pair
        asked = msgspec.structs.replace(self._request, engine=engine, precision=precision)
        try:
            setup = Setup(asked)
        except (ModelError, UnsupportedParameter) as error:
            self.refused[pair] = error
            return
        with setup:
            self._compute(pair, setup)

    def _compute(self, pair: Pair, setup: Setup) -> None:
        if setup.resolver.base.do_sample:
            raise UsageError("sampled texts differ by chance, so do_sample cannot be compared")
        if setup.model.checkpoint is not None:
            self.weights_digest = setup.model.checkpoint.weights_digest
        requests = self.sample.requests(setup)
        run = self.runs.setdefault(pair, _Run())
        run_in_memory(setup, requests)  # openvino prepares each new shape once
        started = time.perf_counter()
        run.outcomes = run_in_memory(setup, requests)
        seconds = time.perf_counter() - started
        run.visits, run.seconds = run.visits + 1, run.seconds + seconds
        self._on_visit(*pair, seconds)


def _spread(requests: list[Request], count: int) -> list[Request]:
    """So many of them at most, evenly."""
    step = max(1.0, len(requests) / count)
    return [requests[int(n * step)] for n in range(min(count, len(requests)))]


def _measured(runs: Mapping[Pair, _Run]) -> list[Measured]:
    """The last float32 is the reference: openvino's, whose beam search is transformers' exactly."""
    exact = [run for (_, precision), run in runs.items() if precision == _EXACT]
    reference = _texts(exact[-1].outcomes) if exact else {}
    return [_figures(pair, run, reference) for pair, run in runs.items()]


def _figures(pair: Pair, run: _Run, reference: Mapping[int, list[int]]) -> Measured:
    texts = _texts(run.outcomes)
    per_second = run.visits / max(run.seconds, 1e-9)
    usages = [usage_of(one) for one in run.outcomes if isinstance(one, Completion)]
    alike = [likeness(texts.get(n, []), ids) if n in texts else 0.0 for n, ids in reference.items()]
    return Measured(
        engine=pair[0],
        precision=pair[1],
        records_per_second=len(run.outcomes) * per_second,
        tokens_per_second=sum(u.input_tokens + u.output_tokens for u in usages) * per_second,
        same=sum(texts.get(n) == ids for n, ids in reference.items()) / max(1, len(alike)),
        likeness=sum(alike) / max(1, len(alike)),
    )


def _texts(outcomes: Sequence[Outcome]) -> dict[int, list[int]]:
    """The best text of each record that has one, as token ids."""
    return {
        one.request.ordinal: one.sequences[0].ids for one in outcomes if isinstance(one, Completion)
    }


def _keep(request: SetupRequest, weights_digest: str, measured: Sequence[Measured]) -> None:
    home = request.home / "engines"
    try:
        remember(home, weights_digest, threads_for(request.threads), measured)
    except OSError as error:
        raise OutputError(f"what was measured cannot be kept in {home}: {error}") from error


def _silent(*_: object) -> None:
    """Nobody watches."""
