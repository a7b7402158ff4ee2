"""The manifest: what was done, to what, with what, and what came of it.

It is written last and is the commit point of a job. It holds enough to run the job again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from textmill.core import Params
from textmill.engines.base import Capabilities
from textmill.errors import InputError, OutputError
from textmill.storage.base import Store, digest_of
from textmill.telemetry import Action, versions
from textmill.transform.commit import OutputDigest, Totals
from textmill.transform.execute import Executed
from textmill.transform.job import JobFolder
from textmill.transform.plan import InputDigest, JobSpec
from textmill.words import counted

FORMAT = 1
_AT_LIMIT = ("result met its length limit", "results met their length limit")
_NO_EVENTS: Mapping[str, int] = {}


def describe(
    spec: JobSpec,
    executed: Executed,
    *,
    base: Params,
    capabilities: Capabilities,
    command: Sequence[str] | None,
    notes: Sequence[str],
    events: Mapping[str, int] = _NO_EVENTS,
) -> dict[str, Any]:
    """The manifest of a job that has just finished.

    notes: sentences the user should read (parameters that gave way, columns not used, …).
    events: how often each `telemetry.Action` happened in this run.
    """
    return {
        "format": FORMAT,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(command) if command else None,
        "identity": spec.identity(),
        "counts": msgspec.to_builtins(executed.totals),
        "lengths": executed.lengths.as_dict(),
        "warnings": [*_warnings(spec, executed, base), *_said(events), *notes],
        "inputs": msgspec.to_builtins(spec.inputs),
        "outputs": msgspec.to_builtins(executed.outputs),
        "model": {
            **msgspec.to_builtins(spec.model),
            "files": [
                {"name": name, "bytes": size, "sha256": sha256}
                for name, size, sha256 in spec.model.files
            ],
        },
        "engine": msgspec.to_builtins(capabilities),
        "parameters": {
            name: {"value": value, "from": origin}
            for name, (value, origin) in spec.parameters.items()
        },
        "record_params": spec.record_params,
        "prompt": spec.prompt,
        "id": spec.id_field,
        "keep": spec.keep,
        "output_format": spec.output_format,
        "compression": spec.compression,
        "input_filter": spec.input_filter,
        "output_filter": spec.output_filter,
        "join": spec.join,
        "seed": spec.seed,
        "sample": spec.sample,
        "max_input_tokens": spec.max_input_tokens,
        "truncate": spec.truncate,
        "limits": msgspec.to_builtins(spec.limits),
        "run": {**_run(executed), "events": dict(events)},
        "versions": versions(),
    }


def _run(executed: Executed) -> dict[str, Any]:
    """How the last run of the job went; rows that an earlier run finished are not its own."""
    stats, seconds = executed.stats, max(executed.seconds, 1e-9)
    rows = executed.totals.rows - executed.resumed
    return {
        "seconds": round(executed.seconds, 3),
        "rows": rows,
        "resumed_rows": executed.resumed,
        "rows_per_second": round(rows / seconds, 2),
        "tokens_per_second": round(executed.tokens / seconds, 1),
        "batches": stats.batches,
        "requests": stats.requests,
        "split_batches": len(executed.history.splits),
        "padding_share": round(stats.padding_share, 4),
        "outside_engine_share": round(stats.starved_seconds / max(stats.seconds, 1e-9), 4),
        "timeline": executed.timeline.as_dict(),
        "earlier": msgspec.to_builtins(list(executed.history.earlier)),
    }


def _warnings(spec: JobSpec, executed: Executed, base: Params) -> list[str]:
    totals = executed.totals
    warnings = []
    if totals.hit_length_limit:
        names = ("max_new_tokens", "max_length", "num_new_tokens")
        origin = next((spec.parameters[n][1] for n in names if n in spec.parameters), "default")
        warnings.append(
            f"{counted(totals.hit_length_limit, *_AT_LIMIT)} and may be cut; unless a"
            f" record says otherwise it is max_new_tokens={base.max_new_tokens} (from: {origin})"
        )
    if totals.copied:
        warnings.append(
            f"{counted(totals.copied, 'row has', 'rows have')} the text and parameters of an"
            " earlier row and its result"
        )
    if executed.history.shrunk:
        times = counted(len(executed.history.shrunk), "time")
        warnings.append(
            f"memory ran out {times}; from then on batches had at"
            f" most {min(executed.history.shrunk):,} input tokens (--max-batch-tokens)"
        )
    if totals.truncated:
        were = counted(totals.truncated, "input was", "inputs were")
        warnings.append(f"{were} cut to {spec.max_input_tokens} tokens (--truncate)")
    return warnings


def _said(events: Mapping[str, int]) -> list[str]:
    """What happened in this run, but for lack of memory, which is told of all runs together."""
    sentences = {
        Action.RESTARTED: "the engine's process was started again {}",
        Action.WAITED: "the server was waited for {}",
    }
    return [
        sentence.format(counted(events[action], "time"))
        for action, sentence in sentences.items()
        if events.get(action)
    ]


class Manifest(Struct, frozen=True):
    """What is read of a manifest."""

    format: int
    finished: str
    identity: dict[str, str]
    counts: Totals
    outputs: list[OutputDigest]
    inputs: list[InputDigest]
    run: dict[str, Any]
    warnings: list[str]
    command: list[str] | None = None
    output_format: str = "jsonl"


def read_manifest(store: Store, name: str) -> Manifest:
    """Raises `InputError` if it is damaged, or the manifest of something else."""
    label = store.label(name)
    found = _decoded(store.read(name) or b"", label)
    if not is_ours(found):
        raise InputError(
            f"{label} is the manifest of something else than a job of textmill",
            hint="give the output of a job, its .job folder or its manifest",
        )
    if found["format"] != FORMAT:
        raise InputError(
            f"{label} has format {found['format']}, this version reads format {FORMAT}",
            hint="ask for the status with the version of textmill that ran the job",
        )
    return _converted(found, label)


def finished_manifest(folder: JobFolder) -> dict[str, Any] | None:
    """The manifest of a job that is complete, its output being there unchanged; else None."""
    data = folder.store.read(folder.manifest_name)
    if data is None or folder.store.stat(folder.name) is None:
        return None
    try:
        raw: dict[str, Any] = _decoded(data, folder.manifest_name)
        manifest = _converted(raw, folder.manifest_name)
    except InputError:
        return None
    digests = {entry.name: entry.sha256 for entry in manifest.outputs}
    return raw if digests.get(folder.name) == digest_of(folder.store, folder.name) else None


def check_error_file(folder: JobFolder, manifest: dict[str, Any]) -> None:
    """Raise `OutputError` unless the error file of a finished job is as the job wrote it."""
    name = folder.errors_name
    written = {entry["name"]: entry["sha256"] for entry in manifest["outputs"]}.get(name)
    there = folder.store.stat(name) is not None
    if written is not None and (not there or digest_of(folder.store, name) != written):
        raise OutputError(
            f"{folder.store.label(name)} {'is not as the job wrote it' if there else 'is missing'},"
            " so it does not tell which rows failed",
            hint="bring it back, or start over with --fresh",
        )


def output_of(store: Store, name: str) -> str | None:
    """The output that a manifest is of; a guess if it is damaged, None if it is no job's."""
    guess = name.removesuffix(".manifest.json") + ".jsonl"
    try:
        found = _decoded(store.read(name) or b"", name)
        return str(found["outputs"][0]["name"]) if is_ours(found) else None
    except (InputError, LookupError, TypeError):
        return guess


def is_ours(found: Any) -> bool:
    """Whether decoded JSON is a manifest of textmill's."""
    return isinstance(found, dict) and {"format", "identity", "counts", "outputs"} <= found.keys()


def _decoded(data: bytes, label: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"{label} is damaged: {error}") from error


def _converted(found: Any, label: str) -> Manifest:
    try:
        return msgspec.convert(found, Manifest)
    except msgspec.MsgspecError as error:
        raise InputError(f"{label} is damaged: {error}") from error
