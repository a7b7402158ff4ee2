"""What `textmill status` shows of a job: a block, a line, a row of a table."""

from __future__ import annotations

import msgspec

from textmill.cli.display import bar, duration
from textmill.cli.lines import NO_RETRY, helps, next_line, reads_standard_input, retry_line
from textmill.cli.runner import printable
from textmill.transform.ledger import Progress
from textmill.transform.runs import State
from textmill.transform.status import Cause, JobStatus, Verification
from textmill.words import counted

HEADER = ("JOB", "STATE", "ROWS", "OK", "FAILED", "INVALID", "ROWS/S", "ETA", "VERIFIED")


def table_row(job: JobStatus) -> tuple[str, ...]:
    """A job as a row under `HEADER`."""
    counts = job.counts
    total = f"/{job.total:,}" if job.total is not None and job.state is not State.COMPLETE else ""
    speed = _speed(job)
    return (
        printable(job.output),
        job.state,
        f"{counts.rows:,}{total}",
        f"{counts.ok:,}",
        f"{counts.failed:,}",
        f"{counts.invalid:,}",
        "-" if speed is None else f"{speed:,.1f}",
        "-" if job.eta_seconds is None else duration(job.eta_seconds),
        "-" if job.verification is None else "FAILED" if job.verification.problems else "yes",
    )


def line(job: JobStatus) -> str:
    """A job in one line, as a progress line of `textmill run`."""
    facts = [printable(job.output), job.state, _done(job), *_pace(job)]
    if job.failures:
        causes = ", ".join(f"{cause.code} {cause.count:,}" for cause in job.failures)
        facts.append(f"errors {job.counts.failed + job.counts.invalid:,} ({causes})")
    return "   ".join(facts)


def block(job: JobStatus) -> str:
    """All of a job."""
    lines = [f"{job.output}   {job.state}   {job.detail}"]
    if job.counts.rows or job.state is not State.DAMAGED:
        lines += _counts(job)
    lines += map(_cause, job.failures)
    lines += [] if job.runs is None else [_history(job)]
    lines += (f"note: {warning}" for warning in job.warnings)
    lines += [] if job.moved_from is None else [f"note: it began as {job.moved_from}"]
    if job.state in {State.STOPPED, State.DIED, State.SILENT}:
        lines.append(_how_to_continue(job))
    if job.counts.failed and job.state not in {State.RUNNING, State.DAMAGED}:
        lines.append(_how_to_retry(job))
        lines += (f"  {line}" for line in helps(job.counts.codes, job.max_tokens))
    if job.verification is not None:
        lines += _verification(job.verification)
    return printable("\n".join(lines))


def problems(job: JobStatus) -> list[str]:
    """What is damaged, for a job that is one of several."""
    found = [job.detail] if job.state is State.DAMAGED else []
    found += job.verification.problems if job.verification else []
    return [printable(f"{job.output}: {problem}") for problem in dict.fromkeys(found)]


def _counts(job: JobStatus) -> list[str]:
    counts = job.counts
    identity = (
        f"rows {counts.rows:,} = ok {counts.ok:,} + failed {counts.failed:,}"
        f" + invalid {counts.invalid:,}"
    )
    facts = [identity]
    facts += [f"resumed {job.resumed:,}"] if job.resumed else []
    facts += [f"copied {counts.copied:,}"] if counts.copied else []
    facts += [] if job.state is not State.COMPLETE else _pace(job)
    if job.state is State.COMPLETE:
        return ["   ".join(facts)]
    progress = "   ".join([_done(job), *_pace(job)])
    if job.total:
        progress = f"{bar(Progress(rows=counts.rows, total=job.total))}  {progress}"
    return [progress, "   ".join(facts)]


def _done(job: JobStatus) -> str:
    rows = job.counts.rows
    if job.total and job.state is not State.COMPLETE:
        return f"{rows:,} / {counted(job.total, 'row')}  {min(1.0, rows / job.total):.0%}"
    return counted(rows, "row")


def _speed(job: JobStatus) -> float | None:
    return job.run_rows_per_second if job.rows_per_second is None else job.rows_per_second


def _pace(job: JobStatus) -> list[str]:
    recent, run = job.rows_per_second, job.run_rows_per_second
    if job.state is not State.RUNNING:
        return [] if run is None else [f"{run:,.1f} rows/s in the last run"]
    facts = [] if recent is None else [f"{recent:,.1f} rows/s"]
    facts += [] if run is None else [f"({run:,.1f} since the run began)"]
    facts += [] if job.eta_seconds is None else [f"ETA {duration(job.eta_seconds)}"]
    return facts


def _cause(cause: Cause) -> str:
    example = cause.example
    if example is None:
        return f"  {cause.code} {cause.count:,}"
    place = f"{example.file}, line {example.line}" if example.file else f"line {example.line}"
    if example.id is not None:
        place += f", id {msgspec.json.encode(example.id).decode()}"
    return f"  {cause.code} {cause.count:,}   for example {place}: {example.message}"


def _history(job: JobStatus) -> str:
    facts = [f"runs {job.runs:,}" + (f", of which {job.deaths:,} died" if job.deaths else "")]
    if job.split_batches:
        facts.append(f"batches split {job.split_batches:,}")
    if job.shrunk:
        times = counted(job.shrunk, "time")
        facts.append(f"memory ran out {times} (batches ≤ {job.max_tokens:,} tokens since)")
    facts += [f"last heard of at {job.updated}"] if job.updated else []
    return "   ".join(facts)


def _how_to_continue(job: JobStatus) -> str:
    """The line to type. `--fresh` would start over."""
    if job.command is None:
        same = " with the same rows" if job.input_copy else ""
        return f"to continue, make the call again that began it{same}"
    errors = job.counts.failed + job.counts.invalid
    line = next_line(
        job.command,
        job.cwd,
        errors=errors,
        rows=job.counts.rows,
        standard_input=_standard_input(job),
        output=job.moved_to,
    )
    return f"to continue{_with_input(job)}:  {line}"


def _how_to_retry(job: JobStatus) -> str:
    """The line that computes the failed rows again."""
    if job.state is State.COMPLETE and job.output_format not in {None, "jsonl"}:
        return NO_RETRY
    if job.command is None:
        return "to compute failed rows again, make the call with retry_failed=True"
    line = retry_line(
        job.command,
        job.cwd,
        codes=job.counts.codes,
        standard_input=_standard_input(job),
        output=job.moved_to,
    )
    return f"to compute failed rows again{_with_input(job)}:  {line}"


def _standard_input(job: JobStatus) -> str | None:
    """The file that the line reads: the job's copy, if it is on this machine."""
    if job.copy_is_here and reads_standard_input(job.command):
        return job.input_copy
    return None


def _with_input(job: JobStatus) -> str:
    """What the line does not say: the input, where it could be read only once."""
    if _standard_input(job) is not None:
        return ""
    if job.input_copy is not None:
        return f", give it the same input again (a copy is {job.input_copy})"
    return ", give it the same standard input again" if reads_standard_input(job.command) else ""


def _verification(seen: Verification) -> list[str]:
    lines = [f"verified: {text}" for text in seen.checked]
    lines += [f"note: {text}" for text in seen.notes]
    lines += [f"FAILED: {text}" for text in seen.problems]
    return lines
