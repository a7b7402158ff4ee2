"""What a job is: a pure value, from which windows and batches follow.

Two jobs with equal `identity` do the same work on the same input, so one may resume the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from textmill.batching.scheduler import BatchLimits
from textmill.errors import UsageError
from textmill.words import written

FIRST_WINDOW_ROWS = 256
"""The first windows are small, so that the engine starts and results appear at once."""

MAX_WINDOW_ROWS = 4096
"""Rows sorted together, and held in memory at once for each of up to four windows."""

MAX_WINDOW_CHARS = 16 * 2**20
"""A window is closed early when its records hold this many characters: memory stays bounded."""


def window_sizes() -> Iterator[int]:
    """Row limits of windows 0, 1, 2, …: a function of the number only, as the plan must be."""
    rows = FIRST_WINDOW_ROWS
    while True:
        yield rows
        rows = min(rows * 2, MAX_WINDOW_ROWS)


def check_sample(sample: int | None) -> None:
    """Raise `UsageError` unless it is a number of rows or None."""
    if sample is not None and (not isinstance(sample, int) or sample < 1):
        raise UsageError(f"sample={written(sample)}: must be a number of rows, at least 1")


class InputDigest(Struct, frozen=True, kw_only=True):
    """One input file as it was when the job began.

    version: as the store gives it (`storage.base.Entry`).
    sha256: None for an object of a store, which is not read twice: its version stands for it.
    rows: blank lines are none; None where only reading would tell.
    span: of a shard, the stretch of bytes in which its rows begin.
    commit: of a data set, what its revision meant.
    is_copy: it could be read only once (standard input, a pipe, rows from Python), so the job read
    a copy, which is gone when the job is done.
    """

    name: str
    bytes: int
    version: str
    sha256: str | None = None
    rows: int | None = None
    span: tuple[int, int] | None = None
    format: str = "jsonl"
    commit: str | None = None
    is_copy: bool = False

    @property
    def content(self) -> str:
        """What is equal for equal contents."""
        stored = f"sha256 {self.sha256}" if self.sha256 else f"version {self.version}"
        content = f"{self.format}, {stored}"
        return f"{content}, bytes {self.span[0]} to {self.span[1]}" if self.span else content


class ModelIdentity(Struct, frozen=True, kw_only=True):
    """The model a job runs: its name, where it came from, and the digest of each of its files."""

    name: str
    source: str
    revision: str | None = None
    model_type: str | None = None
    files: tuple[tuple[str, int, str], ...] = ()


class JobSpec(Struct, frozen=True, kw_only=True):
    """Everything that decides a job's output.

    prompt: the template, or None for the zero-flag shape.
    id_field: the field that holds the id, or "@ordinal".
    keep: input columns to copy.
    parameters: resolved value and origin of each generation parameter.
    record_params: whether records may carry parameters of their own.
    seed: keys all sampling. sample: only the first so many rows.
    versions: of what a text depends on: textmill, the engine, the tokenizers.
    max_input_tokens: longest input; truncate: cut longer ones instead of refusing them.
    output_format, compression: of the output file.
    input_filter, output_filter, join: `records.filters`.
    """

    inputs: tuple[InputDigest, ...]
    model: ModelIdentity
    engine: str
    precision: str
    prompt: str | None
    id_field: str
    keep: tuple[str, ...]
    parameters: Mapping[str, tuple[Any, str]]
    record_params: bool
    seed: int
    sample: int | None
    max_input_tokens: int | None
    truncate: bool
    limits: BatchLimits
    output_format: str
    compression: str
    input_filter: str | None
    output_filter: str | None
    join: bool
    versions: Mapping[str, str]

    def identity(self) -> dict[str, str]:
        """The parts that must be equal for a resume, each as canonical JSON."""
        names = ("engine", "precision", "prompt", "id_field", "keep", "record_params", "seed")
        limits = ("sample", "max_input_tokens", "truncate")
        shape = ("output_format", "compression", "input_filter", "output_filter", "join")
        parts: dict[str, Any] = {name: getattr(self, name) for name in names + limits + shape}
        parts |= {f"input {n}": one.content for n, one in enumerate(self.inputs, 1)}
        parts |= {f"model file {name}": f"sha256 {sha}" for name, _, sha in self.model.files}
        if not self.model.files:
            parts["model"] = f"{self.model.name} at {self.model.source}"
        parts |= {f"parameter {name}": value for name, (value, _) in self.parameters.items()}
        parts |= msgspec.to_builtins(self.limits)
        parts |= {f"version of {name}": version for name, version in self.versions.items()}
        return {name: msgspec.json.encode(value).decode() for name, value in parts.items()}


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs between two identities, one readable line each; empty if nothing does."""
    return [
        f"{name}: was {_short(before.get(name))}, is {_short(now.get(name))}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def _short(text: str | None, limit: int = 120) -> str:
    if text is None:
        return "nothing"
    return text if len(text) <= limit else f"{text[:limit]}…"
