"""What the output of a job is: its place, its format, its columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from msgspec import Struct
from msgspec.structs import replace

from textmill.errors import OutputError, UsageError
from textmill.records.formats import (
    OUTPUT_FORMATS,
    TABLES,
    Format,
    check_format,
    columns_to_keep,
    detect_output,
)
from textmill.records.jsonpath import Path as JsonPath
from textmill.records.jsonpath import parse_path
from textmill.storage.compress import compression
from textmill.storage.connecting import StoreOptions
from textmill.storage.inputs import is_device
from textmill.storage.opening import is_url, open_store
from textmill.transform.inputs import JobInput
from textmill.transform.job import JobFolder
from textmill.transform.request import JobRequest
from textmill.transform.setup import SetupRequest, is_join


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
            f'there is no output format "{request.format}"',
            hint=f"the formats are: auto, {', '.join(OUTPUT_FORMATS)}",
        )
    if request.format == "auto":
        found = detect_output(str(request.output), inputs[0].format)
    else:
        found = cast(Format, request.format)
    check_format(found)
    if found == "parquet" and compression(str(request.output)) != "none":
        raise UsageError(
            f"{request.output} would be a compressed Parquet file, which no reader opens",
            hint="leave .gz or .zst out of its name: Parquet compresses its pages itself",
        )
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
            hint="name the output .jsonl"
            + (", or copy columns into the table with --keep" if found in TABLES else ""),
        )
    keep = columns_to_keep(formats, found, setup.columns)
    return OutputShape(format=found, filter=output_filter, setup=replace(setup, keep=keep))


def job_folder(output: str | Path, options: StoreOptions) -> JobFolder:
    """The folder of the job with this output, a path or a URL. Raises `OutputError`."""
    text = str(output)
    if not text or text.endswith("/") or not Path(text).name:
        raise OutputError(f'"{text}" is a folder', hint="give the name of a file in it")
    if not is_url(text) and is_device(text):
        raise OutputError(
            f"{text} is not an ordinary file: a job keeps its rows and a manifest beside it",
            hint="name a file with -o, and print it when the job is done",
        )
    return JobFolder(*open_store(text, options))
