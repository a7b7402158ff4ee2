"""The public verbs of Python: the same names and defaults as the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from textmill.api.job_report import job_report
from textmill.api.pages import check_page, write_page
from textmill.api.stores import store_options
from textmill.catalog.fetch import Transfer
from textmill.engines.isolated import DEFAULT_TIMEOUT_S
from textmill.errors import ErrorCode, UsageError
from textmill.settings import find_api_key, read_settings
from textmill.storage.decompress import text_lines
from textmill.storage.local import LocalStore
from textmill.storage.opening import is_url
from textmill.transform.arguments import merged
from textmill.transform.commit import Totals
from textmill.transform.execute import OnProgress
from textmill.transform.inputs import LINE_FORMATS, Inputs
from textmill.transform.job import JobFolder
from textmill.transform.ledger import Progress
from textmill.transform.prepare import Prepared
from textmill.transform.request import JobRequest
from textmill.transform.setup import SetupRequest


class RowError(Struct, frozen=True):
    """One row without a result: a line of OUT.errors.jsonl."""

    line: int
    code: ErrorCode
    message: str
    id: Any = None
    file: str | None = None


class Job:
    """A finished job: its counts, its files, its manifest.

    output, errors_output, manifest_path: paths, or URLs where the output is in an object store.
    """

    def __init__(self, folder: JobFolder, manifest: dict[str, Any], *, already_done: bool) -> None:
        self._folder = folder
        self.output = self._named(folder.name)
        self.errors_output = self._named(folder.errors_name)
        self.manifest_path = self._named(folder.manifest_name)
        self.manifest = manifest
        self.already_done = already_done

    @property
    def counts(self) -> Totals:
        """Rows read, and what became of them: rows = ok + failed + invalid."""
        return msgspec.convert(self.manifest["counts"], Totals)

    @property
    def failures(self) -> Iterator[RowError]:
        """Rows without a result, in input order."""
        if self._folder.store.stat(self._folder.errors_name) is not None:
            decode = msgspec.json.Decoder(RowError).decode
            yield from map(decode, text_lines(self._folder.store, self._folder.errors_name))

    @property
    def results(self) -> Iterator[dict[str, Any]]:
        """Output lines, in input order. Raises `UsageError` for an output that is a table."""
        written = self.manifest.get("output_format", "jsonl")
        if written not in LINE_FORMATS:
            raise UsageError(f"{self.output} is {written}: read it with a library for that")
        yield from map(msgspec.json.decode, text_lines(self._folder.store, self._folder.name))

    def _named(self, name: str) -> Path | str:
        label = self._folder.store.label(name)
        return label if is_url(label) else Path(label)

    def __repr__(self) -> str:
        counts = self.counts
        return f"<Job {self.output}: {counts.ok} of {counts.rows} rows ok>"


def run(
    inputs: Inputs,
    output: str | Path,
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
    max_errors: str | int | None = None,
    engine: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    max_batch_tokens: int | None = None,
    concurrency: int | None = None,
    api_key: str | None = None,
    api_key_file: str | Path | None = None,
    api_key_over_http: bool = False,
    timeout: float | None = DEFAULT_TIMEOUT_S,
    fresh: bool = False,
    retry_failed: bool = False,
    report: str | Path | None = None,
    offline: bool = False,
    endpoint_url: str | None = None,
    home: Path | None = None,
    on_transfer: Callable[[Transfer], None] | None = None,
    command: Sequence[str] | None = None,
    on_progress: OnProgress | None = None,
    on_start: Callable[[Prepared], None] | None = None,
    **params: Any,
) -> Job:
    """Run a text-to-text model over records: one result per record, in input order.

    inputs: files, globs, folders of Parquet, URLs of object stores or data sets (hf://datasets/…),
        `-` for standard input; or an iterable of dicts, or of Arrow tables, or one of those.
    output: where results go, a path or a URL; OUT.errors.jsonl and OUT.manifest.json appear
        beside it.
    **params (or `parameters`): generation parameters, as in `max_new_tokens=50`.
    report: an HTML page of the job to write: one file that needs no network.
    api_key: of a server; by default what OPENAI_API_KEY says.
    on_progress, on_start, on_transfer: called as rows finish, when the job is ready, and while a
    model is downloaded. The other arguments are the flags of `textmill run`.

    Running it again with the same arguments resumes an unfinished job and returns a finished one.
    Raises `UsageError` and its kin before any work, `TooManyErrors` when max_errors is passed.
    """
    request = JobRequest(
        inputs=inputs,
        output=output,
        setup=SetupRequest(
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
        ),
        input_format=input_format,
        format=format,
        output_filter=output_filter,
        shard=shard,
        sample=sample,
        max_errors=max_errors,
        fresh=fresh,
        retry_failed=retry_failed,
        stores=store_options(endpoint_url, inputs, output),
        command=command,
    )
    if report:
        named = JobFolder(LocalStore(Path()), str(output))
        check_page(report, named.outputs)
    with Prepared(request) as prepared:
        if on_start:
            on_start(prepared)
        manifest, already_done = prepared.execute(on_progress or _silent)
    job = Job(prepared.folder, manifest, already_done=already_done)
    if report:
        write_page(report, job_report(job))
    return job


def _silent(progress: Progress) -> None:
    """Show nothing."""
