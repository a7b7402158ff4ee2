"""Templates: what they accept, what they render, and how they say what is wrong."""

from __future__ import annotations

import msgspec
import pytest

from textmill.errors import ErrorCode, PromptError
from textmill.records.prompt import Field, parse_prompt
from textmill.records.unfit import Unfit


def render(template: str, line: bytes) -> str:
    return parse_prompt(template).render(msgspec.json.decode(line, type=dict[str, msgspec.Raw]))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Summarize: {article}", "Summarize: An {article}, it's é."),
        ("{article|truncate:2}!", "An!"),
        ("{ article | truncate: 4000 }", "An {article}, it's é."),
        ("{article|truncate:99}{article|truncate:1}", "An {article}, it's é.A"),
        ("{{{n}}} {{article}} {n}", "{1.50} {article} 1.50"),
        ("{ok} {big}", "true 123456789012345678901234567890"),
        ("{by.name} {by.at.year} {by.x}", "Ann 2020 flat"),
        ("{a column: with, signs}", "v"),
    ],
)
def test_fields_are_replaced_by_what_the_record_holds(template: str, text: str) -> None:
    line = """{"article": "An {article}, it's \\u00e9.", "n": 1.50, "ok": true,
        "big": 123456789012345678901234567890, "by": {"name": "Ann", "at": {"year": 2020}},
        "by.x": "flat", "a column: with, signs": "v"}"""
    assert render(template, line.encode()) == text


def test_truncation_counts_characters_not_bytes() -> None:
    assert render("{a|truncate:3}", '{"a": "日本語です"}'.encode()) == "日本語"


def test_fields_and_columns_are_told() -> None:
    prompt = parse_prompt("{b} {a.c} {b|truncate:1}")
    assert prompt.fields == ("b", "a.c")
    assert prompt.columns == {"b", "a", "a.c"}
    assert prompt.parts == (Field("b"), " ", Field("a.c"), " ", Field("b", 1))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("Summarize this", "has no field"),
        ("", "has no field"),
        ("{{text}}", "has no field"),
        ("ab {text", "a { without its } at character 4"),
        ("ab } {text}", "a } without its { at character 4"),
        ("ab {}", "a field without a name at character 4"),
        ("{|truncate:3}", "a field without a name at character 1"),
        ("{a{b}}", "a { within a field at character 3"),
        ("{a|upper}", 'unknown filter "upper" at character 1'),
        ("{a|truncate:3|truncate:2}", "unknown filter"),
        ("{a|truncate}", 'truncate takes a number of characters, not "" at character 1'),
        ("{a|truncate:0}", 'truncate takes a number of characters, not "0"'),
        ("{a|truncate:-1}", "truncate takes a number"),
        ("{a|truncate:²}", "truncate takes a number"),
    ],
)
def test_a_wrong_template_is_refused_with_the_position(template: str, message: str) -> None:
    with pytest.raises(PromptError) as caught:
        parse_prompt(template)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("template", "code", "message"),
    [
        ("{title}", ErrorCode.MISSING_FIELD, '"title" is not there; the record has "a", "b", "o"'),
        ("{o.c}", ErrorCode.MISSING_FIELD, '"o.c" is not there'),
        ("{a.c}", ErrorCode.MISSING_FIELD, '"a.c" is not there'),
        ("{o.n}", ErrorCode.MISSING_FIELD, '"o.n" is null'),
        ("{o}", ErrorCode.BAD_RECORD, '"o" is an object, not text'),
        ("{o.l}", ErrorCode.BAD_RECORD, '"o.l" is an array, not text'),
        ("Say: {b}", ErrorCode.EMPTY, 'no text in "b"'),
        ("{b}{o.e}", ErrorCode.EMPTY, 'no text in "b", "o.e"'),
    ],
)
def test_a_record_that_does_not_fit_is_refused(
    template: str, code: ErrorCode, message: str
) -> None:
    with pytest.raises(Unfit) as caught:
        render(template, b'{"a": "x", "b": " \\n", "o": {"n": null, "l": [], "e": ""}}')
    assert caught.value.code is code
    assert message in caught.value.message


def test_one_field_with_text_is_enough() -> None:
    assert render("{a}{b}", b'{"a": "", "b": "x"}') == "x"
