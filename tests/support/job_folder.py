"""Where an unfinished job on a disk keeps its logs: in a folder of a random name."""

from __future__ import annotations

from pathlib import Path


def parts_in(job: Path) -> list[Path]:
    """The parts of a job's folder, by window."""
    return sorted(job.glob("rows-*/[0-9]*.jsonl"))


def journals_in(job: Path) -> list[Path]:
    """The journal; none if there is no job."""
    return sorted(job.glob("rows-*/journal.jsonl"))
