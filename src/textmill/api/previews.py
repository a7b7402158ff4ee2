"""`textmill run --dry-run`: what a job would do, and how long it would take. Writes nothing."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from textmill.api.generation import run_in_memory
from textmill.api.stores import store_options
from textmill.catalog.fetch import Transfer
from textmill.core import Record, Rejected
from textmill.engines.inflight.limits import MemoryPlan
from textmill.engines.isolated import DEFAULT_TIMEOUT_S
from textmill.records.ids import SeenIds, reject_repeated
from textmill.settings import find_api_key, read_settings
from textmill.storage.local import LocalStore
from textmill.transform.arguments import merged
from textmill.transform.columns import check_columns
from textmill.transform.inputs import Copy, Inputs, find_inputs
from textmill.transform.outputs import output_shape
from textmill.transform.reading import RowReader, total_rows
from textmill.transform.request import JobRequest
from textmill.transform.setup import Setup, SetupRequest, shape_of
from textmill.transform.windows import Rows

EXAMINED_ROWS = 10_000
"""How many rows, from the start of the input, a dry run looks at."""

PROBE_RECORDS = 64
"""How many records, spread over those rows, a dry run really computes."""


class Preview(Struct, frozen=True, kw_only=True):
    """What a job would do.

    rows: in the input; None if only reading would tell.
    examined: rows looked at, from the start.
    prompts: id (JSON text) and rendered text of the first three records.
    input_tokens: length of each examined text. limit: longest input allowed, None for no limit.
    rejected: the examined rows that would fail, and messages: one example for each code.
    parameters: resolved value and origin of each.
    probe_records, probe_seconds: what was really computed, loading not counted.
    memory: what decoding may take, where the engine plans it; slots: how many texts of median
        length it then decodes at once.
    """

    model: str
    engine: str
    precision: str
    rows: int | None
    examined: int
    prompts: list[tuple[str, str]]
    input_tokens: list[int]
    limit: int | None
    truncate: bool
    rejected: dict[str, int]
    messages: dict[str, str]
    parameters: dict[str, tuple[Any, str]]
    max_batch_tokens: int
    probe_records: int
    probe_seconds: float
    memory: MemoryPlan | None
    slots: int | None

    @property
    def over_limit(self) -> int:
        """How many examined texts are longer than the limit."""
        return sum(tokens > (self.limit or tokens) for tokens in self.input_tokens)

    @property
    def eta_seconds(self) -> float | None:
        """The probe's time for all rows; None when nothing could be computed or counted."""
        if not self.probe_records or self.rows is None:
            return None
        return self.probe_seconds / self.probe_records * self.rows


def preview(
    inputs: Inputs,
    output: str | Path | None = None,
    *,
    model: str | Path | None = None,
    prompt: str | None = None,
    id: str = "id",
    keep: Sequence[str] = (),
    input_format: str = "auto",
    format: str = "auto",
    input_filter: str | None = None,
    join: str | None = None,
    output_filter: str | None = None,
    shard: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    hyper_params: str | None = None,
    record_params: bool = True,
    seed: int | None = None,
    sample: int | None = None,
    truncate: bool = False,
    max_input_tokens: int | None = None,
    engine: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    max_batch_tokens: int | None = None,
    concurrency: int | None = None,
    api_key: str | None = None,
    api_key_file: str | Path | None = None,
    api_key_over_http: bool = False,
    timeout: float | None = DEFAULT_TIMEOUT_S,
    offline: bool = False,
    endpoint_url: str | None = None,
    home: Path | None = None,
    on_transfer: Callable[[Transfer], None] | None = None,
    **params: Any,
) -> Preview:
    """What `run` with these arguments would do. Writes nothing; raises what `run` raises.

    It looks at the first 10,000 rows and computes 64 records of them for the estimate.
    """
    request = SetupRequest(
        model=model,
        prompt=prompt,
        id=id,
        keep=keep,
        input_filter=input_filter,
        join=join,
        parameters=merged(parameters, params),
        hyper_params=hyper_params,
        record_params=record_params,
        seed=seed,
        truncate=truncate,
        max_input_tokens=max_input_tokens,
        engine=engine,
        precision=precision,
        threads=threads,
        max_batch_tokens=max_batch_tokens,
        concurrency=concurrency,
        api_key=find_api_key(api_key),
        api_key_file=api_key_file,
        api_key_over_http=api_key_over_http,
        timeout=timeout,
        offline=offline or read_settings().offline,
        home=home or read_settings().home,
        on_transfer=on_transfer,
    )
    job = JobRequest(
        inputs=inputs,
        output=output or "preview.jsonl",
        setup=request,
        input_format=input_format,
        format=format,
        output_filter=output_filter,
        shard=shard,
        sample=sample,
        stores=store_options(endpoint_url, inputs, output),
    )
    return _preview(job)


