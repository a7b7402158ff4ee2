"""The public verbs of Python: the same names and defaults as the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from textmill.catalog.fetch import Transfer
from textmill.errors import ErrorCode
from textmill.settings import find_api_key, read_settings
from textmill.transform.commit import Totals
from textmill.transform.execute import OnProgress
from textmill.transform.job import JobFolder
from textmill.transform.ledger import Progress
from textmill.transform.prepare import JobRequest, Prepared
from textmill.transform.reading import Inputs
from textmill.transform.setup import SetupRequest


class RowError(Struct, frozen=True):
    """One row without a result: a line of OUT.errors.jsonl."""

    line: int
    code: ErrorCode
    message: str
    id: Any = None
    file: str | None = None


class Job:
    """A finished job: its counts, its files, its manifest."""

    def __init__(self, folder: JobFolder, manifest: dict[str, Any], *, already_done: bool) -> None:
        self.output = Path(folder.label)
        self.errors_output = Path(folder.store.label(folder.errors_name))
        self.manifest_path = Path(folder.store.label(folder.manifest_name))
        self.manifest = manifest
        self.already_done = already_done

    @property
    def counts(self) -> Totals:
        """Rows read, and what became of them: rows = ok + failed + invalid."""
        return msgspec.convert(self.manifest["counts"], Totals)

    @property
    def failures(self) -> Iterator[RowError]:
        """Rows without a result, in input order."""
        if self.errors_output.exists():
            with self.errors_output.open("rb") as lines:
                yield from map(msgspec.json.Decoder(RowError).decode, lines)

    @property
    def results(self) -> Iterator[dict[str, Any]]:
        """Output lines, in input order."""
        with self.output.open("rb") as lines:
            yield from map(msgspec.json.Decoder(dict[str, Any]).decode, lines)

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
    timeout: float | None = None,
    api_key: str | None = None,
    api_key_file: str | Path | None = None,
    api_key_over_http: bool = False,
    fresh: bool = False,
    retry_failed: bool = False,
    offline: bool = False,
    home: Path | None = None,
    on_transfer: Callable[[Transfer], None] | None = None,
    command: Sequence[str] | None = None,
    on_progress: OnProgress | None = None,
    on_start: Callable[[Prepared], None] | None = None,
    **params: Any,
) -> Job:
    """Run a text-to-text model over records: one result per record, in input order.

    inputs: files or globs of JSON Lines, `-` for standard input, or an iterable of dicts.
    output: where results go; OUT.errors.jsonl and OUT.manifest.json appear beside it.
    **params (or `parameters`): generation parameters, as in `max_new_tokens=50`.
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
            parameters={**(parameters or {}), **params},
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
            timeout=timeout,
            api_key=find_api_key(api_key),
            api_key_file=api_key_file,
            api_key_over_http=api_key_over_http,
            offline=offline,
            home=home or read_settings().home,
            on_transfer=on_transfer,
        ),
        sample=sample,
        max_errors=max_errors,
        fresh=fresh,
        retry_failed=retry_failed,
        command=command,
    )
    with Prepared(request) as prepared:
        if on_start:
            on_start(prepared)
        manifest, already_done = prepared.execute(on_progress or _silent)
    return Job(prepared.folder, manifest, already_done=already_done)


def _silent(progress: Progress) -> None:
    """Show nothing."""
