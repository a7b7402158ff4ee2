"""Scores as the terminal shows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from textmill.cli.runner import printable
from textmill.evaluation.figures import gap, interval, number, p_text
from textmill.evaluation.join import Counts
from textmill.evaluation.resampling import MIN_RECORDS
from textmill.evaluation.results import Baseline, Scores, Slice
from textmill.evaluation.verdict import headline, where
from textmill.words import counted

MAX_MOVED = 3
"""Records shown each way; JSON has more."""
MAX_LABEL_CHARS = 48
MAX_SMALL = 12
"""Slices of a column beyond which those without an interval are only counted."""


def scores_text(scores: Scores, *, slices: bool) -> str:
    """Counts, scores, comparison, slices if they are wanted, notes."""
    return "".join(f"{_one_line(line)}\n" for line in _lines(scores, slices=slices))


def answer_text(scores: Scores, report: str | None) -> str:
    """What the numbers say: whether the baseline is beaten, and where; and where the report is."""
    if not (scores.baseline or report):
        return ""
    lines = ["", headline(scores)]
    if parts := where(scores):
        lines.append("".join(_cut(one.text) if one.elsewhere else one.text for one in parts))
    if report:
        lines.append(f"report    {report}")
    return "".join(f"{_one_line(line)}\n" for line in lines)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_LABEL_CHARS else f"{text[: MAX_LABEL_CHARS - 1]}…"


def _one_line(text: str) -> str:
    return printable(text).replace("\n", "?")  # in a name or a label


def _lines(scores: Scores, *, slices: bool) -> Iterator[str]:
    yield f"{scores.predictions} against {scores.references} ({scores.ref})"
    yield _counts(scores.counts)
    yield ""
    yield from _scores(scores)
    yield ""
    yield f"  {scores.scores[0].signature}"
    if scores.baseline:
        yield ""
        yield from _baseline(scores.baseline)
    if slices:
        yield ""
        yield from _slices(scores.slices, compared=scores.baseline is not None)
    yield from _failures(scores.failures)
    yield from (f"note: {note}" for note in scores.notes)
    if scores.baseline:
        yield from (f"note on the baseline: {note}" for note in scores.baseline.notes)


def _counts(counts: Counts) -> str:
    line = (
        f"references {counts.pairs:,} = scored {counts.scored:,} + failed {counts.failed:,}"
        f" + missing {counts.missing:,}"
    )
    if counts.duplicate:
        line += f" + duplicate {counts.duplicate:,}"
    line += f"   (extra predictions: {counts.extra:,}"
    return line + (f", repeated: {counts.repeated:,})" if counts.repeated else ")")


def _scores(scores: Scores) -> Iterator[str]:
    wide = any(score.high is not None for score in scores.scores)
    title = f"{'95 % interval':>20}" if wide else ""
    yield f"  {'metric':<13}{'score':>8}{title}{'precision':>11}{'recall':>8}"
    for one in scores.scores:
        line = f"  {one.name:<13}{number(one.name, one.value):>8}"
        line += f"{interval(one.name, one.low, one.high):>20}" if wide else ""
        if one.precision is not None and one.recall is not None:
            line += f"{one.precision:>11.4f}{one.recall:>8.4f}"
        yield line


def _baseline(baseline: Baseline) -> Iterator[str]:
    yield f"against {baseline.predictions}, over {counted(baseline.n, 'record')}"
    yield "  " + _counts(baseline.counts)
    yield ""
    yield (
        f"  {'metric':<13}{'baseline':>9}{'this':>9}{'difference':>12}{'95 % interval':>22}{'p':>8}"
        f"   win / tie / loss"
    )
    for one in baseline.comparisons:
        sure = interval(one.name, one.low, one.high, sign=True)
        difference = number(one.name, one.difference, sign=True)
        yield (
            f"  {one.name:<13}{number(one.name, one.baseline):>9}{number(one.name, one.value):>9}"
            f"{difference:>12}{sure:>22}{p_text(one.p_randomisation):>8}"
            f"   {one.wins:,} / {one.ties:,} / {one.losses:,}"
        )
    yield ""
    yield f"  {baseline.signature}"
    yield from _moved(baseline)


def _moved(baseline: Baseline) -> Iterator[str]:
    first = baseline.comparisons[0]
    for title, moved in (("up", first.up), ("down", first.down)):
        if moved:
            shown = (f"{one.id} {one.difference:+.2f}" for one in moved[:MAX_MOVED])
            yield f"  {first.name} most {title}: {', '.join(shown)}"


def _slices(slices: Sequence[Slice], *, compared: bool) -> Iterator[str]:
    width = max(len(_cut(one.label)) for one in slices) + 4
    title = f"{'vs baseline':>13}{'95 % interval':>22}" if compared else ""
    name = slices[0].scores[0].name
    yield f"  {name + ' by':<{width}}{'n':>8}{'score':>9}{'95 % interval':>20}{'gap':>9}{title}"
    for column, group in groupby(slices, key=lambda one: one.column):
        yield f"  {column}"
        made = list(group)
        shown = [one for at, one in enumerate(made) if at < MAX_SMALL or one.n >= MIN_RECORDS]
        yield from (f"    {_cut(one.label):<{width - 2}}{_slice(one)}" for one in shown)
        if len(shown) < len(made):
            left = counted(len(made) - len(shown), "more slice")
            yield f"    … {left} of fewer than {MIN_RECORDS} records: --json has them"


def _slice(one: Slice) -> str:
    first = one.scores[0]
    line = f"{one.n:>8,}{number(first.name, first.value):>9}"
    line += f"{interval(first.name, first.low, first.high):>20}"
    line += f"{gap(first.name, first.gap):>9}"
    if first.difference is None:
        return line
    sure = interval(first.name, first.difference_low, first.difference_high, sign=True)
    return f"{line}{number(first.name, first.difference, sign=True):>13}{sure:>22}".rstrip()


def _failures(failures: Mapping[str, int]) -> Iterator[str]:
    for code, count in failures.items():
        have = counted(count, "reference has", "references have")
        yield f"note: {have} no prediction: the record failed with {code}"
