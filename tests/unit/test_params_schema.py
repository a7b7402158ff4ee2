"""Every rule of the parameter table, with the message that a user sees."""

from __future__ import annotations

import math

import msgspec
import pytest

from textmill.core import Params
from textmill.errors import ParameterError, UnsupportedParameter
from textmill.params import PARAMETERS, USER_NAMES, check
from textmill.params.foreign import PASSED_OVER, REFUSED
from textmill.params.schema import BY_NAME, OWN_NAMES
from textmill.words import written


def message(name: str, value: object) -> str:
    with pytest.raises(ParameterError) as caught:
        check(name, value)
    return caught.value.message


def hint(name: str, value: object) -> str | None:
    with pytest.raises(ParameterError) as caught:
        check(name, value)
    return caught.value.hint


def test_every_field_of_params_has_one_row_with_its_default() -> None:
    """The table and core.Params cannot drift apart."""
    defaults = {row.field: row.default for row in PARAMETERS if row.default is not msgspec.UNSET}
    assert defaults == msgspec.structs.asdict(Params())


def test_every_row_has_a_paragraph_and_a_rule() -> None:
    for row in PARAMETERS:
        assert row.doc.endswith("."), row.name
        assert row.rule.startswith("must be "), row.name


def test_no_name_means_two_things() -> None:
    names = [name for row in PARAMETERS for name in (row.name, *row.aliases)]
    assert len(names) == len(set(names)) == len(BY_NAME)
    assert not (
        set(names) & REFUSED.keys() | set(names) & PASSED_OVER | REFUSED.keys() & PASSED_OVER
    )
    assert OWN_NAMES <= USER_NAMES


def test_every_default_is_in_its_own_domain() -> None:
    for row in PARAMETERS:
        if row.default is not msgspec.UNSET:
            assert row.read(row.name, row.default) == row.default


INTEGER_RULES = {
    "max_new_tokens": (1, 1_000_000),
    "num_new_tokens": (1, 1_000_000),
    "max_length": (2, 1_000_000),
    "min_new_tokens": (0, 1_000_000),
    "min_length": (0, 1_000_000),
    "num_beams": (1, 1024),
    "num_return_sequences": (1, 1024),
    "no_repeat_ngram_size": (0, 1000),
    "top_k": (0, 1_000_000),
}


@pytest.mark.parametrize(("name", "low", "high"), [(n, *r) for n, r in INTEGER_RULES.items()])
def test_integers_are_checked_for_type_and_range(name: str, low: int, high: int) -> None:
    rule = f"must be an integer from {low} to {high}"
    assert [check(name, value) for value in (low, high, float(high))] == [low, high, high]
    for wrong in (low - 1, high + 1, 1.5, math.nan, math.inf, True, False, None, "5", [5], {}):
        assert message(name, wrong) == f"{name}={written(wrong)}: {rule}"


NUMBER_RULES = {
    "length_penalty": (-10, 10, "must be a number from -10 to 10"),
    "temperature": (0.001, 1000, "must be a number from 0.001 to 1000"),
    "repetition_penalty": (0.001, 1000, "must be a number from 0.001 to 1000"),
    "top_p": (0, 1, "must be a number from 0 to 1"),
}


@pytest.mark.parametrize(
    ("name", "low", "high", "rule"), [(n, *r) for n, r in NUMBER_RULES.items()]
)
def test_numbers_are_checked_for_type_and_range(
    name: str, low: float, high: float, rule: str
) -> None:
    for right in (low, high, 1, 1.0, 0.5):
        assert check(name, right) == right
        assert type(check(name, right)) is float
    for wrong in (low - 0.1, high + 0.1, math.nan, math.inf, -math.inf, True, None, "1", 10**80):
        assert message(name, wrong) == f"{name}={written(wrong)}: {rule}"
    assert message(name, 10**80) == f"{name}=an integer of 266 bits: {rule}"


@pytest.mark.parametrize("name", ["do_sample", "renormalize_logits"])
def test_flags_take_true_and_false_only(name: str) -> None:
    assert [check(name, True), check(name, False)] == [True, False]
    for wrong in (1, 0, "true", None):
        assert message(name, wrong) == f"{name}={written(wrong)}: must be true or false"


def test_early_stopping_also_takes_never() -> None:
    assert [check("early_stopping", v) for v in (True, False, "never")] == [True, False, "never"]
    for wrong in ("always", 1, 0, None):
        rule = 'must be true, false or "never"'
        assert message("early_stopping", wrong) == f"early_stopping={written(wrong)}: {rule}"


