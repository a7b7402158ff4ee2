"""Which layer wins, and the rules between parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from textmill.core import Params
from textmill.errors import ParameterError, UnsupportedParameter
from textmill.params import Layer, Origin, Resolver
from textmill.words import written

BART_CNN = {
    "_from_model_config": True,
    "bos_token_id": 0,
    "decoder_start_token_id": 2,
    "early_stopping": True,
    "eos_token_id": 2,
    "forced_bos_token_id": 0,
    "forced_eos_token_id": 2,
    "length_penalty": 2.0,
    "max_length": 142,
    "min_length": 56,
    "no_repeat_ngram_size": 3,
    "num_beams": 4,
    "pad_token_id": 1,
    "transformers_version": "4.27.0.dev0",
}
MARIAN = {
    "_from_model_config": True,
    "bad_words_ids": [[58100]],
    "bos_token_id": 0,
    "decoder_start_token_id": 58100,
    "eos_token_id": 0,
    "forced_eos_token_id": 0,
    "max_length": 512,
    "num_beams": 4,
    "pad_token_id": 58100,
    "renormalize_logits": True,
    "transformers_version": "4.32.0",
}
FLAN_T5 = {"_from_model_config": True, "decoder_start_token_id": 0, "eos_token_id": 1}


def resolver(**layers: Mapping[str, Any]) -> Resolver:
    return Resolver([Layer(origin, values) for origin, values in layers.items()])


def error(**layers: Mapping[str, Any]) -> str:
    """The whole message that these layers are refused with."""
    record = layers.pop("record", None)
    with pytest.raises(ParameterError) as caught:
        resolver(**layers).for_record(record)
    return str(caught.value)


def test_nothing_said_gives_the_defaults_and_says_so() -> None:
    r = resolver()
    assert r.base == Params()
    assert r.provenance["max_new_tokens"] == (256, "default")
    assert {origin for _, origin in r.provenance.values()} == {"default"}


def test_the_20_token_default_of_transformers_never_applies() -> None:
    r = resolver(model=FLAN_T5)
    assert r.base.max_new_tokens == 256
    assert r.provenance["max_new_tokens"] == (256, "default")
    assert r.provenance["eos_token_id"] == (1, "model")


def test_the_nearer_layer_wins_field_by_field() -> None:
    layers = [Layer(o, {"top_k": i}) for i, o in enumerate(Origin) if o != "record"]
    for count in range(1, len(layers) + 1):
        r = Resolver([*reversed(layers[:count]), Layer("command", {"do_sample": True})])
        assert r.base.top_k == count - 1
        assert r.for_record({"top_k": 77}).top_k == 77


def test_an_unknown_origin_is_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        Resolver([Layer("nowhere", {})])


def test_bart_generation_config_is_honoured() -> None:
    assert resolver(model=BART_CNN).base == Params(
        max_new_tokens=141,
        min_new_tokens=55,
        num_beams=4,
        length_penalty=2.0,
        early_stopping=True,
        no_repeat_ngram_size=3,
        forced_bos_token_id=0,
        forced_eos_token_id=2,
        decoder_start_token_id=2,
        eos_token_ids=(2,),
    )


def test_marian_generation_config_is_honoured() -> None:
    base = resolver(model=MARIAN).base
    assert base.renormalize_logits is True
    assert base.bad_words_ids == ((58100,),)
    assert (base.num_beams, base.max_new_tokens, base.eos_token_ids) == (4, 511, (0,))


def test_the_decoder_starts_from_bos_where_no_start_is_given() -> None:
    assert resolver(model={"bos_token_id": 9}).base.decoder_start_token_id == 9
    both = {"bos_token_id": 9, "decoder_start_token_id": 8}
    assert resolver(model=both).base.decoder_start_token_id == 8


def test_null_in_a_model_is_not_said() -> None:
    base = resolver(model={"max_length": None, "eos_token_id": None, "top_k": None}).base
    assert base == Params()


def test_a_list_of_end_tokens_is_kept() -> None:
    assert resolver(model={"eos_token_id": [2, 5]}).base.eos_token_ids == (2, 5)


def test_in_a_model_max_new_tokens_wins_over_max_length() -> None:
    for model in (
        {"max_length": 20, "max_new_tokens": 64, "min_new_tokens": 3, "min_length": 9},
        {"max_new_tokens": 64, "max_length": 20, "min_length": 9, "min_new_tokens": 3},
    ):
        base = resolver(model=model).base
        assert (base.max_new_tokens, base.min_new_tokens) == (64, 3)


def test_a_neutral_value_of_a_refused_parameter_passes() -> None:
    model = {"num_beam_groups": 1, "typical_p": 1.0, "diversity_penalty": 0.0, "min_p": None}
    r = resolver(model=model)
    assert r.base == Params()
    assert r.notes == ()


def test_a_refused_parameter_of_a_model_is_an_error_that_names_it() -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        resolver(model={"min_p": 0.05})
    assert str(caught.value) == (
        "min_p=0.05: textmill does not have this parameter of transformers (min-p sampling); "
        "set by the model's generation config\n"
        "  without it the model's texts would differ from what its publisher intended; "
        "remove it from generation_config.json to run the model all the same"
    )


def test_a_wrong_value_of_a_model_says_where_it_comes_from() -> None:
    assert error(model={"num_beams": "four"}) == (
        'num_beams="four": must be an integer from 1 to 1024; set by the model\'s generation config'
    )


def test_keys_nobody_knows_are_passed_over_and_noted() -> None:
    r = resolver(model={"lang_to_id": {}, "seed": 5, "use_cache": True, "output_scores": True})
    assert r.base == Params()
    assert r.notes == (
        "passed over in the model's generation config, unknown to generate too: lang_to_id, seed",
    )


def test_max_length_counts_the_start_token() -> None:
    assert resolver(command={"max_length": 50}).base.max_new_tokens == 49
    assert resolver(command={"max_length": 2}).base.max_new_tokens == 1
    assert resolver(command={"min_length": 10}).base.min_new_tokens == 9
    assert resolver(command={"min_length": 0}).base.min_new_tokens == 0


def test_the_nearer_length_wins_whichever_way_it_is_said() -> None:
    r = resolver(model={"max_new_tokens": 32}, command={"max_length": 50})
    assert r.base.max_new_tokens == 49
    assert r.provenance["max_length"] == (50, "command")
    assert "max_new_tokens" not in r.provenance
    assert r.for_record({"num_new_tokens": 7}).max_new_tokens == 7


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("max_length", "max_new_tokens"),
        ("num_new_tokens", "max_new_tokens"),
        ("min_length", "min_new_tokens"),
        ("stop", "stop_strings"),
        ("forced_bos_token_id", "tgt_lang"),
    ],
)
def test_one_layer_says_a_field_once(first: str, second: str) -> None:
    values = {"stop": "a", "stop_strings": "a", "tgt_lang": "fr"}
    pair = {first: values.get(first, 5), second: values.get(second, 5)}
    with pytest.raises(ParameterError) as caught:
        Resolver([], language_token_id=lambda _: 3).for_record(pair)
    shown = written(values.get(second, 5))
    assert str(caught.value) == (
        f"{second}={shown}: cannot be given together with {first}\n  give one of them"
    )


def test_a_user_may_switch_off_what_the_model_says() -> None:
    r = resolver(model=BART_CNN)
    off = r.for_record({"forced_bos_token_id": None, "forced_eos_token_id": None})
    assert (off.forced_bos_token_id, off.forced_eos_token_id) == (None, None)
    assert resolver(model=MARIAN).for_record({"bad_words_ids": None}).bad_words_ids == ()
    assert resolver(command={"stop": "x"}).for_record({"stop": None}).stop == ()


def test_null_is_not_a_value_of_a_length() -> None:
    assert error(record={"max_length": None}) == (
        "max_length=null: must be an integer from 2 to 1000000\n"
        "  max_length counts the decoder's start token; max_new_tokens does not"
    )


def test_tgt_lang_forces_its_token() -> None:
    ids = {"fr": 7, "de": 8}
    r = Resolver(
        [Layer("model", {"forced_bos_token_id": 1}), Layer("command", {"tgt_lang": "fr"})],
        language_token_id=ids.__getitem__,
    )
    assert r.base.forced_bos_token_id == 7
    assert r.provenance["tgt_lang"] == ("fr", "command")
    assert r.for_record({"tgt_lang": "de"}).forced_bos_token_id == 8
    assert r.for_record({"tgt_lang": None}).forced_bos_token_id is None
    assert r.for_record({"forced_bos_token_id": 3}).forced_bos_token_id == 3


def test_a_language_the_model_does_not_know() -> None:
    def unknown(lang: str) -> int:
        raise ParameterError("tgt_lang", lang, "is not a language of this model")

    with pytest.raises(ParameterError, match=r"xx.*is not a language of this model; set by HYPER"):
        Resolver([Layer("HYPER_PARAMS", {"tgt_lang": "xx"})], language_token_id=unknown)


def test_a_model_without_languages_refuses_tgt_lang() -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        resolver().for_record({"tgt_lang": "fr"})
    assert str(caught.value) == (
        'tgt_lang="fr": this model has no language tokens\n'
        "  say the language in the prompt, if the model takes it there"
    )


def test_records_are_counted_where_hyper_params_overrule_them() -> None:
    r = Resolver([Layer("HYPER_PARAMS", {"top_k": 3})], record_params_ignored=True)
    assert r.for_record({"max_length": "not even checked"}) is r.base
    assert r.for_record(None) is r.base
    assert r.for_record({}) is r.base
    assert r.records_ignored == 1


def test_the_command_beats_hyper_params() -> None:
    r = resolver(HYPER_PARAMS={"max_length": 50, "num_beams": 2}, command={"max_length": 30})
    assert (r.base.max_new_tokens, r.base.num_beams) == (29, 2)


def test_a_record_without_parameters_gets_the_base_itself() -> None:
    r = resolver(command={"num_beams": 4})
    assert r.for_record(None) is r.base
    assert r.for_record({}) is r.base


def test_equal_parameters_are_resolved_once() -> None:
    r = resolver()
    assert r.for_record({"num_beams": 2}) is r.for_record({"num_beams": 2})


def test_the_cache_tells_true_from_one() -> None:
    r = resolver()
    assert r.for_record({"num_beams": 1}).num_beams == 1
    with pytest.raises(ParameterError, match="num_beams=true: must be an integer"):
        r.for_record({"num_beams": True})


def test_the_cache_stays_bounded() -> None:
    r = resolver()
    found = [r.for_record({"seed": i, "do_sample": True}).seed for i in range(10_000)]
    assert found == list(range(10_000))
    assert len(r._cache) <= 4096


def test_parameters_that_cannot_be_a_key_are_resolved_all_the_same() -> None:
    assert error(record={"top_k": 2**70}).startswith("top_k=1180591620717411303424: must be an int")
    assert error(record={"stop": "\ud800"}).startswith('stop="\\ud800": must be a text')


def test_greedy_search_returns_one_sequence() -> None:
    assert error(record={"num_return_sequences": 3}) == (
        "num_return_sequences=3: must be at most num_beams, which is 1 (textmill's default)\n"
        "  set num_beams=3 for the 3 best of a beam search, or do_sample=true for 3 samples"
    )


def test_a_beam_search_returns_at_most_its_beams() -> None:
    assert error(model=BART_CNN, command={"num_return_sequences": 5}) == (
        "num_return_sequences=5: must be at most num_beams, which is 4 "
        "(the model's generation config); set by the command\n"
        "  set num_beams=5 for the 5 best of a beam search"
    )
    assert error(model=BART_CNN, record={"num_return_sequences": 5, "do_sample": True}) == (
        "num_return_sequences=5: must be at most num_beams, which is 4 "
        "(the model's generation config)\n"
        "  set num_beams=5 for the 5 best of a beam search, "
        "or num_beams=1 for 5 independent samples"
    )
    samples = {"num_return_sequences": 5, "do_sample": True, "num_beams": 1}
    assert resolver(model=BART_CNN).for_record(samples).num_return_sequences == 5


def test_a_model_s_minimum_gives_way_to_a_nearer_limit_and_says_so() -> None:
    r = resolver(model=BART_CNN, HYPER_PARAMS={"max_length": 50})
    assert (r.base.min_new_tokens, r.base.max_new_tokens) == (49, 49)
    assert r.notes == (
        "min_length (the model's generation config) is over max_length (HYPER_PARAMS): "
        "texts run up to that limit and may end in mid-sentence",
    )


def test_a_user_s_minimum_over_the_limit_is_an_error() -> None:
    hint = "\n  raise max_new_tokens or lower this one"
    assert error(command={"min_length": 300}) == (
        "min_length=300: asks for at least 299 new tokens, but max_new_tokens=256 "
        "(textmill's default) allows 256; set by the command" + hint
    )
    assert error(command={"min_new_tokens": 60}, record={"max_length": 50}) == (
        "min_new_tokens=60: asks for at least 60 new tokens, but max_length=50 (the record) "
        "allows 49; set by the command" + hint
    )


def test_sampling_parameters_without_sampling_pass_without_effect() -> None:
    """JumpStart's samples carry top_k and top_p without do_sample; they keep working."""
    r = resolver(command={"max_length": 50, "top_k": 50, "top_p": 0.95, "seed": 3})
    assert r.base == Params(max_new_tokens=49)
    assert r.notes == ("top_p (the command) has no effect where do_sample is false",)
    assert r.provenance["top_p"] == (0.95, "command")
    assert r.for_record({"do_sample": True}) == Params(
        max_new_tokens=49, do_sample=True, top_p=0.95, seed=3
    )


