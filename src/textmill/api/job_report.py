"""The page of a job: what it shows is read here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from textmill.api.jobs import Job as FinishedJob
    from textmill.report.values import Failed, Failure


def job_report(job: FinishedJob) -> str:
    """The page of a finished job."""
    from textmill.report.fitting import Room, fitted
    from textmill.report.outputs import Looked, Unseen
    from textmill.report.page import job_page
    from textmill.report.values import JobView, Source, job_of

    facts, unseen = job_of(job.manifest), "There are no results."
    seen: Looked | None = None
    try:
        if job.manifest.get("output_format", "jsonl") == "jsonl":
            seen = Looked(lambda: job.results, id_field=str(job.manifest["id"]))
        else:
            unseen = f"The results are {job.manifest['output_format']}, which is not looked into."
    except Unseen:
        unseen = "The results do not hold their texts as generated_texts (--output-filter)."
    failures = _failures(job)
    source = Source(
        command=None,
        files=(
            *((one.name, one.sha256 or "") for one in facts.inputs),
            *((one.name, one.sha256) for one in facts.outputs),
        ),
        manifest=msgspec.json.format(msgspec.json.encode(job.manifest), indent=1).decode(),
    )

    def page(room: Room) -> str:
        there = seen is not None and seen.total > 0
        return job_page(
            JobView(
                output=str(job.output),
                job=facts,
                failures=failures,
                source=source,
                examples=seen.examples(room.text_chars) if seen and there else None,
                numbers=seen.numbers(room.packed_chars) if seen and there else None,
                unseen=unseen,
            )
        )

    return fitted(page)


def _failures(job: FinishedJob) -> Sequence[Failure]:
    """Rows without a result by code, with the first of each."""
    from textmill.report.values import MAX_FAILED, Failed, by_code

    found: dict[str, list[Failed]] = {code: [] for code in job.counts.codes}
    for row in job.failures:
        examples = found.setdefault(row.code, [])
        if len(examples) < MAX_FAILED:
            examples.append(Failed(line=row.line, id=row.id, message=row.message))
        if all(len(some) == MAX_FAILED for some in found.values()):
            break
    return by_code(job.counts.codes, found)