def test_nullable_parameters_take_null() -> None:
    assert {row.name for row in PARAMETERS if row.nullable} == {
        "batch_size",
        "bad_words_ids",
        "forced_bos_token_id",
        "forced_eos_token_id",
        "max_time",
        "seed",
        "src_lang",
        "stop",
        "suppress_tokens",
        "tgt_lang",
    }
    assert check("seed", None) is None
    assert message("seed", -1) == "seed=-1: must be an integer from 0 to 4294967295, or null"
    assert message("batch_size", 0) == "batch_size=0: must be an integer from 1 to 65536, or null"
    assert (
        message("max_time", 0)
        == "max_time=0: must be a number of seconds from 0.001 to 1000000, or null"
    )


def test_stop_takes_a_text_or_a_list_of_texts() -> None:
    assert check("stop", "END") == ("END",)
    assert check("stop_strings", ["a", "b"]) == ("a", "b")
    assert check("stop", []) == ()
    rule = "must be a text, or a list of at most 64 texts, of 1 to 1000 characters each, or null"
    for wrong in ("", [""], [1], 5, "\ud800", {"a": 1}):
        assert message("stop", wrong) == f"stop={written(wrong)}: {rule}"


def test_languages_are_texts() -> None:
    assert check("tgt_lang", "fra_Latn") == "fra_Latn"
    rule = "must be a text of 1 to 64 characters, or null"
    assert message("src_lang", "") == f'src_lang="": {rule}'


def test_token_lists() -> None:
    assert check("suppress_tokens", [3, 4.0]) == (3, 4)
    assert check("suppress_tokens", 3) == (3,)
    assert check("bad_words_ids", [[1], [2, 3]]) == ((1,), (2, 3))
    assert check("forced_eos_token_id", [2]) == check("forced_eos_token_id", 2) == 2
    for name, wrong in (
        ("suppress_tokens", [True]),
        ("suppress_tokens", [-1]),
        ("suppress_tokens", "12"),
        ("bad_words_ids", [[]]),
        ("bad_words_ids", [5]),
        ("forced_eos_token_id", [1, 2]),
        ("forced_eos_token_id", 2**31),
        ("forced_bos_token_id", [1]),
    ):
        assert message(name, wrong).startswith(f"{name}={written(wrong)}: must be ")


def test_an_unknown_name_suggests_the_nearest() -> None:
    assert message("max_lenght", 5) == "max_lenght=5: there is no such parameter"
    assert hint("max_lenght", 5) == "did you mean max_length?"
    assert hint("max_tokens", 5) == "did you mean max_new_tokens?"
    assert hint("TopK", 5) == "did you mean top_k?"
    assert hint("colour", 5) == "docs/reference/parameters.md lists them all"


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_user_never_gets_a_refused_parameter_even_with_its_neutral_value(name: str) -> None:
    for value in (None, *REFUSED[name].neutral, 7):
        with pytest.raises(UnsupportedParameter) as caught:
            check(name, value)
        what = REFUSED[name].what
        assert (
            caught.value.rule == f"textmill does not have this parameter of transformers ({what})"
        )


def test_settings_of_how_transformers_computes_are_refused_to_users() -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        check("use_cache", True)
    assert str(caught.value) == (
        "use_cache=true: textmill does not have this setting of transformers; "
        "it does not change the texts\n  leave it out"
    )


@pytest.mark.parametrize(
    "name", ["decoder_start_token_id", "eos_token_id", "bos_token_id", "pad_token_id"]
)
def test_what_belongs_to_the_model_cannot_be_set(name: str) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        check(name, 3)
    assert str(caught.value) == f"{name}=3: belongs to the model and cannot be set"


def test_hints_name_the_way_out() -> None:
    assert hint("temperature", 0) == (
        "for the most likely text leave do_sample off instead of lowering the temperature"
    )
    assert hint("max_length", 1) == (
        "max_length counts the decoder's start token; max_new_tokens does not"
    )


def test_messages_stay_short_whatever_was_given() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for name, value in (
        ("stop", "x" * 10_000_000),
        ("top_k", deep),
        ("top_k", 10**5000),
        ("suppress_tokens", ["y" * 1000] * 1000),
        ("suppress_tokens", [10**5000, 10**5000]),
        ("top_k", {"k" * 1000: "v" * 1000}),
        ("n" * 1_000_000, 1),
        ("line\nbreak", 1),
    ):
        text = message(name, value)
        assert len(text) < 400
        assert "\n" not in text
