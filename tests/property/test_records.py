"""Records against models: the standard library's JSON, a Python dict, a plain split into lines."""

from __future__ import annotations

import io
import json
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.records import SHAPE, read_rows
from textmill.core import Record, Rejected
from textmill.errors import ErrorCode
from textmill.records.builder import RecordBuilder
from textmill.records.ids import SeenIds
from textmill.records.jsonl import JsonlReader
from textmill.records.lines import LongLine, read_lines
from textmill.records.results import error_line, result_line
from textmill.records.shape import Shape
from textmill.records.strict import is_blank, parse_object, repeated_key
from textmill.records.unfit import Unfit

patient = settings(deadline=None)
"""No limit of time per example: the machine may be busy."""

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
WHITE = st.text(" \t\r", max_size=2)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    SCALARS.filter(lambda value: value not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["a", "b", 'a":', "é", "a b", ""]) | TEXTS


@st.composite
def json_texts(draw: st.DrawFn, values: st.SearchStrategy[Any] = VALUES) -> str:
    return json.dumps(draw(values), ensure_ascii=draw(st.booleans()))


IDS = json_texts(VALUES.filter(lambda value: value not in (None, "")))


@st.composite
def json_objects(draw: st.DrawFn, members: list[tuple[str, str]]) -> str:
    """Members, already JSON, with white space wherever it may stand."""
    white = lambda: draw(WHITE)  # noqa: E731
    parts = [f"{white()}{key}{white()}:{white()}{value}{white()}" for key, value in members]
    return white() + "{" + (",".join(parts) or white()) + "}" + white()


@patient
@given(st.data(), IDS, TEXTS.filter(str.strip), st.lists(st.tuples(KEYS, json_texts())))
def test_any_object_gives_its_id_text_and_kept_column_back(
    data: st.DataObject, id_: str, text: str, others: list[tuple[str, str]]
) -> None:
    columns = {name: value for name, value in others if name not in {"id", "text_inputs"}}
    shape = Shape(keep=tuple(name for name in columns if name != "generated_texts"))
    written = json.dumps(text, ensure_ascii=data.draw(st.booleans()))
    members = [("id", id_), ("text_inputs", written), *columns.items()]
    order = data.draw(st.permutations([(json.dumps(key), value) for key, value in members]))
    line = data.draw(json_objects(order)).encode()

    (row,) = read_rows(line, shape)

    assert isinstance(row, Record)
    assert row.id == id_.encode()
    assert row.texts == (text,)
    assert [value for _, value in row.kept] == [columns[name].encode() for name in shape.keep]


class Pairs(list[tuple[str, Any]]):
    """An object's members, repeated keys and all."""


def refuse(_: str) -> None:
    raise ValueError


def strict_value(text: bytes) -> Any:
    """What the standard library, made strict, reads. Raises `ValueError`."""
    value = json.loads(text.decode(), parse_constant=refuse, object_pairs_hook=Pairs, parse_int=str)
    json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair cannot be encoded
    return value


def strict_pairs(line: bytes) -> Pairs | None:
    """The members of an object, or None when the line is refused."""
    try:
        value = strict_value(line)
    except ValueError:
        return None
    return value if isinstance(value, Pairs) else None


@st.composite
def nearly_json(draw: st.DrawFn) -> bytes:
    """Lines of JSON, some with repeated keys, some with a few bytes changed."""
    member = st.tuples(KEYS.map(json.dumps), json_texts())
    line = bytearray(draw(json_objects(draw(st.lists(member, max_size=5)))).encode())
    changes = st.sampled_from(
        [rb"\ud800", rb"\udc00", rb"\u0041", b"\xff", b'"', b"NaN", b",", b"0"]
    )
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(line)))
        line[at : at + draw(st.integers(0, 2))] = draw(changes | st.binary(max_size=3))
    return bytes(line).replace(b"\n", b" ")


@patient
@given(nearly_json())
@example(rb'{"a": "\ud800\u0041"}')
@example(rb'{"a": "\\ud800"}')
@example(b'{"a": "\xff"}')
@example(rb'{"\ud83d\ude00": 1, "x": ["\ud83d"]}')
def test_a_line_is_read_just_when_the_standard_library_reads_it_strictly(line: bytes) -> None:
    pairs = strict_pairs(line)
    if pairs is None:
        with pytest.raises(Unfit) as caught:
            parse_object(line)
        assert caught.value.code is ErrorCode.BAD_JSON
    else:
        fields = {key: strict_value(bytes(value)) for key, value in parse_object(line).items()}
        assert fields == dict(pairs)


