"""What a page shows, as values. `score_report.py` and `job_report.py` of `api` fill them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from textmill.evaluation.highlight import Segment
from textmill.evaluation.results import Scores

MAX_FAILED = 3
"""Rows shown of each code."""


class Distribution(Struct, frozen=True, kw_only=True):
    """Lengths, as a manifest has them."""

    min: int
    p50: int
    p95: int
    max: int
    first: int
    width: int
    counts: list[int]
    beyond: int


class TokenLengths(Struct, frozen=True, kw_only=True):
    """Tokens read and written, of the rows with a result."""

    rows: int
    input: Distribution | None = None
    output: Distribution | None = None


class Timeline(Struct, frozen=True, kw_only=True):
    """How much was finished in steps of equal length, what batches were begun in them, and how
    often something happened. Of batches: requests, and input tokens with padding."""

    step_seconds: float
    rows: list[int] = []
    tokens: list[int] = []
    batches: list[int] = []
    requests: list[int] = []
    padded_tokens: list[int] = []
    shrunk: list[int] = []
    restarted: list[int] = []
    waited: list[int] = []


class Earlier(Struct, frozen=True, kw_only=True):
    """A run before the last: when it was at work, and how many rows were done when it ended."""

    began: str
    ended: str
    rows: int


class Run(Struct, frozen=True, kw_only=True):
    """How the last run of a job went."""

    seconds: float = 0.0
    rows: int = 0
    resumed_rows: int = 0
    rows_per_second: float = 0.0
    tokens_per_second: float = 0.0
    batches: int = 0
    requests: int = 0
    split_batches: int = 0
    padding_share: float = 0.0
    outside_engine_share: float = 0.0
    events: Mapping[str, int] = {}
    timeline: Timeline | None = None
    earlier: list[Earlier] = []


class JobCounts(Struct, frozen=True, kw_only=True):
    """rows = ok + failed + invalid."""

    rows: int
    ok: int
    failed: int
    invalid: int
    codes: Mapping[str, int] = {}
    copied: int = 0
    truncated: int = 0
    hit_length_limit: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class Output(Struct, frozen=True, kw_only=True):
    """A file that the job wrote."""

    name: str
    rows: int
    bytes: int
    sha256: str


class Input(Struct, frozen=True, kw_only=True):
    """A file that the job read; sha256 is None where it was not read twice."""

    name: str
    sha256: str | None = None


class Model(Struct, frozen=True, kw_only=True):
    """What computed."""

    name: str
    revision: str | None = None


class Engine(Struct, frozen=True, kw_only=True):
    """What it computed with."""

    name: str
    precision: str = ""


class Job(Struct, frozen=True, kw_only=True):
    """What is shown of a manifest. Older ones lack some of it."""

    counts: JobCounts
    model: Model
    engine: Engine
    finished: str = ""
    command: list[str] | None = None
    warnings: list[str] = []
    inputs: list[Input] = []
    outputs: list[Output] = []
    parameters: Mapping[str, Mapping[str, Any]] = {}
    prompt: str | None = None
    seed: int | None = None
    run: Run = Run()
    lengths: TokenLengths | None = None
    versions: Mapping[str, str] = {}


def job_of(manifest: Mapping[str, Any]) -> Job:
    """Raises `msgspec.ValidationError` for what is no manifest."""
    return msgspec.convert(manifest, Job)


class Failed(Struct, frozen=True, kw_only=True):
    """One row without a result."""

    line: int | None
    id: Any
    message: str


class Failure(Struct, frozen=True, kw_only=True):
    """Rows that have no result for one reason, the first few of them shown."""

    code: str
    count: int
    examples: tuple[Failed, ...] = ()


def by_code(
    counts: Mapping[str, int], found: Mapping[str, Sequence[Failed]]
) -> tuple[Failure, ...]:
    """Counts of codes with the examples that were found of them, most first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(
        Failure(code=code, count=count, examples=tuple(found.get(code, ())))
        for code, count in ordered
    )


class Text(Struct, frozen=True, kw_only=True):
    """A text of a record: the first of it, and how many characters were cut off."""

    segments: tuple[Segment, ...]
    cut: int = 0


class Group(Struct, frozen=True, kw_only=True):
    """Records that are shown for one reason. order: how they are sorted at first.

    note: what a reader should know of the choice.
    """

    key: str
    title: str
    note: str
    order: str
    places: tuple[int, ...]


class Card(Struct, frozen=True, kw_only=True):
    """One record with its texts.

    groups: why it is shown. values: what is said of it, as (label, value). numbers: what it is
    sorted by, under the name of the order. texts: labelled.
    """

    place: int
    id: str
    groups: tuple[str, ...]
    badges: tuple[str, ...]
    values: tuple[tuple[str, str], ...]
    numbers: Mapping[str, float]
    texts: tuple[tuple[str, Text], ...]


class Examples(Struct, frozen=True, kw_only=True):
    """The records whose texts are on the page. limit: the longest text in characters."""

    groups: tuple[Group, ...]
    cards: tuple[Card, ...]
    limit: int


class Numbers(Struct, frozen=True, kw_only=True):
    """Values of many records, packed for the page's table: `packed` is base64 of zlib of JSON.

    total: records there are; shown: those that are in it. id_chars: to how many characters their
    ids are cut.
    """

    total: int
    shown: int
    packed: str
    id_chars: int | None = None


class Source(Struct, frozen=True, kw_only=True):
    """Where a job's page or its scores come from.

    command: the line that makes the page again; None where that is the job's own. files: name and
    SHA-256 of what was read, or of a job's page what the job read and wrote.
    verified: a sentence on how the predictions compare with the manifest; None without one.
    manifest: as it stands in its file.
    """

    command: str | None
    files: tuple[tuple[str, str], ...] = ()
    verified: str | None = None
    manifest: str | None = None


class ScoreView(Struct, frozen=True, kw_only=True):
    """All of a page with scores."""

    scores: Scores
    examples: Examples
    numbers: Numbers
    failures: Sequence[Failure]
    source: Source
    job: Job | None = None


class JobView(Struct, frozen=True, kw_only=True):
    """All of a page of a job alone. unseen: why its results are not looked at, if they are not."""

    output: str
    job: Job
    failures: Sequence[Failure]
    source: Source
    examples: Examples | None = None
    numbers: Numbers | None = None
    unseen: str = ""
