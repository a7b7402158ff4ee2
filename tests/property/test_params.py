"""Invariants of precedence and of the parameter readers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from textmill.core import Params
from textmill.errors import ParameterError
from textmill.params import USER_NAMES, Layer, Origin, Resolver, parse_hyper_params, parse_setting
from textmill.params.foreign import PASSED_OVER, REFUSED

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(0, 60)
    | st.floats()
    | st.floats(0, 1)
    | st.text(st.characters(), max_size=8)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
ANY_NAMES = st.sampled_from(sorted(USER_NAMES | REFUSED.keys() | PASSED_OVER)) | st.text()
ANY_OBJECTS = st.dictionaries(ANY_NAMES, JSON, max_size=5)

VALID = {
    "max_new_tokens": st.integers(60, 300),
    "max_length": st.integers(62, 300),
    "min_new_tokens": st.integers(0, 59),
    "min_length": st.integers(0, 60),
    "num_beams": st.integers(1, 8),
    "length_penalty": st.floats(-2, 2),
    "early_stopping": st.booleans() | st.just("never"),
    "do_sample": st.booleans(),
    "temperature": st.floats(0.1, 2),
    "top_k": st.integers(0, 100),
    "top_p": st.floats(0, 1),
    "seed": st.none() | st.integers(0, 2**32 - 1),
    "stop": st.none() | st.lists(st.text(st.characters(codec="utf-8"), min_size=1), max_size=3),
    "repetition_penalty": st.floats(0.5, 2),
    "no_repeat_ngram_size": st.integers(0, 5),
    "batch_size": st.none() | st.integers(1, 64),
    "forced_bos_token_id": st.none() | st.integers(0, 99),
    "src_lang": st.none() | st.sampled_from(["en", "fr"]),
}
TWINS = ({"max_new_tokens", "max_length"}, {"min_new_tokens", "min_length"})


def said_once(values: Mapping[str, Any]) -> bool:
    return not any(twins <= values.keys() for twins in TWINS)


VALID_LAYERS = st.fixed_dictionaries({}, optional=VALID).filter(said_once)


def resolve(resolver: Resolver, raw: Mapping[str, Any]) -> Params | str:
    try:
        return resolver.for_record(raw)
    except ParameterError as error:
        return str(error)


@given(st.sampled_from(list(Origin)), ANY_OBJECTS)
def test_arbitrary_json_resolves_or_is_a_parameter_error(
    origin: Origin, values: dict[str, Any]
) -> None:
    found: Params | ParameterError
    try:
        found = Resolver([Layer(origin, values)], language_token_id=len).base
    except ParameterError as error:
        found = error
    assert isinstance(found, Params) or len(str(found)) < 1000


@given(st.lists(ANY_OBJECTS | VALID_LAYERS, max_size=6))
def test_the_cache_never_changes_an_answer(raws: list[dict[str, Any]]) -> None:
    """Two passes through one resolver give what a fresh resolver gives for each."""
    shared = Resolver([], language_token_id=len)
    for raw in raws + raws:
        assert resolve(shared, raw) == resolve(Resolver([], language_token_id=len), raw)


@given(VALID_LAYERS)
def test_the_cache_tells_types_apart(raw: dict[str, Any]) -> None:
    """1, 1.0 and True are equal keys of a dict; they are not equal parameters."""
    resolver = Resolver([])
    resolver.for_record(raw)
    for name in raw:
        for other in (True, 1, 1.0, "1", [1], None):
            changed = {**raw, name: other}
            assert resolve(resolver, changed) == resolve(Resolver([]), changed)


@given(VALID_LAYERS, VALID_LAYERS)
def test_a_nearer_layer_decides_all_it_says(far: dict[str, Any], near: dict[str, Any]) -> None:
    """Adding a farther layer changes nothing of what the nearer one says."""
    alone = Resolver([Layer("record", near)]).provenance
    both = Resolver([Layer("command", far), Layer("record", near)]).provenance
    for name, (value, origin) in alone.items():
        if origin == "record":
            assert both[name] == (value, "record")


@given(VALID_LAYERS, VALID_LAYERS, VALID_LAYERS)
def test_precedence_is_associative(a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]) -> None:
    """Merging two neighbouring layers first gives the same parameters."""

    def merge(far: dict[str, Any], near: dict[str, Any]) -> dict[str, Any]:
        hidden = set().union(*(twins for twins in TWINS if twins & near.keys()))
        return {**{k: v for k, v in far.items() if k not in hidden}, **near}

    def params(*values: dict[str, Any]) -> Params:
        origins = ("HYPER_PARAMS", "command", "record")[-len(values) :]
        return Resolver([Layer(o, v) for o, v in zip(origins, values, strict=True)]).base

    assert params(a, b, c) == params(merge(a, b), c) == params(a, merge(b, c))


@given(VALID_LAYERS, VALID_LAYERS)
def test_a_record_resolves_as_the_nearest_layer(
    base: dict[str, Any], record: dict[str, Any]
) -> None:
    through = Resolver([Layer("command", base)]).for_record(record)
    assert through == Resolver([Layer("command", base), Layer("record", record)]).base


@given(VALID_LAYERS)
def test_what_was_resolved_resolves_to_itself(raw: dict[str, Any]) -> None:
    """Resolving is a projection: its own output, said again, changes nothing."""
    first = Resolver([Layer("command", raw)]).base
    again = {
        name: getattr(first, name) for name in VALID if name not in ("max_length", "min_length")
    }
    assert Resolver([Layer("command", again)]).base == first


@given(VALID_LAYERS)
def test_hyper_params_come_back_from_either_spelling(values: dict[str, Any]) -> None:
    assert parse_hyper_params(str(values)) == values
    assert parse_hyper_params(json.dumps(values)) == values
    assert parse_hyper_params(json.dumps(values, indent=1, ensure_ascii=False)) == values


PIECES = st.sampled_from(
    [*"{}[]():,'\"\\-+.eE0159 \n/xuUN", "True", "null", "nan", "not", "lambda", "é", "\x00"]
)


@given(st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=60))
def test_no_text_makes_hyper_params_raise_anything_else(text: str) -> None:
    for candidate in (text, "{" + text + "}", "{'a': " + text + "}", '{"a": "' + text + '"}'):
        try:
            found = parse_hyper_params(candidate)
        except ParameterError:
            continue
        assert all(isinstance(key, str) for key in found)


@given(st.text(max_size=20) | st.builds("{}={}".format, ANY_NAMES, st.text(max_size=20)))
def test_no_setting_raises_anything_else(text: str) -> None:
    try:
        name, value = parse_setting(text)
    except ParameterError:
        return
    assert name in USER_NAMES
    resolve(Resolver([], language_token_id=len), {name: value})


@given(VALID_LAYERS)
def test_a_setting_says_the_same_as_json(values: dict[str, Any]) -> None:
    for name, value in values.items():
        text = value if isinstance(value, str) else json.dumps(value)
        assert parse_setting(f"{name}={text}") == (name, value)
