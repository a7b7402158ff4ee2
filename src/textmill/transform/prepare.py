"""From what the user asked to a job that can run: every refusal comes before any work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any, Self

from textmill.core import JsonText
from textmill.errors import InputError, OutputError
from textmill.records.base import Writer
from textmill.records.formats import TABLES, needs_details, open_writer
from textmill.storage.atomic import UNFINISHED_SUFFIX
from textmill.storage.compress import compression
from textmill.storage.inputs import same_file
from textmill.telemetry import Notes, versions_of
from textmill.transform.columns import check_columns
from textmill.transform.commit import OutputPlan, is_committed
from textmill.transform.execute import Executed, OnProgress, Worker, execute
from textmill.transform.finding import is_there
from textmill.transform.inputs import Copy, Inputs, JobInput, ReadOptions, find_inputs
from textmill.transform.ledger import ErrorBudget
from textmill.transform.manifest import describe
from textmill.transform.outputs import job_folder, output_shape
from textmill.transform.plan import JobSpec
from textmill.transform.reading import RowReader, total_rows
from textmill.transform.request import JobRequest
from textmill.transform.resume import resume
from textmill.transform.rows import RowMaker, hides_texts
from textmill.transform.setup import Setup, shape_of
from textmill.words import counted

_NOTHING_TO_RETRY = "--retry-failed found no earlier run here: all rows are computed"


class Prepared:
    """A job that can run: inputs found, model loaded, folder locked. A context manager."""

    def __init__(self, request: JobRequest) -> None:
        """Raises `UsageError` and its kin; then nothing has been left behind."""
        self._request = request
        self._notes = Notes()
        self._budget = ErrorBudget.parse(request.max_errors)
        options = request.read_options()
        self.folder = job_folder(request.output, options.stores)
        with ExitStack() as stack:
            self._inputs = self._open(request.inputs, options, stack)
            shape = output_shape(request, self._inputs)
            if not self._budget.is_whole:
                rows = shape_of(shape.setup)
                check_columns(self._inputs, rows, shape.filter, sample=request.sample)
            self.format, self._output_filter = shape.format, shape.filter
            self.setup = stack.enter_context(Setup(shape.setup, shape.filter))
            self.reader = self._new_reader()
            self.spec = self._spec()
            self._retries_nothing = request.retry_failed and not is_there(self.folder)
            self._finished = resume(
                self.folder,
                self.spec,
                fresh=request.fresh,
                retry_failed=request.retry_failed,
                chunks=lambda: self._new_reader().chunks(self.spec.inputs),
                command=request.command,
            )
            self.manifest = self._finished
            """Once the job is complete; None before."""
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
            + (f"   ({_NOTHING_TO_RETRY})" if self._retries_nothing else "")
        )

    def execute(self, on_progress: OnProgress) -> tuple[dict[str, Any], bool]:
        """Run the job to its end. Returns its manifest, and True if it was complete before.

        Ctrl-C is raised on even after the commit, which `manifest` then tells of.
        """
        if self._finished is not None:
            return self._finished, True
        manifest: dict[str, Any] = {}

        def make_manifest(executed: Executed) -> dict[str, Any]:
            manifest.update(self._manifest(executed))
            return manifest

        with self._notes, self._kept_rows_are_told(), self._commit_is_told(manifest):
            execute(
                self.spec,
                self.folder,
                self._worker(),
                self.reader.chunks(self.spec.inputs),
                OutputPlan(open_writer=self._open_writer),
                budget=self._budget,
                total=total_rows(self.spec.inputs, self.spec.sample),
                on_progress=on_progress,
                events=self._notes.counts,
                describe=make_manifest,
            )
        return manifest, False

    @contextmanager
    def _commit_is_told(self, manifest: dict[str, Any]) -> Iterator[None]:
        """Ctrl-C that comes after the commit finds a complete job: only its folder is left."""
        try:
            yield
        except KeyboardInterrupt:
            if is_committed(self.folder, manifest):
                self.manifest = manifest
                with suppress(InputError, OutputError):
                    self.folder.remove()
            raise
        self.manifest = manifest

    @contextmanager
    def _kept_rows_are_told(self) -> Iterator[None]:
        """An output that cannot be written to its end costs no row that was finished."""
        try:
            yield
        except OutputError as error:
            if isinstance(error.__cause__, OSError):
                kept = "finished rows are kept, and then the same line goes on"
                error.hint = f"{error.hint}; {kept}" if error.hint else kept
            raise

    def _open(self, inputs: Inputs, options: ReadOptions, stack: ExitStack) -> list[JobInput]:
        """Find the inputs, refuse to overwrite one, lock the job's folder."""
        folder = self.folder
        stack.callback(folder.leave)
        stack.enter_context(folder.hurried_by_interrupts())
        folder.lock()  # first: what follows writes beside the output, and so may another run
        check = None if self._request.fresh else folder.check_input_copy
        found = find_inputs(inputs, Copy(folder.store, folder.spool, check), options)
        outputs = [folder.store.label(name) for name in folder.outputs]
        for source in found:
            at = source.origin or source.store.label(source.name)
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
            versions=versions_of("textmill", "tokenizers", *capabilities.libraries),
        )

    def _manifest(self, executed: Executed) -> dict[str, Any]:
        return describe(
            self.spec,
            executed,
            base=self.setup.resolver.base,
            capabilities=self.setup.model.engine.capabilities,
            command=self._request.command,
            notes=[*self.setup.resolver.notes, *self._observations(executed.totals.rows)],
            events=self._notes.counts,
        )

    def _observations(self, rows: int) -> list[str]:
        """What the user should know about how the input was read, which has so many rows."""
        found, resolver = self.reader.builder, self.setup.resolver
        notes = [] if rows else ["the input has no rows, and so has the output"]
        notes += [_NOTHING_TO_RETRY] if self._retries_nothing else []
        if found.unused_columns:
            notes.append(f"columns not used: {', '.join(found.unused_columns)}")
        if found.blank_lines:
            notes.append(f"skipped {counted(found.blank_lines, 'blank line')}")
        notes += [
            f'no JSON for {counted(one.count, "value")} of the column "{name}", null in the output:'
            f" the first {one.why}"
            for name, one in found.nulled.items()
        ]
        if self.format in TABLES and found.ids_look_alike:
            notes.append(
                f'some ids are texts, others not: "6" and 6 are alike in {self.format}, not in JSON'
                " Lines"
            )
        if found.unseen_columns:
            notes.append(f"no record has the kept column {', '.join(found.unseen_columns)}")
        if resolver.record_params_ignored and self.reader.with_params:
            notes.append(
                "HYPER_PARAMS is set, so records' own parameters were ignored, as JumpStart does"
                f" (records with some: {self.reader.with_params:,})"
            )
        return notes


def _same(source: str, output: str) -> bool:
    return source == output or same_file(source, output)
