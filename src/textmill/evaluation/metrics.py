"""The metrics that were asked for, by name."""

from __future__ import annotations

from collections.abc import Sequence

from textmill.errors import ParameterError
from textmill.evaluation.base import (
    DEFAULT_METRICS,
    METRICS,
    ROUGE_TYPES,
    SACRE_METRICS,
    TEXT_MEASURES,
    Metric,
)
from textmill.evaluation.options import is_names
from textmill.evaluation.tokens import tokenizer as check_tokenizer


def metric_names(asked: Sequence[str] | None, *, with_source: bool) -> tuple[str, ...]:
    """The names in the order they are shown, each once. None stands for the default ones.

    Raises `ParameterError` for unknown names, and for copy_rate without a source.
    """
    if asked is None:
        return (*DEFAULT_METRICS, *(("copy_rate",) if with_source else ()))
    if not is_names(asked) or not asked:
        raise ParameterError("metrics", asked, "must be a list of names")
    for name in asked:
        if name not in METRICS:
            raise ParameterError("metrics", name, f"is none of {', '.join(METRICS)}")
    if "copy_rate" in asked and not with_source:
        raise ParameterError(
            "metrics",
            "copy_rate",
            "compares predictions with what the model was given",
            hint="name the references' field that holds it with --source",
        )
    return tuple(dict.fromkeys(asked))


def make_metrics(names: Sequence[str], *, stemmer: bool, tokenizer: str) -> dict[str, Metric]:
    """Each name with the metric that gives it; names of one family share one.

    Raises `ParameterError` for an unknown tokenizer, `UsageError` where sacrebleu is needed and
    not installed.
    """
    from textmill.evaluation.measures import TextMeasures
    from textmill.evaluation.rouge import Rouge

    check_tokenizer(tokenizer)
    found: dict[str, Metric] = {}
    rouge = [name for name in names if name in ROUGE_TYPES]
    measures = [name for name in names if name in TEXT_MEASURES]
    sacre = [name for name in names if name in SACRE_METRICS]
    if rouge:
        found |= dict.fromkeys(rouge, Rouge(rouge, stemmer=stemmer, tokenizer=tokenizer))
    if measures:
        found |= dict.fromkeys(measures, TextMeasures(measures, tokenizer=tokenizer))
    if sacre:
        from textmill.evaluation.sacre import Sacre

        found |= dict.fromkeys(sacre, Sacre(sacre, tokenizer=tokenizer))
    return {name: found[name] for name in names}
