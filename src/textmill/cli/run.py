"""`textmill run`: the batch transform."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from textmill.cli.whole import Whole
from textmill.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from textmill.api.jobs import Job
    from textmill.cli.display import RunDisplay
    from textmill.settings import Settings
    from textmill.transform.prepare import Prepared

Flag = Parameter(negative=())


def run(
    *inputs: str,
    output: Annotated[str, Parameter(name=["--output", "-o"])],
    model: str | None = None,
    prompt: str | None = None,
    id: Annotated[str, Parameter(name="--id")] = "id",
    keep: Annotated[list[str] | None, Parameter(negative=())] = None,
    input_format: str = "auto",
    format: str = "auto",
    input_filter: str | None = None,
    join: str | None = None,
    output_filter: str | None = None,
    shard: str | None = None,
    set: Annotated[list[str] | None, Parameter(name="--set", negative=())] = None,
    record_params: bool = True,
    seed: Whole | None = None,
    sample: Whole | None = None,
    truncate: Annotated[bool, Flag] = False,
    max_input_tokens: Whole | None = None,
    max_errors: str | None = None,
    engine: str = "auto",
    precision: str = "auto",
    threads: Whole | None = None,
    max_batch_tokens: Whole | None = None,
    concurrency: Whole | None = None,
    api_key_file: str | None = None,
    api_key_over_http: Annotated[bool, Flag] = False,
    timeout: float = 600.0,
    dry_run: Annotated[bool, Flag] = False,
    fresh: Annotated[bool, Flag] = False,
    retry_failed: Annotated[bool, Flag] = False,
    report: str | None = None,
    offline: Annotated[bool, Flag] = False,
    endpoint_url: str | None = None,
    quiet: Annotated[bool, Flag] = False,
) -> int:
    """Run a model over files (`textmill.cli.app` holds the text of its page).

    Parameters
    ----------
    inputs
        Files, globs, folders of Parquet files, - for standard input; s3://, gs:// and az:// URLs
        (an object, or a prefix that ends in /); hf://datasets/ORG/NAME/PATH; a .manifest. Formats:
        JSON Lines, CSV, TSV, plain lines, Parquet, OpenAI batch requests; gzip and zstd are
        recognised by content, other formats by name and content.
    output
        Results, a path or a URL; appears when the job is complete. Its ending tells its format:
        .jsonl, .csv, .tsv or .parquet; .gz or .zst after it compresses. Beside it:
        OUT.errors.jsonl (rows without a result, if any) and OUT.manifest.json.
    model
        A catalog id (textmill models list), a Hugging Face repository, or a local folder.
        `demo` is the embedded model. Or a server that speaks OpenAI's API, by its address:
        http://127.0.0.1:8000/v1, or https://host/v1#model-name where it has several.
    prompt
        Template for the text, e.g. "Briefly summarize this text: {article}".
    id
        The field that joins results to records; @ordinal numbers the records instead.
    keep
        Copy this input column to the output. Repeat for more.
    input_format
        auto (by name and first bytes), jsonl, csv, tsv, lines, openai or parquet.
    format
        Of the output: auto (by its name), jsonl, csv, tsv, openai or parquet.
    input_filter
        What of a row the model is given, as JSONPath: "$.body", "$['id','text_inputs']".
    join
        input: write each row whole, with the result in it as SageMakerOutput.
    output_filter
        What of a result is written, as JSONPath: "$['id','SageMakerOutput']".
    shard
        Only this part of one large file of JSON Lines, e.g. 2/8; the rest is not read.
    set
        A generation parameter as name=value, e.g. --set max_new_tokens=50. Repeat for more.
    record_params
        Whether records may carry generation parameters of their own.
    seed
        Keys all sampling of the job; 0 by default.
    sample
        Stop after this many rows.
    truncate
        Cut inputs that are over the model's limit, and count them; otherwise they are errors.
    max_input_tokens
        Longest input in tokens, if shorter than the model's own limit.
    max_errors
        Stop (exit 4) once more rows than this have failed: a number, or a share such as 1%.
        With 100% no input is refused for what its rows are.
    engine
        What computes: auto, ct2, openvino, openai (a server) or echo (answers each text with
        itself, needs no model).
    precision
        auto, int8, float32, or bfloat16 (openvino, where the CPU has it).
    threads
        CPU threads; all by default.
    max_batch_tokens
        Input tokens of one batch, padding included; chosen for the engine by default.
    concurrency
        Requests to a server at once; 16 by default.
    timeout
        Longest time in seconds that one batch may compute, or that a server may take for one
        answer; the record that is to blame fails with timeout. 0 is no limit.
    api_key_file
        File with the key for a server; OPENAI_API_KEY by default.
    api_key_over_http
        Send the key unencrypted to another machine.
    dry_run
        Show prompts, lengths and an estimate of the time; write nothing.
    fresh
        Start over: forget an unfinished job and replace a finished one's output.
    retry_failed
        Compute the rows again that failed in the engine (oom, engine_error, timeout, crashed; a
        server's too_long), of an unfinished job or a finished one; all other results stay.
    report
        HTML page of the job to write: one file that needs no network.
    offline
        Never ask the network for a model.
    endpoint_url
        An S3-compatible server to use instead of the cloud's own.
    quiet
        No progress display.
    """
    from textmill.cli.runner import STANDARD_INPUT
    from textmill.params import parse_settings
    from textmill.settings import read_settings

    if output == STANDARD_INPUT:
        raise UsageError("-o needs the name of a file: a result appears whole, or not at all")
    if not inputs:
        raise UsageError("no input", hint="textmill run INPUT… -o OUTPUT; - reads standard input")
    _refuse_settings(inputs)
    settings = read_settings()
    inputs = tuple("-" if name == STANDARD_INPUT else name for name in inputs)
    options: dict[str, Any] = {
        "model": model,
        "prompt": prompt,
        "id": id,
        "keep": tuple(keep or ()),
        "input_format": input_format,
        "format": format,
        "input_filter": input_filter,
        "join": join,
        "output_filter": output_filter,
        "shard": shard,
        "parameters": parse_settings(set or ()),
        "hyper_params": settings.hyper_params,
        "record_params": record_params,
        "seed": seed,
        "sample": sample,
        "truncate": truncate,
        "max_input_tokens": max_input_tokens,
        "engine": engine,
        "precision": precision,
        "threads": threads,
        "max_batch_tokens": max_batch_tokens,
        "concurrency": concurrency,
        "api_key_file": api_key_file,
        "api_key_over_http": api_key_over_http,
        "timeout": timeout,
        "endpoint_url": endpoint_url,
        "offline": offline or settings.offline,
        "home": settings.home,
    }
    if dry_run:
        return _preview(inputs, output, options, quiet=quiet)
    options |= {"max_errors": max_errors, "fresh": fresh, "retry_failed": retry_failed}
    options["command"] = [*_environment(settings), "textmill", *sys.argv[1:]]
    job, is_whole = _done(inputs, output, options | {"report": report}, quiet=quiet)
    _tell(job, report if is_whole else None)
    return ExitCode.DONE if job.counts.ok == job.counts.rows else ExitCode.PARTLY


def _refuse_settings(inputs: Sequence[str]) -> None:
    """`--set a=1 b=2` names one parameter, and an input that was not meant."""
    from textmill.params import KNOWN_NAMES

    for text in inputs:
        if text.partition("=")[0] in KNOWN_NAMES and "=" in text and not Path(text).exists():
            raise UsageError(
                f"{text} is no input but a parameter",
                hint=f"each parameter has a --set of its own: --set {text}",
            )


def _preview(inputs: Sequence[str], output: str, options: dict[str, Any], *, quiet: bool) -> int:
    import textmill
    from textmill.cli import display

    with display.downloads(options["model"], quiet=quiet) as on_transfer:
        found = textmill.preview(inputs, output, **options, on_transfer=on_transfer)
    display.preview(found)
    return ExitCode.DONE


def _done(
    inputs: Sequence[str], output: str, options: dict[str, Any], *, quiet: bool
) -> tuple[Job, bool]:
    """Do the job. Whether all was done besides: Ctrl-C may come after the job is complete, and
    then the report may not be whole."""
    import textmill
    from textmill.api.jobs import Job
    from textmill.cli import display

    begun: list[Prepared] = []
    try:
        with (
            display.downloads(options["model"], quiet=quiet) as on_transfer,
            display.RunDisplay(quiet=quiet) as screen,
        ):
            job = textmill.run(
                inputs,
                output,
                **options,
                on_transfer=on_transfer,
                on_progress=screen.update,
                on_start=partial(_begin, screen, begun),
            )
    except KeyboardInterrupt:
        if not begun or begun[0].manifest is None:
            raise
        return Job(begun[0].folder, begun[0].manifest, already_done=False), False
    return job, True


def _tell(job: Job, report: str | None) -> None:
    """The end of the job; it is done, whoever reads of it."""
    from textmill.cli import display

    with suppress(OSError, ValueError, AttributeError, KeyboardInterrupt):
        display.summary(job)
        if report:
            print(f"report    {report}")


def _begin(screen: RunDisplay, begun: list[Prepared], prepared: Prepared) -> None:
    """The job is ready; whether it is complete has to be known even after Ctrl-C."""
    begun.append(prepared)
    screen.start(prepared)


def _environment(settings: Settings) -> list[str]:
    """What has to stand before the command for it to be the same job in any shell."""
    said = settings.hyper_params
    return [] if said is None else ["env", f"HYPER_PARAMS={said}"]