def test_a_note_of_records_appears_once() -> None:
    r = resolver()
    for temperature in (0.5, 0.6):
        r.for_record({"temperature": temperature})
    assert r.notes == ("temperature (the record) has no effect where do_sample is false",)


def test_beam_parameters_without_beams_pass_without_effect() -> None:
    r = resolver(model=BART_CNN, command={"num_beams": 1})
    assert (r.base.length_penalty, r.base.early_stopping) == (1.0, False)
    assert r.notes == ()
    r.for_record({"early_stopping": "never"})
    assert r.notes == ("early_stopping (the record) has no effect where num_beams is 1",)


def test_a_wrong_value_is_an_error_even_without_effect() -> None:
    assert error(record={"top_p": 2}) == "top_p=2: must be a number from 0 to 1"


def test_a_token_cannot_be_forced_and_suppressed() -> None:
    assert error(model=BART_CNN, command={"suppress_tokens": [2, 7]}) == (
        "suppress_tokens=[2, 7]: must not hold token 2, which forced_eos_token_id forces; "
        "set by the command\n  to put the end off, use min_new_tokens"
    )
    assert error(record={"suppress_tokens": [7], "forced_bos_token_id": 7}) == (
        "suppress_tokens=[7]: must not hold token 7, which forced_bos_token_id forces"
    )


def test_the_end_token_cannot_be_a_bad_word() -> None:
    r = resolver(command={"bad_words_ids": [[1], [1, 4], [5]]})
    assert r.base.bad_words_ids == ((1, 4), (5,))
    assert r.notes == ("bad_words_ids (the command) cannot ban the end token: passed over",)


def test_errors_of_the_layers_come_before_any_record() -> None:
    assert error(HYPER_PARAMS={"max_lenght": 5}) == (
        "max_lenght=5: there is no such parameter; set by HYPER_PARAMS\n  did you mean max_length?"
    )
