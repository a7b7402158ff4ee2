"""Paths against two oracles: a plain evaluator of Python values, and the jsonpath-ng package."""

from __future__ import annotations

import json
from typing import Any

import jsonpath_ng
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from textmill.errors import UsageError
from textmill.records.jsonpath import Every, Indices, Names, Path, Range, Step, parse_path, select
from textmill.records.unfit import Unfit

thorough = settings(max_examples=300)
NAMES = st.sampled_from(["a", "b", "c"]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=3
)
NUMBERS = st.integers(-4, 4)
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(Names, st.lists(NAMES, min_size=1, max_size=3, unique=True).map(tuple)),
    st.builds(Indices, st.lists(NUMBERS, min_size=1, max_size=3).map(tuple)),
    st.builds(Range, st.none() | NUMBERS, st.none() | NUMBERS),
    st.just(Every()),
)
PATHS = st.builds(Path, st.lists(STEPS, max_size=4).map(tuple))
NUMBER_TEXTS = st.sampled_from(["0", "-0", "1.50", "1e2", "12345678901234567890123.0"])


@given(PATHS)
def test_what_is_printed_is_read_back(path: Path) -> None:
    assert parse_path(str(path)) == path


@given(st.text("$.[]'\",:*- \\ab01?(", max_size=9))
@example("$['a\\")
def test_any_text_is_a_path_or_refused(text: str) -> None:
    """And what is a path has one way to be printed."""
    try:
        path = parse_path(text)
    except UsageError:
        return
    assert parse_path(str(path)) == path


class Number(str):
    """A JSON number as it was written."""

    __slots__ = ()


def decoded(text: bytes) -> Any:
    """A JSON value whose numbers are equal only if they were written equally."""
    return json.loads(text, parse_int=Number, parse_float=Number)


@st.composite
def values(draw: st.DrawFn, depth: int = 3) -> str:
    """JSON text with numbers in many spellings, and members that paths may find."""
    kind = draw(
        st.sampled_from(["object", "array", "scalar", "array", "object"])
        if depth
        else st.just("scalar")
    )
    space = draw(st.sampled_from(["", " ", "\t"]))
    if kind == "scalar":
        return draw(
            NUMBER_TEXTS | st.sampled_from(['"a"', '"\\u0041"', '"é\u2028"', "null", "true"])
        )
    if kind == "array":
        items = draw(st.lists(values(depth - 1), max_size=4))
        return f"[{space}{f'{space},'.join(items)}]"
    members = draw(st.dictionaries(NAMES, values(depth - 1), max_size=4))
    ascii_only = draw(st.booleans())
    pairs = [
        f"{json.dumps(key, ensure_ascii=ascii_only)}{space}:{value}"
        for key, value in members.items()
    ]
    return "{" + f",{space}".join(pairs) + space + "}"


@st.composite
def fitting(draw: st.DrawFn, value: Any) -> tuple[Step, ...]:
    """Steps that have something to select in `value`, at least in its first branches."""
    steps: list[Step] = []
    while isinstance(value, dict | list) and value and draw(st.integers(0, 5)):
        if isinstance(value, dict):
            keys = list(value)
            names = draw(st.lists(st.sampled_from(keys), min_size=1, max_size=2, unique=True))
            step: Step = draw(st.sampled_from([Names((names[0],)), Names(tuple(names)), Every()]))
            value = value[names[0]]
        else:
            index = st.integers(-len(value), len(value) - 1)
            first = draw(index)
            step = draw(
                st.sampled_from([Indices((first,)), Indices((first, 0)), Range(0, 3), Every()])
            )
            value = value[first]
        steps.append(step)
    return tuple(steps)


class Missing(Exception):
    """The path asks for something that is not there."""


def evaluated(steps: tuple[Step, ...], value: Any) -> Any:
    """The path's meaning, one step at a time, on decoded values."""
    if not steps:
        return value
    step, *rest = steps
    if isinstance(step, Names):
        if not isinstance(value, dict) or not set(step.names) <= set(value):
            raise Missing
        if len(step.names) > 1 and not rest:
            return {name: value[name] for name in step.names}
        chosen = [value[name] for name in step.names]
        single = len(chosen) == 1
    else:
        chosen, single = chosen_items(step, value)
    if single:
        return evaluated(tuple(rest), chosen[0])
    return gathered(tuple(rest), chosen)


