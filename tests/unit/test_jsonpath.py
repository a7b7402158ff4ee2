"""Paths of SageMaker's subset: what they select, byte for byte, and what is wrong with others."""

from __future__ import annotations

import pytest

from textmill.errors import ErrorCode, UsageError
from textmill.records.jsonpath import (
    Every,
    Indices,
    Names,
    Range,
    parse_path,
    select,
)
from textmill.records.unfit import Unfit
from textmill.words import written

ROW = b'{"id": 1e2, "a" : {"b": [10, 1.50, "\\u0041"], "c d": null}, "rows": [{"x":1},{"x": 2}]}'


def selected(path: str, value: bytes = ROW) -> bytes:
    return select(parse_path(path), value)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("$", ()),
        ("$.id", (Names(("id",)),)),
        ("$.a.b-c", (Names(("a",)), Names(("b-c",)))),
        ("$['id','SageMakerOutput']", (Names(("id", "SageMakerOutput")),)),
        ("$[ 'a' , \"b\" ]", (Names(("a", "b")),)),
        (r"$['it\'s \\ \"']", (Names(("it's \\ \"",)),)),
        ("$.field1.['child1','child2']", (Names(("field1",)), Names(("child1", "child2")))),
        ("$['child.grandchild']", (Names(("child.grandchild",)),)),
        ("$['']", (Names(("",)),)),
        ("$.*[*]", (Every(), Every())),
        ("$[1]", (Indices((1,)),)),
        ("$[1, 3,-1]", (Indices((1, 3, -1)),)),
        ("$[2:5]", (Range(2, 5),)),
        ("$[:-1]", (Range(None, -1),)),
        ("$[ 1 : ]", (Range(1, None),)),
        ("$[:]", (Range(None, None),)),
    ],
)
def test_every_operator_of_the_guide_is_read(text: str, steps: tuple[object, ...]) -> None:
    assert parse_path(text).steps == steps


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("$", ROW),
        ("$.id", b"1e2"),
        ("$['a']", b'{"b": [10, 1.50, "\\u0041"], "c d": null}'),
        ("$.a.b", b'[10, 1.50, "\\u0041"]'),
        ("$.a['c d']", b"null"),
        ("$['id','rows']", b'{"id": 1e2, "rows": [{"x":1},{"x": 2}]}'),
        ("$['rows','id']", b'{"rows": [{"x":1},{"x": 2}], "id": 1e2}'),
        ("$.a.b[0]", b"10"),
        ("$.a.b[-1]", b'"\\u0041"'),
        ("$.a.b[1,0,1]", b"[1.50, 10, 1.50]"),
        ("$.a.b[1:3]", b'[1.50, "\\u0041"]'),
        ("$.a.b[0:2]", b"[10, 1.50]"),
        ("$.a.b[:-1]", b"[10, 1.50]"),
        ("$.a.b[-2:]", b'[1.50, "\\u0041"]'),
        ("$.a.b[1:99]", b'[1.50, "\\u0041"]'),
        ("$.a.b[7:]", b"[]"),
        ("$.a.b[:]", b'[10, 1.50, "\\u0041"]'),
        ("$.rows[*].x", b"[1, 2]"),
        ("$.rows[0:1].x", b"[1]"),
        ("$.rows[*]['x']", b"[1, 2]"),
        ("$.a.*", b'[[10, 1.50, "\\u0041"], null]'),
        ("$.rows.*.*", b"[1, 2]"),
    ],
)
def test_values_come_back_as_they_were_written(path: str, result: bytes) -> None:
    assert selected(path) == result


def test_several_names_before_the_end_are_several_values() -> None:
    assert selected("$['p','q'].x", b'{"p": {"x": 1}, "q": {"x": 02e1}}'.replace(b"02", b"2")) == (
        b"[1, 2e1]"
    )
    assert selected("$[*]['a','b']", b'[{"a":1,"b":2,"c":3}]') == b'[{"a": 1, "b": 2}]'


def test_white_space_around_a_value_is_not_of_it() -> None:
    assert selected("$", b' \t{"a": 1 } \r\n') == b'{"a": 1 }'


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("$.x", "missing_field", '$.x: there is no "x"; the object has "id", "a", "rows"'),
        ("$['id','x']", "missing_field", "$['id','x']: there is no \"x\""),
        ("$.a.b[3]", "missing_field", "$.a.b[3]: there is no item 3; the array has 3 items"),
        ("$.a.b[-4]", "missing_field", "no item -4"),
        ("$.a.b[0,3]", "missing_field", "no item 3"),
        ("$.rows[*].y", "missing_field", 'there is no "y"'),
        ("$.id.x", "bad_record", "$.id.x: .x needs an object, and this is a number"),
        ("$[0]", "bad_record", "[0] needs an array, and this is an object"),
        ("$.a['c d'][:1]", "bad_record", "[:1] needs an array, and this is null"),
        ("$.a.b[2].*", "bad_record", "* needs an object or an array, and this is a string"),
        ("$.rows['x','y']", "bad_record", "['x','y'] needs an object, and this is an array"),
    ],
)
def test_what_is_not_there_makes_the_row_unfit(path: str, code: str, message: str) -> None:
    with pytest.raises(Unfit) as caught:
        selected(path)
    assert caught.value.code == ErrorCode(code)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no $, with which every path begins, at character 1"),
        ("id", "at character 1"),
        (" $", "at character 1"),
        ("$id", "i where . or [ should be at character 2"),
        ("$.", "the end where a name should be at character 3"),
        ("$.a.", "at character 5"),
        ("$..a", "a search through all levels (..) at character 3"),
        ("$.a b", "where . or [ should be at character 4"),
        ("$.length()", "( where . or [ should be at character 9"),
        ("$[", "the end where a number or a quoted name should be at character 3"),
        ("$[]", "] where a number"),
        ("$[a]", "a where a number or a quoted name should be at character 3"),
        ("$[1", "the end where ] should be at character 4"),
        ("$[1,]", "at character 5"),
        ("$[?(@.a>1)]", "a filter expression at character 3"),
        ("$[(@.length-1)]", "a filter expression at character 3"),
        ("$[0:2,246:]", "more than one range, a range beside an index, or a range's step at"),
        ("$[0,5:]", "at character 6"),
        ("$[0:2,7]", "at character 6"),
        ("$[::2]", "at character 4"),
        ("$[1:2:3]", "at character 6"),
        ("$['a'", "the end where ] should be at character 6"),
        ("$['a", "a quote without its end at character 3"),
        ("$['a', b]", "b where a quoted name should be at character 8"),
        ("$['a','a']", "a name for the second time at character 7"),
        (r"$['\n']", "a backslash that is not"),
        ("$['a\\", "a backslash that is not"),
        ("$['a',0]", "0 where a quoted name should be at character 7"),
        ("$[0,'a']", "' where a number"),
        ("$[1234567890123456789]", "a number of more than 18 digits at character 3"),
        ("$[\u0663]", "\u0663 where a number"),
        ("$.a]", "] where . or [ should be at character 4"),
    ],
)
def test_a_path_beyond_the_subset_is_refused_with_the_position(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_path(text)
    assert f"the path {written(text)} has " in caught.value.message
    assert message in caught.value.message
    assert "supported: $" in str(caught.value.hint)
