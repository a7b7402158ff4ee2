"""Driving an engine as the Loop does, and inputs to drive it with."""

from __future__ import annotations

import random
from collections.abc import Sequence

from textmill.core import Batch, Completion, Outcome, Params, Request
from textmill.engines.base import Engine


def random_inputs(count: int, *, seed: int, end: int, longest: int = 40) -> list[list[int]]:
    """Token ids that end with the id `end`, of lengths from 1 to `longest`."""
    rng = random.Random(seed)
    lengths = [1, 2, longest] + [rng.randrange(1, longest + 1) for _ in range(count - 3)]
    return [[rng.randrange(3, 300) for _ in range(n - 1)] + [end] for n in lengths]


def drive(
    engine: Engine,
    inputs: Sequence[Sequence[int]],
    params: Params,
    *,
    batch_size: int = 8,
    order: Sequence[int] | None = None,
) -> list[Outcome]:
    """The outcome of each input, in the order of the inputs.

    order: positions of the inputs in the order in which they are put into batches.
    """
    engine.check(params)
    requests = [Request(n, 0, list(inputs[n]), params) for n in (order or range(len(inputs)))]
    batches = [
        Batch(number, tuple(requests[start : start + batch_size]))
        for number, start in enumerate(range(0, len(requests), batch_size))
    ]
    outcomes: list[Outcome] = []
    while batches or len(outcomes) < len(requests):
        while batches and engine.room():
            engine.add(batches.pop(0))
        outcomes += engine.step()
    return sorted(outcomes, key=lambda outcome: outcome.request.ordinal)


def texts(outcomes: Sequence[Outcome]) -> list[list[list[int]]]:
    """Generated ids of each outcome, all of which have to be completions."""
    for outcome in outcomes:
        assert isinstance(outcome, Completion), outcome
    return [[s.ids for s in outcome.sequences] for outcome in outcomes]
