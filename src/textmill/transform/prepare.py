"""From what the user asked to a job that can run: every refusal comes before any work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Self, cast

from msgspec import Struct
from msgspec.structs import replace

from textmill.core import JsonText
from textmill.errors import OutputError, UsageError
from textmill.records.base import Writer
from textmill.records.formats import (
    OUTPUT_FORMATS,
    Format,
    check_format,
    columns_to_keep,
    detect_output,
    needs_details,
    open_writer,
)
from textmill.records.jsonpath import Path as JsonPath
from textmill.records.jsonpath import parse_path
from textmill.records.shape import ORDINAL_ID
from textmill.records.split import parse_shard
from textmill.storage.atomic import UNFINISHED_SUFFIX
from textmill.storage.compress import compression
from textmill.storage.connect import StoreOptions
from textmill.storage.inputs import same_file
from textmill.storage.opening import open_store
from textmill.telemetry import versions_of
from textmill.transform.commit import OutputPlan
from textmill.transform.execute import Executed, OnProgress, Worker, execute
from textmill.transform.inputs import Inputs, JobInput, ReadOptions, find_inputs
from textmill.transform.job import JobFolder
from textmill.transform.ledger import ErrorBudget
from textmill.transform.manifest import describe
from textmill.transform.plan import JobSpec, check_sample
from textmill.transform.reading import RowReader, total_rows
from textmill.transform.resume import resume
from textmill.transform.rows import RowMaker, hides_texts
from textmill.transform.setup import Setup, SetupRequest, is_join


class JobRequest(Struct, frozen=True, kw_only=True):
    """One job as it was asked for. `textmill.run` documents the fields."""

    inputs: Any
    output: str | Path
    setup: SetupRequest
    input_format: str = "auto"
    format: str = "auto"
    output_filter: str | None = None
    shard: str | None = None
    sample: int | None = None
    max_errors: str | int | None = None
    fresh: bool = False
    retry_failed: bool = False
    stores: StoreOptions = StoreOptions()
    command: Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_sample(self.sample)
        if self.fresh and self.retry_failed:
            raise UsageError("--fresh starts over, --retry-failed keeps results: choose one")
        if self.shard is not None and self.setup.id == ORDINAL_ID:
            raise UsageError(
                f"a shard does not know how many rows stand before it, so --id {ORDINAL_ID} would"
                " number the rows of each shard from 0",
                hint="give the records an id",
            )

    def read_options(self) -> ReadOptions:
        """How to find and read the inputs. Raises `UsageError`."""
        return ReadOptions(
            home=self.setup.home,
            input_format=self.input_format,
            shard=None if self.shard is None else parse_shard(self.shard),
            stores=self.stores,
            offline=self.setup.offline,
            refresh=self.fresh,
            on_transfer=self.setup.on_transfer,
        )


class Prepared:
    """A job that can run: inputs found, model loaded, folder locked. A context manager."""

    def __init__(self, request: JobRequest) -> None:
        """Raises `UsageError` and its kin; then nothing has been left behind."""
        self._request = request
        self._budget = ErrorBudget.parse(request.max_errors)
        options = request.read_options()
        self.folder = job_folder(request.output, options.stores)
        with ExitStack() as stack:
            self._inputs = self._open(request.inputs, options, stack)
            shape = output_shape(request, self._inputs)
            self.format, self._output_filter = shape.format, shape.filter
            self.setup = stack.enter_context(Setup(shape.setup))
            self.reader = self._new_reader()
            self.spec = self._spec()
            self._finished = resume(
                self.folder,
                self.spec,
                fresh=request.fresh,
                retry_failed=request.retry_failed,
                chunks=lambda: self._new_reader().chunks(self.spec.inputs),
                command=request.command,
            )
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    @property
    def title(self) -> str:
        """The job in one line."""
        capabilities = self.setup.model.engine.capabilities
        limits = self.spec.limits
        return (
            f"{self.spec.model.name}   {capabilities.name} {capabilities.precision}   batch ≤"
            f" {limits.max_batch_tokens:,} tokens   seed {self.spec.seed}   → {self.folder.label}"
        )

    def execute(self, on_progress: OnProgress) -> tuple[dict[str, Any], bool]:
        """Run the job to its end. Returns its manifest, and True if it was complete before."""
        if self._finished is not None:
            return self._finished, True
        manifest: dict[str, Any] = {}

        def make_manifest(executed: Executed) -> dict[str, Any]:
            manifest.update(self._manifest(executed))
            return manifest

        execute(
            self.spec,
            self.folder,
            self._worker(),
            self.reader.chunks(self.spec.inputs),
            OutputPlan(open_writer=self._open_writer),
            budget=self._budget,
            total=total_rows(self.spec.inputs, self.spec.sample),
            on_progress=on_progress,
            describe=make_manifest,
        )
        return manifest, False

    def _open(self, inputs: Inputs, options: ReadOptions, stack: ExitStack) -> list[JobInput]:
        """Find the inputs, refuse to overwrite one, lock the job's folder."""
        folder = self.folder
        stack.callback(folder.leave)
        stack.enter_context(folder.hurried_by_interrupts())
        folder.lock()  # first: what follows writes beside the output, and so may another run
        found = find_inputs(inputs, folder.store, folder.spool, options)
        outputs = [folder.store.label(name) for name in folder.outputs]
        for source in found:
            at = source.store.label(source.name)
            for output in outputs:
                if _same(at, output) or _same(at, output + UNFINISHED_SUFFIX):
                    raise OutputError(
                        f"{source.label} is an input of this job and would be overwritten",
                        hint="choose another output with -o",
                    )
        for name in folder.outputs:
            folder.store.target(name).discard()
        return found

    def _new_reader(self) -> RowReader:
        return RowReader(self._inputs, self.setup.shape, sample=self._request.sample)

    def _worker(self) -> Worker:
        model = self.setup.model
        shape = self.setup.shape
        maker = RowMaker(
            with_file=len(self._inputs) > 1,
            with_details=needs_details(self.format),
            output_filter=self._output_filter,
            opaque=shape.join or self._output_filter is not None or hides_texts(shape.keep),
        )
        return Worker(
            engine=model.engine,
            tokenizer=model.tokenizer,
            preparer=self.setup.preparer,
            maker=maker,
        )

    def _open_writer(self, lines: Iterable[JsonText]) -> Writer:
        columns = self._parquet_columns(lines) if self.format == "parquet" else None
        return open_writer(
            self.format,
            self.setup.shape.keep,
            model=self.spec.model.name,
            parquet_columns=columns,
        )

    def _parquet_columns(self, lines: Iterable[JsonText]) -> Any:
        """Typed as the input is where that says so, else as all the values allow."""
        from textmill.records.parquet_columns import columns_of_lines, common_columns

        if any(file.format != "parquet" for file in self._inputs):
            return columns_of_lines(lines, self.setup.shape)
        reader: Any = self.reader.reader("parquet")
        found = []
        for file in self._inputs:
            with closing(file.open()) as stream:
                found.append(reader.columns(stream, file.label))
        return common_columns(found)

    def _spec(self) -> JobSpec:
        setup, request = self.setup, self._request.setup
        capabilities = setup.model.engine.capabilities
        shape = setup.shape
        return JobSpec(
            inputs=self.reader.digests(),
            model=setup.identity,
            engine=capabilities.name,
            precision=capabilities.precision,
            prompt=request.prompt,
            id_field=request.id,
            keep=shape.keep,
            parameters=setup.resolver.provenance,
            record_params=request.record_params and not setup.resolver.record_params_ignored,
            seed=int(setup.resolver.provenance.get("seed", (0, ""))[0] or 0),
            sample=self._request.sample,
            max_input_tokens=setup.max_input_tokens,
            truncate=request.truncate,
            limits=setup.limits,
            output_format=self.format,
            compression=compression(self.folder.name),
            input_filter=None if shape.input_filter is None else str(shape.input_filter),
            output_filter=None if self._output_filter is None else str(self._output_filter),
            join=shape.join,
            versions=versions_of("textmill", "ctranslate2", "tokenizers"),
        )

    def _manifest(self, executed: Executed) -> dict[str, Any]:
        return describe(
            self.spec,
            executed,
            base=self.setup.resolver.base,
            capabilities=self.setup.model.engine.capabilities,
            command=self._request.command,
            notes=[*self.setup.resolver.notes, *self._observations()],
        )

    def _observations(self) -> list[str]:
        """What the user should know about how the input was read."""
        found, resolver = self.reader.builder, self.setup.resolver
        notes = []
        if found.unused_columns:
            notes.append(f"columns not used: {', '.join(found.unused_columns)}")
        if found.blank_lines:
            notes.append(f"{found.blank_lines:,} blank lines were skipped")
        if found.unseen_columns:
            notes.append(f"no record has the kept column {', '.join(found.unseen_columns)}")
        if resolver.record_params_ignored and self.reader.with_params:
            notes.append(
                "HYPER_PARAMS is set, so records' own parameters were ignored, as JumpStart does"
                f" (records with some: {self.reader.with_params:,})"
            )
        return notes


