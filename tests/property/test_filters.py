"""Join and output filter against the standard library's JSON on decoded values."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from support.records import record
from textmill.records.filters import OUTPUT_KEY, join
from textmill.records.jsonpath import Names, Path
from textmill.records.results import result_line
from textmill.records.shape import ORDINAL_ID, Shape

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["a", OUTPUT_KEY, "x\\y", 'q"', ""]) | TEXTS
SPACES = st.sampled_from(["", " ", "\t", "  "])


@st.composite
def objects(draw: st.DrawFn) -> str:
    """JSON objects with white space wherever it may stand, and perhaps the joined key."""
    space = lambda: draw(SPACES)  # noqa: E731
    members = []
    for key, value in draw(st.dictionaries(KEYS, VALUES, max_size=5)).items():
        ascii_only = draw(st.booleans())
        name = json.dumps(key, ensure_ascii=ascii_only)
        if key == OUTPUT_KEY and draw(st.booleans()):
            name = name.replace("S", "\\u0053", 1)
        text = json.dumps(value, ensure_ascii=ascii_only, indent=draw(st.sampled_from([None, 0])))
        members.append(f"{space()}{name}{space()}:{space()}{text.replace(chr(10), ' ')}{space()}")
    return "{" + (",".join(members) or space()) + "}"


def pairs(text: bytes) -> Any:
    return json.loads(text, object_pairs_hook=list, parse_float=str, parse_int=str)


@given(objects(), st.lists(TEXTS))
@example('{"SageMakerOutput": 1}', [])
@example('{"a": "SageMakerOutput", "SageMakerOutput" : {"SageMakerOutput": 2} }', ["x"])
def test_a_join_sets_one_key_of_an_object_and_nothing_else(row: str, texts: list[str]) -> None:
    output = json.dumps({"generated_texts": texts}).encode()
    joined = pairs(join(row.encode(), output))
    before = pairs(row.encode())
    at = next((at for at, (key, _) in enumerate(before) if key == OUTPUT_KEY), len(before))
    assert joined == [*before[:at], (OUTPUT_KEY, pairs(output)), *before[at + 1 :]]


@given(objects(), st.lists(TEXTS, max_size=3), st.data())
def test_joined_and_filtered_lines_hold_the_row_s_own_values(
    row: str, texts: list[str], data: st.DataObject
) -> None:
    columns = json.loads(row)
    line = f'{{"the text": "t"{", " if columns else ""}{row[1:]}'.encode()
    shape = Shape(id_field=ORDINAL_ID, join=True, input_filter=Path((Names(("the text",)),)))
    names = data.draw(st.lists(st.sampled_from([*columns, "the text", OUTPUT_KEY]), unique=True))
    output_filter = Path((Names(tuple(names)),)) if names else None

    written = result_line(record(line, shape), texts, output_filter=output_filter)

    joined = {"the text": "t", **columns, OUTPUT_KEY: {"generated_texts": texts}}
    if len(names) == 1:
        expected = joined[names[0]]
    else:
        expected = {name: joined[name] for name in names} if names else joined
    assert json.loads(written) == expected
    assert written.count(b"\n") == 1
