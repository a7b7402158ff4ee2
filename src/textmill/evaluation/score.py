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
from textmill.evaluation.options import How, Sides
from textmill.evaluation.references import References
from textmill.evaluation.results import Baseline, Score, Scores
from textmill.evaluation.tokens import DEFAULT_TOKENIZER
from textmill.words import counted

if TYPE_CHECKING:
    from textmill.evaluation.comparing import Drawn, Two
    from textmill.evaluation.measuring import Measured
    from textmill.evaluation.resampling import Draws, Triple


def evaluate(files: Files, *, sides: Sides, how: How) -> Scores:
    """Score the predictions of one file, and compare them with those of another.

    Raises `InputError` for files that cannot be read or joined, `ParameterError` for what `how`
    cannot be, and `UsageError` where a metric needs what is not installed.
    """
    how.check()
    names = metric_names(how.metrics, with_source=sides.source is not None)
    metrics = make_metrics(names, stemmer=how.stemmer, tokenizer=how.tokenizer)
    from textmill.evaluation.comparing import Two
    from textmill.evaluation.measuring import Measured
    from textmill.evaluation.records import Records
    from textmill.evaluation.slicing import Slicer

    prediction_id, reference_id = id_fields(sides.on)
    wanted = References(
        files.references, id_field=reference_id, field=sides.ref, source=sides.source, by=sides.by
    )

    def measured(file: RowFile, field: str | None) -> Measured:
        join = Join(file, wanted, id_field=prediction_id, field=field)
        return Measured(metrics, join, wanted, how.missing)

    ours, baseline = measured(files.predictions, sides.pred), files.baseline
    two = Two(ours, measured(baseline, sides.baseline_pred or sides.pred)) if baseline else None
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
        notes=_notes(ours, how),
        baseline=_baseline(two, wanted, how, differences) if two else None,
        slices=Slicer(ours, two, _draws(how)).slices(wanted),
        records=Records(wanted, ours, two.theirs if two else None),
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
                signature=_signature(metric.signature(name), wanted, how, mean),
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


def _signature(metric: str, wanted: References, how: How, mean: str) -> str:
    """As in `rouge1|stem:no|tok:rouge-score|refs:1|missing:zero|mean:exact|ci:…|v:0.1.0`."""
    drawn = f"bootstrap-{how.samples}-seed-{how.seed}" if how.samples else "no"
    return (
        f"{metric}|refs:{wanted.per_record}|missing:{how.missing}|mean:{mean}"
        f"|ci:{drawn}|v:{__version__}"
    )


def _baseline(two: Two, wanted: References, how: How, drawn: Mapping[str, Floats]) -> Baseline:
    from textmill.evaluation.comparing import compare

    theirs, draws = two.theirs.join, _draws(how)
    return Baseline(
        predictions=str(theirs.path),
        pred=theirs.field,
        counts=theirs.counts,
        failures=theirs.failures,
        n=int(two.both.sum()),
        comparisons=compare(two, wanted.ids, drawn, draws),
        signature=f"paired-bootstrap:{draws.samples}|approximate-randomisation:{draws.trials}"
        f"|seed:{draws.seed}|missing:{how.missing}|v:{__version__}",
    )


def _notes(ours: Measured, how: How) -> tuple[str, ...]:
    join, notes = ours.join, []
    if join.several:
        hold = counted(join.several, "prediction holds", "predictions hold")
        notes.append(f"{hold} several texts; the first was scored.")
    if join.repeats:
        first, second = join.repeats
        notes.append(
            f"{counted(join.counts.duplicate, 'id is', 'ids are')} answered more than once, and "
            f"differently, which leaves no answer to score; for example in lines {first} and "
            f"{second} of {join.path}."
        )
    if ours.wordless and how.tokenizer == DEFAULT_TOKENIZER:
        notes.append(
            f"{counted(ours.wordless, 'reference has', 'references have')} no word of a-z and 0-9, "
            "which scores 0 with the tokenizer rouge-score; for other scripts there are unicode "
            "and cjk."
        )
    return tuple(notes)
