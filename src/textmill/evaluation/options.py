"""What can be asked of a score, with the defaults that the command line and Python share.

Naming them must cost nothing: the command line does it for its help.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from textmill.errors import ParameterError

Tokenizer = Literal["rouge-score", "unicode", "cjk"]
Mean = Literal["exact", "bootstrap-median"]
Missing = Literal["zero", "skip", "fail"]
MAX_SEED = 2**32 - 1
MIN_SAMPLES, MAX_SAMPLES = 100, 1_000_000
"""Of fewer, the 2.5 % at each end are a handful of values; more take memory and say no more."""


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The fields that are read.

    on: the id; `PREDFIELD=REFFIELD` where the names differ. pred, baseline_pred: the predictions'
    text, None to look for it. ref: the references' text or texts, None for the only one.
    source: the text the model was given, in the references. by: the references' columns to slice
    by.
    """

    on: str = "id"
    pred: str | None = None
    baseline_pred: str | None = None
    ref: str | None = None
    source: str | None = None
    by: Sequence[str] = ()

    def check(self) -> None:
        """Raises `ParameterError` for what is no name, or no list of names."""
        for field in ("on", "pred", "baseline_pred", "ref", "source"):
            name = getattr(self, field)
            if not isinstance(name, str) and (name is not None or field == "on"):
                raise ParameterError(field, name, "must be the name of a field")
        if not is_names(self.by):
            raise ParameterError("by", self.by, "must be a list of names")


@dataclass(frozen=True, kw_only=True)
class How:
    """All that decides the numbers besides the files.

    metrics: any of `METRICS`; None for `DEFAULT_METRICS`, with a source copy_rate too.
    stemmer: compare the stems of English words. tokenizer: one of `TOKENIZERS`.
    missing: references without a prediction score 0, are left out, or are refused.
    mean: `bootstrap-median` gives ROUGE as `evaluate` does.
    samples: sets of records drawn for intervals; 0 for none. seed: where drawing starts.
    """

    metrics: Sequence[str] | None = None
    stemmer: bool = False
    tokenizer: Tokenizer = "rouge-score"
    missing: Missing = "zero"
    mean: Mean = "exact"
    samples: int = 1000
    seed: int = 12345

    def check(self) -> None:
        """Raises `ParameterError` for what cannot be; metrics and tokenizer are checked later."""
        for name, whole in (("samples", self.samples), ("seed", self.seed)):
            if not isinstance(whole, int) or isinstance(whole, bool):
                raise ParameterError(name, whole, "must be a whole number")
        for name, value, allowed in (
            ("missing", self.missing, get_args(Missing)),
            ("mean", self.mean, get_args(Mean)),
        ):
            if value not in allowed:
                raise ParameterError(name, value, f"is none of {', '.join(allowed)}")
        if self.samples and not MIN_SAMPLES <= self.samples <= MAX_SAMPLES:
            raise ParameterError(
                "samples",
                self.samples,
                f"must be 0, or from {MIN_SAMPLES} to {MAX_SAMPLES:,}",
                hint="1,000 do for most intervals, 10,000 for their third digit; 0 draws none",
            )
        if not 0 <= self.seed <= MAX_SEED:
            raise ParameterError("seed", self.seed, f"must be from 0 to {MAX_SEED}")
        if self.mean != "exact" and not self.samples:
            raise ParameterError("samples", 0, "mean=bootstrap-median needs samples")


def is_names(value: object) -> bool:
    """Whether a value is a list of texts, which one text alone is not."""
    if not isinstance(value, Collection) or isinstance(value, str | bytes):
        return False
    return all(isinstance(one, str) for one in value)


SIDES, HOW = Sides(), How()
"""The defaults."""


def beyond_default(options: Sides | How) -> dict[str, Any]:
    """Those of the options that somebody has set to something else, by name."""
    values = {field.name: getattr(options, field.name) for field in fields(options)}
    defaults = {field.name: field.default for field in fields(options)}
    return {name: value for name, value in values.items() if value != defaults[name]}