def _preview(job: JobRequest) -> Preview:
    with tempfile.TemporaryDirectory(prefix="textmill-") as folder:
        store = LocalStore(Path(folder))
        found = find_inputs(job.inputs, Copy(store, "input.jsonl"), job.read_options())
        shaped = output_shape(job, found)
        check_columns(found, shape_of(shaped.setup), shaped.filter, sample=job.sample)
        with Setup(shaped.setup, shaped.filter) as setup:
            digests = RowReader(found, setup.shape, sample=None).digests()
            limit = min(job.sample or EXAMINED_ROWS, EXAMINED_ROWS)
            reader = RowReader(found, setup.shape, sample=limit)
            rows = [row for chunk in reader.chunks() for row in chunk]
            return _examine(setup, job.setup, rows, total_rows(digests, job.sample))


def _examine(setup: Setup, request: SetupRequest, rows: Rows, total: int | None) -> Preview:
    rows = reject_repeated(rows, SeenIds())
    records = [row for row in rows if isinstance(row, Record)]
    texts = [text for record in records for text in record.texts]
    encoded = setup.model.tokenizer.encode(texts, src_lang=setup.resolver.base.src_lang)
    lengths = [len(ids) for ids in encoded]
    rejected = _rejections(setup, rows)
    probe_records, probe_seconds = _probe(setup, rows)
    capabilities = setup.model.engine.capabilities
    return Preview(
        model=setup.identity.name,
        engine=capabilities.name,
        precision=capabilities.precision,
        rows=total,
        examined=len(rows),
        prompts=[(record.id.decode(), record.texts[0]) for record in records[:3]],
        input_tokens=lengths,
        limit=setup.max_input_tokens,
        truncate=request.truncate,
        rejected=dict(Counter(str(row.code) for row in rejected).most_common()),
        messages={str(row.code): row.message for row in reversed(rejected)},
        parameters=dict(setup.resolver.provenance),
        max_batch_tokens=setup.limits.max_batch_tokens,
        probe_records=probe_records,
        probe_seconds=probe_seconds,
        memory=setup.model.memory,
        slots=_slots(setup, lengths),
    )


def _slots(setup: Setup, lengths: list[int]) -> int | None:
    if setup.model.memory is None or not lengths:
        return None
    return setup.model.memory.slots(statistics.median_high(lengths), setup.resolver.base)


def _rejections(setup: Setup, rows: Rows) -> list[Rejected]:
    return setup.preparer.prepare(0, rows).rejected if rows else []


def _probe(setup: Setup, rows: Rows) -> tuple[int, float]:
    """Compute some of the rows: how many, and in how many seconds."""
    records: Rows = [row for row in rows if isinstance(row, Record)]
    some = records[:: max(1, len(records) // PROBE_RECORDS)][:PROBE_RECORDS]
    if not some:
        return 0, 0.0
    window = setup.preparer.prepare(0, some)
    started = time.perf_counter()
    run_in_memory(setup, window.requests)
    return len(window.records), time.perf_counter() - started
