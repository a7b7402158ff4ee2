"""The parts of a page that say how a job went: counts, lengths, failures, provenance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textmill.evaluation.results import Scores
from textmill.html import charts
from textmill.html.build import Child, Element, fragment, tag
from textmill.html.parts import Head, Section, chart, details, figures, given, note, section, table
from textmill.report.scoring import strip
from textmill.report.texts import id_text
from textmill.report.values import Distribution, Failure, Job, Source, TokenLengths
from textmill.words import counted

MAX_MESSAGE_CHARS = 300
MAX_MANIFEST_CHARS = 20_000
MAX_WORDS_BIN = 40


def job_strip(job: Job) -> Element:
    """Rows = ok + failed + invalid, as the job's manifest has them."""
    counts = job.counts
    parts = [
        charts.Part("ok", counts.ok, "ok"),
        charts.Part("failed", counts.failed, "bad"),
        charts.Part("invalid", counts.invalid, "odd"),
    ]
    return fragment(
        strip("rows in", counts.rows, parts),
        [tag("p", given(one), class_="warning") for one in job.warnings],
    )


def digests(source: Source, job: Job | None) -> Element | None:
    """What the counts are of: the outputs by digest, and whether the predictions are they."""
    if job is None:
        return None
    written = [
        [", " if at else "", given(one.name), " ", tag("code", one.sha256[:16]), "…"]
        for at, one in enumerate(job.outputs)
    ]
    return fragment(
        tag("p", "SHA-256 of what the job wrote: ", written, class_="note"),
        tag("p", source.verified) if source.verified else None,
    )


def length_section(job: Job | None, scores: Scores | None) -> Section | None:
    """Tokens in and out as the job counted them, words of predictions as the scores did."""
    shown = [*_token_lengths(job), *([_word_lengths(scores)] if scores else [])]
    found = [one for one in shown if one is not None]
    return section("lengths", "Lengths", found) if found else None


def _token_lengths(job: Job | None) -> Iterable[Element]:
    if job is None:
        return
    counts = job.counts
    share = counts.hit_length_limit / counts.ok if counts.ok else 0.0
    yield figures(
        [
            ("inputs cut (--truncate)", f"{counts.truncated:,}"),
            ("results that met their length limit", f"{counts.hit_length_limit:,} ({share:.1%})"),
            ("tokens in", f"{counts.input_tokens:,}"),
            ("tokens out", f"{counts.output_tokens:,}"),
        ]
    )
    lengths = job.lengths or TokenLengths(rows=0)
    drawn = [
        _distribution(name, one)
        for name, one in (("Input tokens", lengths.input), ("Output tokens", lengths.output))
        if one is not None
    ]
    if drawn:
        yield tag("div", drawn, class_="two")
    else:
        yield note("The manifest does not say how tokens are spread over the rows.")


def _distribution(name: str, one: Distribution) -> Element:
    said = (
        f"{name} of a row: from {one.min:,} to {one.max:,}, half at most {one.p50:,}, 95 % at most"
        f" {one.p95:,}."
    )
    end = one.first + one.width * len(one.counts) - 1
    beyond = f" {counted(one.beyond, 'longer one')} beyond {end:,}." if one.beyond else ""

    def label(at: int) -> str:
        low = one.first + at * one.width
        return f"{low:,}" if one.width == 1 else f"{low:,} to {low + one.width - 1:,}"

    return chart(
        name,
        charts.bars(one.counts, label, said),
        top=counted(max(one.counts, default=0), "row"),
        left=f"{one.first:,}",
        right=f"{end:,}",
        note=said + beyond,
    )


def _word_lengths(scores: Scores) -> Element | None:
    words = scores.records.words
    if words is None:
        return None
    import numpy as np

    predicted, wanted = words
    top = int(max(np.percentile(predicted, 99), np.percentile(wanted, 99), 1))
    width = -(-(top + 1) // MAX_WORDS_BIN)
    edges = np.arange(0, top + width + 1, width)
    ours, theirs = (np.histogram(one, edges)[0].tolist() for one in words)
    said = (
        f"Words of a prediction: half at most {np.median(predicted):.0f}; of a reference: half at"
        f" most {np.median(wanted):.0f}."
    )
    end = int(edges[-1]) - 1

    def label(at: int) -> str:
        low = at * width
        return f"{low:,}" if width == 1 else f"{low:,} to {low + width - 1:,} words"

    return chart(
        "Words of predictions, and of references (outline)",
        charts.bars(ours, label, said, other=theirs),
        top=counted(max([*ours, *theirs]), "record"),
        left="0",
        right=f"{end:,}",
        note=f"{said} A prediction that is not there has none; of several references it is the one"
        " nearest in length.",
    )


def failure_section(failures: Sequence[Failure]) -> Section:
    """Rows without a result by code, most first, with a few of each."""
    if not failures:
        return section("failures", "Failures", tag("p", "None."))
    return section("failures", "Failures", map(_failure, failures))


def _failure(one: Failure) -> Element:
    heads = (Head("id"), Head("line", number=True), Head("message"))
    rows = [
        (
            given(id_text(row.id)) if row.id is not None else "–",
            "–" if row.line is None else f"{row.line:,}",
            given(_cut(row.message, MAX_MESSAGE_CHARS)),
        )
        for row in one.examples
    ]
    title = tag("h3", tag("code", one.code), f" {one.count:,}")
    if not rows:
        return fragment(title, note("No example is at hand."))
    return fragment(title, table(f"The first rows that have {one.code}", heads, rows))


def provenance_section(source: Source, job: Job | None) -> Section:
    """What was read, what made it, and the lines that make all of it again."""
    return section(
        "provenance",
        "Provenance",
        fragment(tag("h3", "This page again"), tag("pre", given(source.command)))
        if source.command
        else None,
        _files(source),
        _job(job) if job else None,
        details("The manifest", tag("pre", given(_cut(source.manifest, MAX_MANIFEST_CHARS))))
        if source.manifest
        else note("There is no manifest of a job of textmill's beside the predictions."),
    )


def _files(source: Source) -> Element | None:
    if not source.files:
        return None
    rows = [(given(name), tag("code", digest)) for name, digest in source.files]
    return table("Files", (Head("file"), Head("SHA-256")), rows)


def _job(job: Job) -> Element:
    import shlex

    line = shlex.join(job.command) if job.command else "It was called from Python."
    made: list[tuple[str, Child]] = [
        ("model", given(job.model.name + (f"@{job.model.revision}" if job.model.revision else ""))),
        ("engine", f"{job.engine.name} {job.engine.precision}"),
        ("seed", str(job.seed)),
        ("finished", job.finished),
    ]
    versions = [f"{name} {version}" for name, version in job.versions.items()]
    rows = [
        (name, given(_cut(str(one.get("value")), 200)), str(one.get("from", "")))
        for name, one in job.parameters.items()
        if one.get("from") != "default"
    ]
    heads = (Head("parameter"), Head("value"), Head("from"))
    return fragment(
        tag("h3", "The job again"),
        tag("pre", given(line)),
        figures(made),
        fragment(tag("h3", "Prompt"), tag("pre", given(_cut(job.prompt, 2000))))
        if job.prompt
        else None,
        table("Generation parameters that are not the default", heads, rows) if rows else None,
        note("Versions: ", ", ".join(versions), "."),
    )


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… (+{len(text) - limit:,} characters)"