class OutputShape(Struct, frozen=True, kw_only=True):
    """What follows from the formats of input and output together.

    setup: what was asked for, with the columns that the output's format needs.
    """

    format: Format
    filter: JsonPath | None
    setup: SetupRequest


def output_shape(request: JobRequest, inputs: Sequence[JobInput]) -> OutputShape:
    """The output's format and columns. Raises `UsageError` for what does not go together."""
    if request.format not in ("auto", *OUTPUT_FORMATS):
        raise UsageError(
            f"there is no output format {request.format!r}",
            hint=f"the formats are: auto, {', '.join(OUTPUT_FORMATS)}",
        )
    if request.format == "auto":
        found = detect_output(str(request.output), inputs[0].format)
    else:
        found = cast(Format, request.format)
    check_format(found)
    setup = request.setup
    output_filter = None if request.output_filter is None else parse_path(request.output_filter)
    shaped = is_join(setup.join) or output_filter is not None
    formats = {file.format for file in inputs}
    without_columns = formats & {"openai", "lines"}
    if without_columns and (shaped or setup.input_filter is not None):
        raise UsageError("filters and joins are for rows with columns: JSON Lines or tables")
    if shaped and found != "jsonl":
        raise UsageError(
            f"a join or an output filter makes lines of any shape, which {found} cannot hold",
            hint="name the output .jsonl",
        )
    keep = columns_to_keep(formats, found, setup.columns)
    return OutputShape(format=found, filter=output_filter, setup=replace(setup, keep=keep))


def job_folder(output: str | Path, options: StoreOptions) -> JobFolder:
    """The folder of the job with this output, a path or a URL. Raises `OutputError`."""
    text = str(output)
    if not text or text.endswith("/") or not Path(text).name:
        raise OutputError(f"{text!r} is a folder", hint="give the name of a file in it")
    return JobFolder(*open_store(text, options))


def _same(source: str, output: str) -> bool:
    return source == output or same_file(source, output)
