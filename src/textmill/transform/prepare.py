"""From what the user asked to a job that can run: every refusal comes before any work."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from msgspec import Struct

from textmill.errors import OutputError, UsageError
from textmill.storage.atomic import UNFINISHED_SUFFIX
from textmill.storage.inputs import same_file
from textmill.storage.local import LocalStore
from textmill.telemetry import versions_of
from textmill.transform.execute import Executed, OnProgress, Worker, execute
from textmill.transform.job import JobFolder
from textmill.transform.ledger import ErrorBudget
from textmill.transform.manifest import describe
from textmill.transform.plan import JobSpec, check_sample
from textmill.transform.reading import (
    InputFile,
    Inputs,
    RowReader,
    digest_input,
    find_inputs,
    total_rows,
)
from textmill.transform.resume import resume
from textmill.transform.setup import Setup, SetupRequest


class JobRequest(Struct, frozen=True, kw_only=True):
    """One job as it was asked for. `textmill.run` documents the fields."""

    inputs: Any
    output: str | Path
    setup: SetupRequest
    sample: int | None = None
    max_errors: str | int | None = None
    fresh: bool = False
    retry_failed: bool = False
    command: Sequence[str] | None = None


class Prepared:
    """A job that can run: inputs found, model loaded, folder locked. A context manager."""

    def __init__(self, request: JobRequest) -> None:
        """Raises `UsageError` and its kin; then nothing has been left behind."""
        self._request = request
        self._budget = ErrorBudget.parse(request.max_errors)
        check_sample(request.sample)
        if request.fresh and request.retry_failed:
            raise UsageError("--fresh starts over, --retry-failed keeps results: choose one")
        self.folder = job_folder(request.output)
        with ExitStack() as stack:
            self._inputs = self._open(request.inputs, stack)
            self.setup = stack.enter_context(Setup(request.setup))
            self.spec = self._spec()
            self._finished = resume(
                self.folder,
                self.spec,
                fresh=request.fresh,
                retry_failed=request.retry_failed,
                chunks=lambda: self._reader().chunks(),
                command=request.command,
            )
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

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
            manifest.update(self._manifest(executed, reader))
            return manifest

        setup = self.setup
        reader = self._reader()
        worker = Worker(
            engine=setup.model.engine, tokenizer=setup.model.tokenizer, preparer=setup.preparer
        )
        execute(
            self.spec,
            self.folder,
            worker,
            reader.chunks(),
            budget=self._budget,
            total=self._total(),
            several_inputs=len(self._inputs) > 1,
            on_progress=on_progress,
            describe=make_manifest,
        )
        return manifest, False

    def _open(self, inputs: Inputs, stack: ExitStack) -> list[InputFile]:
        """Find the inputs, refuse to overwrite one, lock the job's folder."""
        folder = self.folder
        stack.callback(folder.leave)
        folder.lock()  # first: what follows writes beside the output, and so may another run
        outputs = [folder.store.label(name) for name in folder.outputs]
        found = find_inputs(inputs, folder.store, folder.spool)
        for source in (file.label for file in found):
            for output in outputs:
                if same_file(source, output) or same_file(source, output + UNFINISHED_SUFFIX):
                    raise OutputError(
                        f"{source} is an input of this job and would be overwritten",
                        hint="choose another output with -o",
                    )
        for name in folder.outputs:
            folder.store.target(name).discard()
        return found

    def _spec(self) -> JobSpec:
        setup, request = self.setup, self._request.setup
        capabilities = setup.model.engine.capabilities
        return JobSpec(
            inputs=tuple(map(digest_input, self._inputs)),
            model=setup.identity,
            engine=capabilities.name,
            precision=capabilities.precision,
            prompt=request.prompt,
            id_field=request.id,
            keep=setup.shape.keep,
            parameters=setup.resolver.provenance,
            record_params=request.record_params and not setup.resolver.record_params_ignored,
            seed=int(setup.resolver.provenance.get("seed", (0, ""))[0] or 0),
            sample=self._request.sample,
            max_input_tokens=setup.max_input_tokens,
            truncate=request.truncate,
            limits=setup.limits,
            versions=versions_of("textmill", "ctranslate2", "tokenizers"),
        )

    def _reader(self) -> RowReader:
        return RowReader(
            self._inputs, self.setup.shape, sample=self._request.sample, digests=self.spec.inputs
        )

    def _total(self) -> int | None:
        return total_rows(self.spec.inputs, self.spec.sample)

    def _manifest(self, executed: Executed, reader: RowReader) -> dict[str, Any]:
        return describe(
            self.spec,
            executed,
            base=self.setup.resolver.base,
            capabilities=self.setup.model.engine.capabilities,
            command=self._request.command,
            notes=[*self.setup.resolver.notes, *self._observations(reader)],
        )

    def _observations(self, reader: RowReader) -> list[str]:
        """What the user should know about how the input was read."""
        found, resolver = reader.builder, self.setup.resolver
        notes = []
        if found.unused_columns:
            notes.append(f"columns not used: {', '.join(found.unused_columns)}")
        if found.blank_lines:
            notes.append(f"{found.blank_lines:,} blank lines were skipped")
        if found.unseen_columns:
            notes.append(f"no record has the kept column {', '.join(found.unseen_columns)}")
        if resolver.record_params_ignored and reader.with_params:
            notes.append(
                "HYPER_PARAMS is set, so records' own parameters were ignored, as JumpStart does"
                f" (records with some: {reader.with_params:,})"
            )
        return notes


def job_folder(output: str | Path) -> JobFolder:
    """The folder of the job with this output. Raises `OutputError` if it names a folder."""
    path = Path(output)
    if not path.name:
        raise OutputError(f"{output} is a folder", hint="give the name of a file in it")
    return JobFolder(LocalStore(path.parent), path.name)
