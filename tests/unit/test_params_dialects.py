"""HYPER_PARAMS, --set, JumpStart payloads and a model's own files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from textmill.core import Params
from textmill.errors import ParameterError
from textmill.params import (
    Layer,
    Resolver,
    model_parameters,
    parse_hyper_params,
    parse_setting,
    parse_settings,
    payload_parameters,
)

ARTICLE = {"batch_size": 4, "max_length": 50, "top_k": 50, "top_p": 0.95, "do_sample": True}


def refused(text: str) -> str:
    with pytest.raises(ParameterError) as caught:
        parse_hyper_params(text)
    assert caught.value.name == "HYPER_PARAMS"
    assert caught.value.hint == (
        "write a dict of parameters as JSON or as Python's str() gives it; "
        "leave HYPER_PARAMS unset to let records use their own"
    )
    return caught.value.rule


def test_the_article_s_hyper_params_are_read() -> None:
    assert parse_hyper_params(str(ARTICLE)) == ARTICLE
    assert parse_hyper_params(json.dumps(ARTICLE)) == ARTICLE
    base = Resolver([Layer("HYPER_PARAMS", parse_hyper_params(str(ARTICLE)))]).base
    assert base == Params(batch_size=4, max_new_tokens=49, do_sample=True, top_p=0.95)


def test_python_literals_keep_their_values() -> None:
    value = {"seed": None, "stop": ("it's", 'a "b"', "\n\t\\"), "x": [[1], [2, -3]], "y": 1e-3}
    assert parse_hyper_params(str(value)) == value
    assert parse_hyper_params("  {'a': 'b',}\n") == {"a": "b"}


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", 'Expecting value at character 1: ""'),
        ("None", "must be a dict of parameters"),
        ("[1]", "must be a dict of parameters"),
        ("{1: 2}", "has the key 1; keys must be strings"),
        ("{'a': 1, 'a': 2}", 'has the key "a" twice'),
        ('{"a": {"b": 1, "b": 2}}', 'has the key "b" twice'),
        ('{"a": 1', "Expecting ',' delimiter at character 8: {\"a\": 1"),
        ("{'a': 1,, }", "invalid syntax at character 9: {'a': 1,, }"),
        ("{'a': os}", 'unexpected "os" at character 7: ' + "{'a': os}"),
        ("{'a': -b}", 'unexpected "-" at character 7: ' + "{'a': -b}"),
        ("{'a': 1 -1}", "two numbers in a row at character 9: {'a': 1 -1}"),
        ("{'a': f'x'}", 'unexpected "f" at character 7: ' + "{'a': f'x'}"),
        (
            r"{'a': '\d'}",
            "a string that does not end or has a wrong escape at character 7: " + r"{'a': '\d'}",
        ),
        (
            r"{'a': '\/'}",
            "a JSON escape in a Python text at character 9: " + r"{'a': '\/'}",
        ),
        ("[" * 9, "is nested more than 8 deep at character 9: [[[[[[[[["),
        (" " * 10_241, "is 10241 characters long, at most 10240 are read"),
    ],
)
def test_what_cannot_be_read_says_why_and_where(text: str, rule: str) -> None:
    assert refused(text) == rule


def test_the_place_is_quoted_from_a_long_text() -> None:
    text = "{" + "'abc': 1, " * 200 + "'d': $}"
    assert refused(text) == 'unexpected "$" at character 2007: ' + "…: 1, 'abc': 1, 'd': $}"


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "{'a': __import__('os')}",
        "{'a': (lambda: 1)()}",
        "{'a': [x for x in (1,)]}",
        "{'a': 1 if 1 else 2}",
        "{**{}}",
        "{'a': 9**9**9}",
        "{'a': 'x'*10**9}",
        "not " * 2000 + "1",
        "-" * 10_000 + "1",
        "(" * 10_000,
        "1" * 10_000,
        "{'a': " + "1" * 9000 + "}",
        "{'a': b'x'}",
        "{'a', 'b'}",
        "{'a': 1}\x00",
        "{'a': 0777}",
        "{'a': '" + "\\" * 9001 + "'}",
    ],
)
def test_only_plain_data_is_read(text: str) -> None:
    """No expression, no deep recursion, no warning: each is a ParameterError."""
    refused(text)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("max_new_tokens=50", "max_new_tokens", 50),
        (" max_new_tokens = 50", "max_new_tokens", 50),
        ("top_p=0.9", "top_p", 0.9),
        ("do_sample=true", "do_sample", True),
        ("do_sample=True", "do_sample", True),
        ("do_sample=FALSE", "do_sample", False),
        ("early_stopping=never", "early_stopping", "never"),
        ("stop=foo", "stop", "foo"),
        ("stop=a=b", "stop", "a=b"),
        ("stop=5", "stop", "5"),
        ("stop=true", "stop", "true"),
        ("stop= ", "stop", " "),
        ("stop=[END]", "stop", "[END]"),
        ('stop="\\n"', "stop", "\n"),
        ('stop=["a", "b"]', "stop", ["a", "b"]),
        ("stop=[]", "stop", []),
        ("tgt_lang=no", "tgt_lang", "no"),
        ("seed=null", "seed", None),
        ("seed=None", "seed", None),
        ("suppress_tokens=[1, 2]", "suppress_tokens", [1, 2]),
        ("max_new_tokens=fifty", "max_new_tokens", "fifty"),
    ],
)
def test_settings_are_read_as_the_parameter_s_type_asks(text: str, name: str, value: Any) -> None:
    got = parse_setting(text)
    assert got == (name, value)
    assert type(got[1]) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_new_tokens", '--set="max_new_tokens": must be name=value, as in --set '),
        ("=5", '--set="=5": must be name=value, as in --set max_new_tokens=50'),
        ("max_lenght=5", "max_lenght=5: there is no such parameter"),
        ('stop=["a"', r'stop="[\"a\"": looks like JSON but is not: Expecting '),
    ],
)
def test_a_setting_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(ParameterError) as caught:
        parse_setting(text)
    assert str(caught.value).startswith(message)


def test_a_name_is_set_once() -> None:
    assert parse_settings(["top_k=5", "top_p=0.5"]) == {"top_k": 5, "top_p": 0.5}
    with pytest.raises(ParameterError, match="top_k=6: is set twice on the command line"):
        parse_settings(["top_k=5", "top_k=6"])


def test_a_payload_s_parameters_are_all_but_id_and_text() -> None:
    payload = {"id": 3, "text_inputs": "x", **ARTICLE}
    assert payload_parameters(payload) == ARTICLE


def test_generation_config_decides_where_it_exists() -> None:
    config = {"max_length": 99, "num_beams": 9, "d_model": 8}
    assert model_parameters({"num_beams": 2}, config) == {"num_beams": 2}


def test_older_models_say_it_in_config_json() -> None:
    config = {
        "d_model": 1024,
        "model_type": "bart",
        "num_beams": 4,
        "max_length": 142,
        "typical_p": 1.0,
        "eos_token_id": 2,
        "bos_token_id": 0,
        "force_bos_token_to_be_generated": True,
        "task_specific_params": {"summarization": {"max_length": 3}},
        "seed": 1,
    }
    assert model_parameters(None, config) == {
        "num_beams": 4,
        "max_length": 142,
        "typical_p": 1.0,
        "eos_token_id": 2,
        "bos_token_id": 0,
        "forced_bos_token_id": 0,
    }


def test_the_20_that_old_files_carry_is_not_a_wish() -> None:
    assert model_parameters(None, {"max_length": 20}) == {}
    assert model_parameters({"max_length": 20}, {}) == {"max_length": 20}