def chosen_items(step: Step, value: Any) -> tuple[list[Any], bool]:
    if isinstance(step, Every) and isinstance(value, dict):
        return list(value.values()), False
    if not isinstance(value, list):
        raise Missing
    if isinstance(step, Indices):
        if any(index not in range(-len(value), len(value)) for index in step.indices):
            raise Missing
        return [value[index] for index in step.indices], len(step.indices) == 1
    return (value if isinstance(step, Every) else value[step.start : step.end]), False


def is_several(step: Step) -> bool:
    return isinstance(step, Names) and len(step.names) > 1


def is_plural(steps: tuple[Step, ...]) -> bool:
    """Whether the rest of a path yields an array of hits rather than one value."""
    for at, step in enumerate(steps):
        several_names = is_several(step) and at < len(steps) - 1
        several_items = isinstance(step, Indices) and len(step.indices) > 1
        if several_names or several_items or isinstance(step, Range | Every):
            return True
    return False


def gathered(rest: tuple[Step, ...], chosen: list[Any]) -> list[Any]:
    """The hits of every branch in one flat array."""
    results = [evaluated(rest, item) for item in chosen]
    return [hit for hits in results for hit in hits] if is_plural(rest) else results


@st.composite
def cases(draw: st.DrawFn) -> tuple[bytes, Path]:
    text = draw(values()).encode()
    return text, draw(PATHS | st.builds(Path, fitting(decoded(text))))


@thorough
@given(cases())
@example((b'{"a": [{"b": 1.0}, {"b": 1e0}]}', parse_path("$.a[*].b")))
@example((b"[[1, 2], [], [3]]", parse_path("$[*][*]")))
@example((b"[[1, 2], []]", parse_path("$[*][0]")))
def test_selections_are_those_of_a_plain_evaluator(case: tuple[bytes, Path]) -> None:
    text, path = case
    try:
        expected = evaluated(path.steps, decoded(text))
    except Missing:
        with pytest.raises(Unfit):
            select(path, text)
    else:
        found = select(path, text)
        assert decoded(found) == expected
        if not is_plural(path.steps) and not (path.steps and is_several(path.steps[-1])):
            assert found in text


def for_jsonpath_ng(path: Path, value: Any) -> str | None:
    """The path as jsonpath-ng writes it, or None where it means something else there.

    It tells `.*` (members) from `[*]` (items), takes a scalar for an array of one, and has its own
    grammar of names.
    """
    written, branches = "$", [value]
    for step in path.steps:
        kind = dict if isinstance(step, Names) else list
        if isinstance(step, Every) and all(isinstance(branch, dict) for branch in branches):
            kind = dict
        if not branches or not all(isinstance(branch, kind) for branch in branches):
            return None
        if isinstance(step, Names):
            if not all(name.isascii() and name.isalpha() for name in step.names):
                return None
            written += "." + ",".join(step.names)
        else:
            written += ".*" if kind is dict else str(step)
        branches = [hit for branch in branches for hit in evaluated_step(step, branch)]
    return written


def evaluated_step(step: Step, value: Any) -> list[Any]:
    if isinstance(step, Names):
        return [value[name] for name in step.names if name in value]
    chosen, _ = chosen_items(step, value)
    return chosen


@given(cases())
@example((b'{"a": [{"b": 1.0, "c": 2}, {"b": 1e0, "c": 3}]}', parse_path("$.a[0:2]['b','c']")))
@example((b'{"a": [1, 2, 3]}', parse_path("$.a[-1]")))
def test_selections_are_those_of_jsonpath_ng_where_the_two_overlap(
    case: tuple[bytes, Path],
) -> None:
    text, path = case
    value = decoded(text)
    try:
        expected = evaluated(path.steps, value)
    except Missing:
        return
    written = for_jsonpath_ng(path, value)
    if written is None:
        return
    hits = [match.value for match in jsonpath_ng.parse(written).find(value)]
    found = decoded(select(path, text))
    assert found == expected
    last = path.steps[-1] if path.steps else None
    if isinstance(last, Names) and is_several(last):  # ours are objects, theirs their values
        objects = found if is_plural(path.steps) else [found]
        assert [object_[name] for object_ in objects for name in last.names] == hits
    else:
        assert (found if is_plural(path.steps) else [found]) == hits
