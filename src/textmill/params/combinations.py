"""From the values that won to `core.Params`: the rules that hold between parameters.

Everything here is pure. What the rules refuse is a `ParameterError`; what they let pass without
effect is a `note`, a sentence without values, so that a job can print each once.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from textmill.core import Params
from textmill.params.refusal import refusal
from textmill.words import written


class Origin(StrEnum):
    """Where a value was said, farthest first: a later one beats an earlier one."""

    DEFAULT = "default"
    MODEL = "model"
    CATALOG = "catalog"
    HYPER_PARAMS = "HYPER_PARAMS"
    COMMAND = "command"
    RECORD = "record"

    @property
    def label(self) -> str:
        """How messages name it."""
        return _LABELS[self]

    @property
    def is_user(self) -> bool:
        """Whether the user of this job said it, rather than a publisher or textmill."""
        return self in (Origin.HYPER_PARAMS, Origin.COMMAND, Origin.RECORD)


_LABELS = {
    Origin.DEFAULT: "textmill's default",
    Origin.MODEL: "the model's generation config",
    Origin.CATALOG: "the catalog entry",
    Origin.HYPER_PARAMS: "HYPER_PARAMS",
    Origin.COMMAND: "the command",
    Origin.RECORD: "the record",
}


class Said(NamedTuple):
    """One value that a layer said.

    value: as the field of `core.Params` holds it.
    given, name: as it was written, and under which name.
    """

    value: Any
    given: Any
    name: str
    origin: Origin


Fields = Mapping[str, Said]
"""The winning value of every field of `core.Params`."""


class Combined(NamedTuple):
    """The parameters, and what about them has no effect."""

    params: Params
    notes: tuple[str, ...] = ()


def combine(fields: Fields) -> Combined:
    """Check the rules between parameters and build them.

    Values without effect are resolved to their defaults (`top_p` without sampling,
    `early_stopping` without beams), so that requests which differ in nothing else share batches
    and no engine has to refuse what it would not use. Raises `ParameterError`.
    """
    _check_sequences(fields)
    _check_forced_tokens(fields)
    values = {name: said.value for name, said in fields.items()}
    notes: list[str] = []
    _limit_min_length(fields, values, notes)
    _allow_end(fields, values, notes)
    if not values["do_sample"]:
        _drop(_SAMPLING, "do_sample is false", fields, values, notes)
    if values["num_beams"] == 1:
        _drop(_BEAMS, "num_beams is 1", fields, values, notes)
    return Combined(Params(**values), tuple(notes))


_DEFAULTS = Params()
_SAMPLING = ("temperature", "top_k", "top_p", "seed")
_BEAMS = ("length_penalty", "early_stopping", "renormalize_logits")


def _drop(
    names: tuple[str, ...],
    why: str,
    fields: Fields,
    values: dict[str, Any],
    notes: list[str],
) -> None:
    """Reset fields that have no effect; say so where a user set them, `seed` excepted."""
    for name in names:
        default = getattr(_DEFAULTS, name)
        if values[name] == default:
            continue
        values[name] = default
        said = fields[name]
        if said.origin.is_user and name != "seed":
            notes.append(f"{said.name} ({said.origin.label}) has no effect where {why}")


def _check_sequences(fields: Fields) -> None:
    """At most `num_beams` sequences from a beam search; any number of samples without beams."""
    wanted = fields["num_return_sequences"]
    beams = fields["num_beams"]
    sampling = fields["do_sample"].value
    if wanted.value <= beams.value or (sampling and beams.value == 1):
        return
    rule = f"must be at most num_beams, which is {beams.value} ({beams.origin.label})"
    hint = f"set num_beams={wanted.value} for the {wanted.value} best of a beam search"
    if sampling:
        hint += f", or num_beams=1 for {wanted.value} independent samples"
    elif beams.value == 1:
        hint += f", or do_sample=true for {wanted.value} samples"
    raise refusal(wanted.name, wanted.given, rule + _where(wanted), hint=hint)


def _check_forced_tokens(fields: Fields) -> None:
    """A token cannot be forced and suppressed: nothing would be left to choose."""
    suppressed = fields["suppress_tokens"]
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        forced = fields[name]
        if forced.value is not None and forced.value in suppressed.value:
            rule = f"must not hold token {forced.value}, which {forced.name} forces"
            hint = "to put the end off, use min_new_tokens" if "eos" in name else None
            raise refusal(suppressed.name, suppressed.given, rule + _where(suppressed), hint=hint)


def _limit_min_length(fields: Fields, values: dict[str, Any], notes: list[str]) -> None:
    """The shortest text must not be longer than the longest.

    A model's own minimum (BART's `min_length=56`) gives way to a nearer limit, exactly as in
    `generate`, which then never allows the end before that limit. A minimum that the user set is
    refused instead.
    """
    least, most = fields["min_new_tokens"], fields["max_new_tokens"]
    if least.value <= most.value:
        return
    if least.origin.is_user:
        limit = f"{most.name}={written(most.given)} ({most.origin.label}) allows {most.value}"
        rule = f"asks for at least {least.value} new tokens, but {limit}{_where(least)}"
        raise refusal(least.name, least.given, rule, hint="raise max_new_tokens or lower this one")
    values["min_new_tokens"] = most.value
    notes.append(
        f"{least.name} ({least.origin.label}) is over {most.name} ({most.origin.label}): "
        "texts run up to that limit and may end in mid-sentence"
    )


def _allow_end(fields: Fields, values: dict[str, Any], notes: list[str]) -> None:
    """A banned run that is just an end token is passed over, as `generate` does."""
    banned = fields["bad_words_ids"]
    ends = values["eos_token_ids"]
    kept = tuple(run for run in banned.value if len(run) > 1 or run[0] not in ends)
    if len(kept) == len(banned.value):
        return
    values["bad_words_ids"] = kept
    if banned.origin.is_user:
        notes.append(f"{banned.name} ({banned.origin.label}) cannot ban the end token: passed over")


def _where(said: Said) -> str:
    """The origin as a suffix for messages; a record's errors already name the record."""
    return "" if said.origin is Origin.RECORD else f"; set by {said.origin.label}"
