"""The one table of generation parameters.

It drives everything that knows a parameter: validation, precedence, the payload dialects, the
flags and `docs/reference/parameters.md`. Names and meanings are those of transformers' `generate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from textmill.errors import ParameterError, UnsupportedParameter
from textmill.params.domains import (
    Domain,
    Misfit,
    flag,
    flag_or_never,
    integer,
    lone_token_id,
    number,
    text,
    texts,
    token_id,
    token_ids,
    token_runs,
)
from textmill.params.foreign import PASSED_OVER, REFUSED
from textmill.params.refusal import closest, refusal

MAX_LENGTH = 1_000_000
MAX_SEQUENCES = 1024


class Group(StrEnum):
    """Chapters of the reference page."""

    LENGTH = "Length"
    SEARCH = "Search"
    SAMPLING = "Sampling"
    CONTENT = "What may appear"
    LANGUAGE = "Languages"
    RUNNING = "Running"
    MODEL = "Set by the model only"


class Parameter(Struct, frozen=True, kw_only=True):
    """One row of the table.

    doc: one paragraph for users, with units.
    field: the field of `core.Params` that it resolves to; None when nothing uses the value.
    default: textmill's own value; UNSET for a second way of saying another parameter's field.
    aliases: other names that mean the same.
    nullable: null is allowed and means the default, even over a value from a farther layer.
    counts_start: the value counts the decoder's start token, the field does not.
    model_only: users may not set it.
    hint: the way out, shown with every misfit.
    """

    name: str
    domain: Domain
    group: Group
    doc: str
    field: str | None
    default: Any = UNSET
    aliases: tuple[str, ...] = ()
    nullable: bool = False
    counts_start: bool = False
    model_only: bool = False
    hint: str | None = None

    @property
    def rule(self) -> str:
        """What is allowed, as a sentence after the name."""
        return f"{self.domain.rule}, or null" if self.nullable else self.domain.rule

    def read(self, name: str, value: object) -> Any:
        """The checked value. Raises `ParameterError` under `name`, the name that was used."""
        if value is None and self.nullable:
            return None
        try:
            return self.domain.read(value)
        except Misfit:
            raise refusal(name, value, self.rule, hint=self.hint) from None


def _row(
    name: str,
    domain: Domain,
    group: Group,
    doc: str,
    *,
    default: Any = UNSET,
    field: str | UnsetType | None = UNSET,
    **rest: Any,
) -> Parameter:
    """A row whose field is its own name unless said otherwise."""
    where = name if isinstance(field, UnsetType) else field
    return Parameter(
        name=name, domain=domain, group=group, doc=doc, field=where, default=default, **rest
    )


_LENGTH = (
    _row(
        "max_new_tokens",
        integer(1, MAX_LENGTH),
        Group.LENGTH,
        "The most tokens to generate for one sequence. The end token counts, and so does a forced "
        "first token; the decoder's start token does not. A sequence that meets it is cut, and the "
        "result says so. transformers' own default of 20 tokens never applies: where neither the "
        "model nor you give a length, it is 256.",
        default=256,
        aliases=("num_new_tokens",),
    ),
    _row(
        "max_length",
        integer(2, MAX_LENGTH),
        Group.LENGTH,
        "The same limit, counting the decoder's start token as transformers does for "
        "encoder-decoder models: `max_length=50` means `max_new_tokens=49`. The input's length "
        "plays no part.",
        field="max_new_tokens",
        counts_start=True,
        hint="max_length counts the decoder's start token; max_new_tokens does not",
    ),
    _row(
        "min_new_tokens",
        integer(0, MAX_LENGTH),
        Group.LENGTH,
        "The end token is not allowed before this many tokens were generated.",
        default=0,
    ),
    _row(
        "min_length",
        integer(0, MAX_LENGTH),
        Group.LENGTH,
        "The same limit, counting the decoder's start token: `min_length=56` means "
        "`min_new_tokens=55`.",
        field="min_new_tokens",
        counts_start=True,
    ),
    _row(
        "max_time",
        number(0.001, 1_000_000, unit="seconds"),
        Group.LENGTH,
        "Seconds of computing after which a sequence is ended where it stands; the step under way "
        "is still finished. Null means no limit.",
        default=None,
        nullable=True,
    ),
    _row(
        "stop",
        texts(64, 1000),
        Group.LENGTH,
        "A text, or a list of texts, that ends a sequence as soon as it has appeared in it.",
        default=(),
        aliases=("stop_strings",),
        nullable=True,
    ),
)

_SEARCH = (
    _row(
        "num_beams",
        integer(1, MAX_SEQUENCES),
        Group.SEARCH,
        "Width of the beam search. 1 means no beam search.",
        default=1,
    ),
    _row(
        "num_return_sequences",
        integer(1, MAX_SEQUENCES),
        Group.SEARCH,
        "How many texts to return for each input: the best of a beam search, at most `num_beams`, "
        "or, with `do_sample` and `num_beams=1`, that many independent samples.",
        default=1,
    ),
    _row(
        "length_penalty",
        number(-10, 10),
        Group.SEARCH,
        "Beam search divides a sequence's log-probability by its length to this power: over 0 "
        "favours longer texts, under 0 shorter ones. No effect without beams.",
        default=1.0,
    ),
    _row(
        "early_stopping",
        flag_or_never(),
        Group.SEARCH,
        "When a beam search ends: true, as soon as `num_beams` sequences are complete; false, when "
        'better ones are unlikely; "never", only when there cannot be better ones. No effect '
        "without beams.",
        default=False,
    ),
    _row(
        "renormalize_logits",
        flag(),
        Group.SEARCH,
        "In a beam search, make the probabilities sum to 1 again after tokens were ruled out. "
        "Marian models are published with it. No effect without beams.",
        default=False,
    ),
)

_SAMPLING = (
    _row(
        "do_sample",
        flag(),
        Group.SAMPLING,
        "Draw each token by chance instead of taking the most likely one.",
        default=False,
    ),
    _row(
        "temperature",
        number(0.001, 1000),
        Group.SAMPLING,
        "Divides the scores before sampling: under 1 makes likely tokens likelier, over 1 evens "
        "them out. No effect without `do_sample`.",
        default=1.0,
        hint="for the most likely text leave do_sample off instead of lowering the temperature",
    ),
    _row(
        "top_k",
        integer(0, 1_000_000),
        Group.SAMPLING,
        "Sample among this many most likely tokens only; 0 means all. No effect without "
        "`do_sample`.",
        default=50,
    ),
    _row(
        "top_p",
        number(0, 1),
        Group.SAMPLING,
        "Sample among the fewest most likely tokens whose probabilities sum to this; 1 means all. "
        "No effect without `do_sample`.",
        default=1.0,
    ),
    _row(
        "seed",
        integer(0, 2**32 - 1),
        Group.SAMPLING,
        "The same seed gives the same texts, as long as the same records share a batch; a job's "
        "batches are the same in every run. Null: the job's own, which is `--seed` or else 0. "
        "No effect without `do_sample`.",
        default=None,
        nullable=True,
    ),
)

_CONTENT = (
    _row(
        "no_repeat_ngram_size",
        integer(0, 1000),
        Group.CONTENT,
        "No run of this many tokens may appear twice in a text; 0 means no such rule.",
        default=0,
    ),
    _row(
        "repetition_penalty",
        number(0.001, 1000),
        Group.CONTENT,
        "Over 1 makes tokens that were generated already less likely, under 1 likelier.",
        default=1.0,
    ),
    _row(
        "bad_words_ids",
        token_runs(100_000, 64),
        Group.CONTENT,
        "Runs of token ids that may not be generated. A run that is just the end token is passed "
        "over, as transformers does; use `min_new_tokens` to put the end off.",
        default=(),
        nullable=True,
    ),
    _row(
        "suppress_tokens",
        token_ids(0, 1_000_000),
        Group.CONTENT,
        "Token ids that may not be generated.",
        default=(),
        nullable=True,
    ),
)

_LANGUAGE = (
    _row(
        "src_lang",
        text(64),
        Group.LANGUAGE,
        "Language of the input, in the model's own spelling (`en`, `eng_Latn`, `en_XX`). Only for "
        "models with language tokens.",
        default=None,
        nullable=True,
    ),
    _row(
        "tgt_lang",
        text(64),
        Group.LANGUAGE,
        "Language to translate into, in the model's own spelling: its token is forced as the "
        "first one. Only for models with language tokens.",
        field="forced_bos_token_id",
        nullable=True,
    ),
    _row(
        "forced_bos_token_id",
        token_id(),
        Group.LANGUAGE,
        "Token id that every text begins with, after the decoder's start token. It counts as a "
        "new token and is left out of the text.",
        default=None,
        nullable=True,
    ),
    _row(
        "forced_eos_token_id",
        lone_token_id(),
        Group.LANGUAGE,
        "Token id that is forced as the last one when the length limit is met.",
        default=None,
        nullable=True,
    ),
)

_RUNNING = (
    _row(
        "batch_size",
        integer(1, 65_536),
        Group.RUNNING,
        "The most texts to compute at once; lower it when memory runs out. It does not change the "
        "texts. Null leaves it to the token budget.",
        default=None,
        nullable=True,
    ),
)

_MODEL = (
    _row(
        "decoder_start_token_id",
        lone_token_id(),
        Group.MODEL,
        "Token id that the decoder starts from. Where it is missing, `bos_token_id` is taken.",
        default=0,
        model_only=True,
    ),
    _row(
        "eos_token_id",
        token_ids(1, 64),
        Group.MODEL,
        "Token ids that end a text.",
        field="eos_token_ids",
        default=(1,),
        model_only=True,
    ),
    _row(
        "bos_token_id",
        token_id(),
        Group.MODEL,
        "Token id of a text's beginning; only used where `decoder_start_token_id` is missing.",
        field=None,
        model_only=True,
    ),
    _row(
        "pad_token_id",
        token_id(-1),
        Group.MODEL,
        "Token id that fills a batch up; the texts do not depend on it.",
        field=None,
        model_only=True,
    ),
)

PARAMETERS: tuple[Parameter, ...] = (
    *_LENGTH,
    *_SEARCH,
    *_SAMPLING,
    *_CONTENT,
    *_LANGUAGE,
    *_RUNNING,
    *_MODEL,
)

BY_NAME: Mapping[str, Parameter] = {
    name: parameter for parameter in PARAMETERS for name in (parameter.name, *parameter.aliases)
}

USER_NAMES: frozenset[str] = frozenset(
    name for name, parameter in BY_NAME.items() if not parameter.model_only
)
"""Every name, aliases included, that a record, a request or a command may use."""

OWN_NAMES: frozenset[str] = frozenset(
    {"batch_size", "num_new_tokens", "seed", "src_lang", "stop", "tgt_lang"}
)
"""Names that transformers' GenerationConfig does not have; in a model's file they mean nothing."""

_NO_SUCH = "there is no such parameter"
_REFERENCE = "docs/reference/parameters.md lists them all"


def user_parameter(name: object, value: object) -> Parameter:
    """The row for a name that a user gave with `value`.

    Raises `UnsupportedParameter` for names of transformers that textmill does not have and for
    names that belong to the model, `ParameterError` for any other.
    """
    parameter = BY_NAME.get(name) if isinstance(name, str) else None
    if parameter is None:
        raise _unknown(name, value)
    if parameter.model_only:
        rule = "belongs to the model and cannot be set"
        raise refusal(name, value, rule, kind=UnsupportedParameter)
    return parameter


def check(name: str, value: object) -> Any:
    """The value of one parameter as a user may give it. Raises `ParameterError`."""
    return user_parameter(name, value).read(name, value)


def _unknown(name: object, value: object) -> ParameterError:
    if isinstance(name, str) and name in REFUSED:
        rule = f"textmill does not have this parameter of transformers ({REFUSED[name].what})"
        return refusal(name, value, rule, kind=UnsupportedParameter)
    if isinstance(name, str) and name in PASSED_OVER:
        rule = "textmill does not have this setting of transformers; it does not change the texts"
        return refusal(name, value, rule, hint="leave it out", kind=UnsupportedParameter)
    meant = closest(name, USER_NAMES) if isinstance(name, str) else None
    hint = f"did you mean {meant}?" if meant else _REFERENCE
    return refusal(name, value, _NO_SUCH, hint=hint)
