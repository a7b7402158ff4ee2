"""Messages show values as people write them, not as Python prints them: many errors, sampled."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import numpy as np
import pytest

import textmill as tm
from textmill.catalog.catalog import interpret
from textmill.errors import TextmillError
from textmill.params import parse_settings
from textmill.params.precedence import Layer, Resolver
from textmill.params.schema import USER_NAMES
from textmill.records.jsonpath import parse_path
from textmill.records.prompt import parse_prompt
from textmill.settings import read_settings
from textmill.transform.setup import SetupRequest

PYTHON_S = re.compile(
    r"PosixPath\(|\bNone\b|\bNoneType\b|\bTrue\b|\bFalse\b|<class|<object|array\(|(?<![\w'])b'|='"
)
ODD = [
    *(None, True, "", "x", -1, 1.5, float("nan"), 10**80, b"x", Path("/a/b"), Path),
    *([], ["a", None], [[True]], {"a": None}, {"a": Path("x")}, object(), np.array([1, 2]), {1}),
]
ROWS = [{"id": 1, "text_inputs": "one"}]
BAD_ROWS = [
    *({"id": odd, "text_inputs": "t"} for odd in ODD),
    *({"id": n, "text_inputs": odd} for n, odd in enumerate(ODD)),
    *({"id": n, "text_inputs": "t", "num_beams": odd} for n, odd in enumerate(ODD)),
    *ODD,
    {None: 1},
    {Path("a"): 1},
]


def said(call, *arguments, **named):
    """What the error says, if there is one."""
    try:
        call(*arguments, **named)
    except TextmillError as error:
        return [str(error)]
    return []


def of_arguments(folder):
    for name in typing.get_type_hints(SetupRequest).keys() - {"offline", "home"}:
        for odd in ODD:
            named = {"engine": "echo", name: odd}
            yield from said(tm.preview, ROWS, folder / "out.jsonl", **named)


def of_inputs(folder):
    for odd in ODD:
        yield from said(tm.run, odd, folder / "out.jsonl", engine="no-such")
        yield from said(tm.run, ROWS, folder / "out.jsonl", engine="no-such", parameters=odd)
    job = tm.run(BAD_ROWS, folder / "rows.jsonl", engine="echo")
    yield from (failure.message for failure in job.failures)


def of_parameters(_):
    for name in [*sorted(USER_NAMES), "no_such"]:
        for odd in ODD:
            resolve = Resolver([Layer("command", {})]).for_record
            yield from said(resolve, {name: odd})
        for text in ("x", "-1", "[1", "nan", "1e999", "{}"):
            yield from said(parse_settings, [f"{name}={text}"])


def of_texts(_):
    for text in ("", "'", "{", "{a|b}", "{a|truncate:x}", "$", "$[", "$['a'", "{'a': 1,,}"):
        for call in (parse_prompt, parse_path, interpret):
            yield from said(call, text)
        yield from said(parse_settings, [f"stop={text}", text])
        for name in ("TEXTMILL_OFFLINE", "HF_ENDPOINT", "AWS_REGION", "HYPER_PARAMS"):
            yield from said(read_settings, {name: text})


def of_scores(folder):
    source = folder / "rows.jsonl"
    source.write_text('{"id": 1, "a": null, "b": true, "c": [1], "d": "t"}\n')
    for name in ("pred", "ref", "source", "on", "by", "missing", "mean", "metrics"):
        for odd in ("a", "b", "c", "nope"):
            asked = [odd] if name in {"by", "metrics"} else odd
            yield from said(tm.score, source, source, **{"pred": "d", "ref": "d", name: asked})
    for odd in (-1, 10**80):
        yield from said(tm.score, source, source, samples=-1, pred="d", ref="d")
        yield from said(tm.score, source, source, seed=odd, pred="d", ref="d")


@pytest.mark.parametrize(
    ("source", "at_least"),
    [(of_arguments, 200), (of_inputs, 60), (of_parameters, 300), (of_texts, 30), (of_scores, 15)],
)
def test_no_message_shows_what_only_python_prints(tmp_path, source, at_least):
    messages = list(source(tmp_path))
    assert len(messages) >= at_least
    assert [text for text in messages if PYTHON_S.search(text)] == []
