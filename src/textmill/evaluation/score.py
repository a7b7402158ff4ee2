"""Scores of a predictions file against a references file, and against another system's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from textmill import __version__
from textmill.errors import InputError
from textmill.evaluation.base import ROUGE_TYPES, Floats
from textmill.evaluation.fields import id_fields
from textmill.evaluation.files import Files, RowFile
from textmill.evaluation.join import Join
from textmill.evaluation.metrics import make_metrics, metric_names
from textmill.evaluation.notes import comparison_notes, prediction_notes, reference_notes
from textmill.evaluation.options import How, Sides
from textmill.evaluation.references import References
from textmill.evaluation.results import Baseline, Score, Scores

if TYPE_CHECKING:
    from textmill.evaluation.comparing import Drawn, Two
    from textmill.evaluation.measuring import Measured
    from textmill.evaluation.resampling import Draws, Triple


def evaluate(files: Files, *, sides: Sides, how: How) -> Scores:
    """Score the predictions of one file, and compare them with those of another.

    Raises `InputError` for files that cannot be read or joined, `ParameterError` for what `how`
    cannot be, and `UsageError` where a metric needs what is not installed.
    """
    sides.check()
    how.check()
    names = metric_names(how.metrics, with_source=sides.source is not None)
    metrics = make_metrics(names, stemmer=how.stemmer, tokenizer=how.tokenizer)
    from textmill.evaluation.comparing import Two
    from textmill.evaluation.measuring import Measured
    from textmill.evaluation.records import Records
    from textmill.evaluation.slicing import Slicer

    wanted = _wanted(files, sides, how)

    def measured(file: RowFile, field: str | None, flag: str) -> Measured:
        join = Join(file, wanted, id_field=id_fields(sides.on)[0], field=field, flag=flag)
        return Measured(metrics, join, wanted, how.missing)

    ours = measured(files.predictions, sides.pred, "--pred")
    theirs = None
    if files.baseline:
        theirs = measured(files.baseline, sides.baseline_pred or sides.pred, "--baseline-pred")
    two = Two(ours, theirs) if theirs else None
    values, differences = _drawn(ours, two, _draws(how))
    return Scores(
        predictions=str(files.predictions),
        references=wanted.label,
        pred=ours.join.field,
        ref=wanted.field,
        missing=how.missing,
        scores=_scores(ours, wanted, how, values),
        counts=ours.join.counts,
        failures=ours.join.failures,
        notes=(*prediction_notes(ours.join), *reference_notes(wanted, how.tokenizer)),
        baseline=_baseline(two, wanted, how, differences) if two else None,
        slices=Slicer(ours, two, _draws(how)).slices(wanted),
        records=Records(wanted, ours, theirs),
    )


def _wanted(files: Files, sides: Sides, how: How) -> References:
    return References(
        files.references,
        id_field=id_fields(sides.on)[1],
        field=sides.ref,
        source=sides.source,
        by=sides.by,
        tokenizer=how.tokenizer,
    )


def _draws(how: How) -> Draws:
    from textmill.evaluation.resampling import Draws

    return Draws(samples=how.samples, seed=how.seed)


def _drawn(ours: Measured, two: Two | None, draws: Draws) -> Drawn:
    """Over all records that count; for differences, over those that count in both.

    Raises `InputError` where none does.
    """
    from textmill.evaluation.comparing import Drawn, drawn

    if two is None:
        return drawn(ours, None, ours.counted, draws)
    if not two.both.any():
        raise InputError(
            f"{ours.join.path} and {two.theirs.join.path} have no record in common that counts",
            hint="with --missing zero all references count",
        )
    paired = drawn(ours, two, two.both, draws)
    if (ours.counted == two.both).all():
        return paired
    return Drawn(drawn(ours, None, ours.counted, draws).values, paired.differences)


def _scores(
    ours: Measured, wanted: References, how: How, drawn: Mapping[str, Floats]
) -> tuple[Score, ...]:
    """drawn: of each metric, values over sets of the records that count."""
    from textmill.evaluation.resampling import bounds

    medians = _medians(ours, how) if how.mean == "bootstrap-median" else {}
    scores = []
    for name, metric in ours.metrics.items():
        low, high = bounds(drawn.get(name), int(ours.counted.sum()))
        mean = "exact"
        value = ours.value(name, ours.counted)
        precision, recall = _precision_recall(ours, name)
        if name in medians:
            mean = how.mean
            precision, recall, value = medians[name].mid.tolist()
            low, high = float(medians[name].low[2]), float(medians[name].high[2])
        scores.append(
            Score(
                name=name,
                value=value,
                low=low,
                high=high,
                precision=precision,
                recall=recall,
                n=int(ours.counted.sum()),
                signature=_signature(
                    metric.signature(name), wanted, how, mean, drawn=low is not None
                ),
            )
        )
    return tuple(scores)


def _precision_recall(ours: Measured, name: str) -> tuple[float, float] | tuple[None, None]:
    if name not in ROUGE_TYPES:
        return None, None
    precision, recall, _ = (ours.sums(name, ours.counted) / int(ours.counted.sum())).tolist()
    return precision, recall


def _medians(ours: Measured, how: How) -> dict[str, Triple]:
    """ROUGE as `evaluate` has it: one generator for all types, in the order they were asked for."""
    import numpy as np

    from textmill.evaluation.resampling import median_of_bootstrap

    rng = np.random.RandomState(how.seed)
    return {
        name: median_of_bootstrap(ours.rows[name][ours.counted], how.samples, rng)
        for name in ours.metrics
        if name in ROUGE_TYPES
    }


def _signature(metric: str, wanted: References, how: How, mean: str, *, drawn: bool) -> str:
    """As in `rouge1|stem:no|tok:rouge-score|refs:1|missing:zero|mean:exact|ci:…|v:0.1.0`."""
    sure = f"bootstrap-{how.samples}-seed-{how.seed}" if drawn else "no"
    return (
        f"{metric}|refs:{wanted.per_record}|missing:{how.missing}|mean:{mean}"
        f"|ci:{sure}|v:{__version__}"
    )


def _baseline(two: Two, wanted: References, how: How, drawn: Mapping[str, Floats]) -> Baseline:
    from textmill.evaluation.comparing import compare

    theirs, draws = two.theirs.join, _draws(how)
    comparisons = compare(two, wanted.ids, drawn, draws)
    return Baseline(
        predictions=str(theirs.path),
        pred=theirs.field,
        counts=theirs.counts,
        failures=theirs.failures,
        n=int(two.both.sum()),
        comparisons=comparisons,
        notes=(*prediction_notes(theirs), *comparison_notes(comparisons, int(two.both.sum()))),
        signature=f"paired-bootstrap:{draws.samples}|approximate-randomisation:{draws.trials}"
        f"|seed:{draws.seed}|missing:{how.missing}|v:{__version__}",
    )
