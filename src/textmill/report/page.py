"""The two pages: of scores, and of a job alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from textmill.evaluation.results import Scores
from textmill.evaluation.verdict import headline, where
from textmill.html.build import Child, tag
from textmill.html.document import document
from textmill.html.parts import Section, given, note, section
from textmill.html.styles import base_style
from textmill.report import looking, running, scoring, speed
from textmill.report.texts import id_text, wide_minus
from textmill.report.values import Job, JobView, ScoreView


def score_page(view: ScoreView) -> str:
    """The page of scores. The same view gives the same bytes."""
    scores, job = view.scores, view.job
    sections = [
        section("accounting", "Accounting", scoring.accounting(scores),
                _of_job(job) if job else None, running.digests(view.source, job)),
        scoring.score_section(scores),
        scoring.baseline_section(scores.baseline) if scores.baseline else None,
        scoring.slice_section(scores),
        section("records", "Look at the data",
                looking.cards(view.examples, compared=scores.baseline is not None, scored=True),
                looking.numbers(view.numbers, what="Records")),
        running.length_section(job, scores),
        speed.speed_section(job.run) if job else None,
        running.failure_section(view.failures),
        running.provenance_section(view.source, job),
    ]  # fmt: skip
    lead = [wide_minus(headline(scores)), "."]
    names = tag("p", given(scores.predictions), " against ", given(scores.references),
                  f" ({scores.ref})", _beside(scores), class_="names")  # fmt: skip
    said = [
        given(id_text(one.text)) if one.elsewhere else wide_minus(one.text) for one in where(scores)
    ]
    below = [tag("p", said, ".", class_="where") if said else None, names]
    return _page(scores.predictions, "Scores", lead, below, sections)


def _beside(scores: Scores) -> Child:
    return [", baseline ", given(scores.baseline.predictions)] if scores.baseline else None


def _of_job(job: Job) -> Child:
    return [tag("h3", "The job that made the predictions"), running.job_strip(job)]


def job_page(view: JobView) -> str:
    """The page of a job whose results nobody has scored. The same view gives the same bytes."""
    job, counts = view.job, view.job.counts
    seen: Child = note(view.unseen)
    if view.examples is not None and view.numbers is not None:
        seen = [
            looking.cards(view.examples, compared=False, scored=False),
            looking.numbers(view.numbers, what="Results"),
        ]
    sections = [
        section("accounting", "Accounting", running.job_strip(job),
                running.digests(view.source, job)),
        speed.speed_section(job.run),
        running.length_section(job, None),
        section("records", "Look at the data", seen),
        running.failure_section(view.failures),
        running.provenance_section(view.source, job),
    ]  # fmt: skip
    lead = [f"{counts.ok:,} of {counts.rows:,} rows have a result."]
    names = tag("p", given(view.output), ", ", given(job.model.name), class_="names")
    return _page(view.output, "Job", lead, names, sections)


def _page(
    name: str, kind: str, lead: Child, below: Child, sections: Sequence[Section | None]
) -> str:
    there = [one for one in sections if one is not None]
    links = [tag("li", tag("a", one.title, href=f"#{one.key}")) for one in there]
    body = [
        tag("a", "Skip to the content", href="#content", class_="skip"),
        tag("header", tag("p", f"textmill · {kind}", class_="kind"), tag("h1", lead), below,
            class_="lead"),
        tag("nav", tag("ul", links), aria_label="Parts of this page", class_="parts"),
        tag("main", [one.element() for one in there], id="content", tabindex="-1"),
    ]  # fmt: skip
    style, script = _assets()
    return document(f"{name} · textmill", *body, style=style, script=script)


@cache
def _assets() -> tuple[str, str]:
    folder = files("textmill.report")
    style = base_style() + folder.joinpath("report.css").read_text("utf-8")
    return style, folder.joinpath("report.js").read_text("utf-8")