@patient
@given(nearly_json())
@example(b'{"a": {"a": 1}, "a" : 2}')
@example(b'{"a": "x\\":", "b": 2}')
@example(b'{"a": {"b": 1, "b": 2}, "a":{"c":1}}')
def test_the_repeated_key_is_the_one_that_the_standard_library_sees(line: bytes) -> None:
    pairs = strict_pairs(line)
    if pairs is None:
        return
    keys = [key for key, _ in pairs]
    expected = next((key for at, key in enumerate(keys) if key in keys[:at]), None)
    assert repeated_key(line, parse_object(line)) == expected


class ShortReads:
    """A source that gives as few bytes at a time as it is told."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes = io.BytesIO(data), sizes

    def read(self, size: int, /) -> bytes:
        return self._data.read(min(size, self._sizes.pop() if self._sizes else size))


LINES = st.lists(
    nearly_json() | st.sampled_from([b"", b" \r", b"\xef\xbb\xbf"]) | st.binary(max_size=12)
).map(b"\n".join)


@patient
@given(LINES, st.lists(st.integers(1, 9)), st.integers(1, 30))
def test_lines_are_those_of_a_plain_split(data: bytes, sizes: list[int], limit: int) -> None:
    expected = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if not expected[-1]:
        expected.pop()
    found: list[bytes | int] = []
    for block in read_lines(ShortReads(data, sizes), max_line_bytes=limit):
        assert (block.number if isinstance(block, LongLine) else block.first) == len(found) + 1
        found += [block.size_bytes] if isinstance(block, LongLine) else block.lines
    assert found == [line if len(line) <= limit else len(line) for line in expected]


@patient
@given(LINES)
def test_every_line_is_a_row_or_blank_and_nothing_raises(data: bytes) -> None:
    reader = JsonlReader(RecordBuilder(SHAPE))
    rows = read_rows(data, reader=reader)
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    expected = [number for number, line in enumerate(lines, 1) if not is_blank(line)]
    assert [row.line for row in rows] == expected
    assert [row.ordinal for row in rows] == list(range(len(rows)))
    for row in rows:
        if isinstance(row, Rejected):
            told = json.loads(error_line(row))
            assert told["code"] == row.code
            assert row.id is None or told["id"] == json.loads(row.id)


@patient
@given(
    json_texts(),
    st.lists(st.text(st.characters())),
    st.dictionaries(KEYS.filter(lambda key: key not in {"id", "generated_texts"}), json_texts()),
)
def test_what_is_written_is_read_back(id_: str, texts: list[str], kept: dict[str, str]) -> None:
    columns = tuple((msgspec.json.encode(key), value.encode()) for key, value in kept.items())
    line = result_line(Record(ordinal=0, id=id_.encode(), texts=("x",), kept=columns), texts)
    assert line.endswith(b"\n")
    fields = {name: bytes(value) for name, value in parse_object(line[:-1]).items()}
    assert repeated_key(line[:-1], fields) is None
    assert fields.pop("id") == id_.encode()
    written = json.loads(fields.pop("generated_texts"))
    assert written == [
        text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in texts
    ]
    assert fields == {key: value.encode() for key, value in kept.items()}


def model_key(value: Any) -> Any:
    """JSON equality by types that compare as JSON values do."""
    if isinstance(value, dict):
        return "object", frozenset((key, model_key(item)) for key, item in value.items())
    if isinstance(value, list):
        return "array", tuple(model_key(item) for item in value)
    return type(value).__name__, value


NUMBERS = st.integers(-20, 60) | st.integers() | st.fractions(max_denominator=8).map(float)
SMALL = st.recursive(
    NUMBERS | st.sampled_from(["", "1", "a", "é", "null", 'a"']) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=3,
)


@patient
@given(st.lists(st.lists(json_texts(SMALL) | st.integers(0, 99).map(str), max_size=40)))
@example([[str(n) for n in range(40)], ["39", "40", "-1"], [str(n) for n in range(41, 70)]])
def test_seen_ids_are_those_of_a_dict(calls: list[list[str]]) -> None:
    seen, model = SeenIds(), set[Any]()
    for ids in calls:
        keys = [
            model_key(json.loads(text, parse_int=Fraction, parse_float=Fraction)) for text in ids
        ]
        expected = []
        for key in keys:
            expected.append(key in model)
            model.add(key)
        assert seen.add([text.encode() for text in ids]) == expected
