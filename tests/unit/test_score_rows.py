"""Reading the rows of files to score: JSON Lines and Python literals, packed or not."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from textmill.errors import InputError
from textmill.evaluation import rows
from textmill.evaluation.rows import read_rows

VALUES = [{"id": n, "text": f"naïve text {n}\n{'x' * n}"} for n in range(300)]
LINES = b"".join(json.dumps(value).encode() + b"\n" for value in VALUES)


def values_of(path: Path) -> list[dict[str, object]]:
    return [row.value for row in read_rows(path)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def packed(data: bytes) -> dict[str, bytes]:
    compressor = zstandard.ZstdCompressor()
    half = len(data) // 2
    return {
        "plain": data,
        "gzip": gzip.compress(data),
        "gzip, two members": gzip.compress(data[:half]) + gzip.compress(data[half:]),
        "zstd": compressor.compress(data),
        "zstd, two frames": compressor.compress(data[:half]) + compressor.compress(data[half:]),
    }


@pytest.mark.parametrize("how", packed(b""))
def test_packing_is_told_by_the_bytes_not_by_the_name(file: Path, how: str) -> None:
    file.write_bytes(packed(LINES)[how])
    assert values_of(file) == VALUES


@pytest.mark.parametrize("how", ["gzip", "gzip, two members", "zstd", "zstd, two frames"])
@pytest.mark.parametrize("missing", [1, 20, 200])
def test_a_cut_off_packed_file_is_an_error_and_not_a_shorter_file(
    file: Path, how: str, missing: int
) -> None:
    file.write_bytes(packed(LINES)[how][:-missing])
    with pytest.raises(InputError, match=r"rows\.jsonl is (damaged|cut off)"):
        values_of(file)


@pytest.mark.parametrize("how", ["gzip", "zstd"])
def test_a_damaged_packed_file_is_an_error(file: Path, how: str) -> None:
    data = bytearray(packed(LINES)[how])
    data[len(data) // 2 :] = bytes(reversed(data[len(data) // 2 :]))
    file.write_bytes(data)
    with pytest.raises(InputError, match=r"damaged|No JSON|not JSON"):
        values_of(file)


def test_lines_may_end_in_crlf_begin_with_a_bom_be_blank_and_lack_the_last_end(file: Path) -> None:
    file.write_bytes(b'\xef\xbb\xbf{"id": 1}\r\n\r\n \n{"id": 2}')
    assert [(row.line, row.value) for row in read_rows(file)] == [(1, {"id": 1}), (4, {"id": 2})]


def test_an_empty_file_has_no_rows(file: Path) -> None:
    file.write_bytes(b"")
    assert values_of(file) == []


def test_sagemaker_lines_are_python_literals(file: Path) -> None:
    """The article's result file: the repr of a dict on every line."""
    file.write_text(
        "{'id': 0, 'generated_texts': ['It\\'s \"so\"']}\n"
        "\n"
        "{'id': 1, 'generated_texts': [\"it's\"], 'done': True, 'score': None}\n",
        encoding="utf-8",
    )
    assert values_of(file) == [
        {"id": 0, "generated_texts": ['It\'s "so"']},
        {"id": 1, "generated_texts": ["it's"], "done": True, "score": None},
    ]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab\n'\""), inner),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(JSON, JSON), min_size=1))
def test_what_was_written_is_read(tmp_path: Path, values: list[tuple[object, object]]) -> None:
    """JSON and Python notation alike, for any values."""
    objects = [{"id": first, "tex't": second} for first, second in values]
    file = tmp_path / "rows.jsonl"
    for write in (json.dumps, repr):
        file.write_text("".join(write(value) + "\n" for value in objects), encoding="utf-8")
        assert values_of(file) == objects


BAD_LINES = {
    b"{": "not JSON",
    b'{"id": 1} {"id": 2}': "something follows the object",
    b"id,text": "not JSON",
    b'{"id": NaN}': "not JSON",
    b'{"id": 1e999}': "out of range",
    b'{"text": "\xff"}': "not UTF-8",
    b'{"text": "\\ud800"}': "surrogate",
    b"[" * 100_000: "nested deeper",
    b"[1, 2]": "a JSON array, not an object",
    b'"text"': "a JSON string, not an object",
    b"7": "a JSON number, not an object",
    b"true": "a JSON boolean, not an object",
    b"null": "null, not an object",
    b"{id: 1}": "not JSON",
}


@pytest.mark.parametrize("before", [b"", b'{"id": 0}\n'], ids=["first", "second"])
@pytest.mark.parametrize("line", BAD_LINES, ids=lambda line: repr(line[:20]))
def test_a_bad_line_is_named(file: Path, line: bytes, before: bytes) -> None:
    """Also on the first line, which decides the notation."""
    file.write_bytes(before + line + b"\n")
    number = 2 if before else 1
    with pytest.raises(InputError) as caught:
        values_of(file)
    assert caught.value.message.startswith(f"{file}, line {number}: ")
    assert BAD_LINES[line] in caught.value.message
    assert "one JSON object" in str(caught.value.hint)


@pytest.mark.parametrize(
    "line",
    [
        b'{"id": true}',
        b"__import__('os').getcwd()",
        b"{'id': open('x')}",
        b"[" * 1000,
        b"-" * 100_000 + b"1",
        b"{'a': '\\",
        b"{[]: 1}",
        b"{1: 2}",
        b"{'a'}",
    ],
    ids=lambda line: repr(line[:20]),
)
def test_a_bad_literal_is_named_and_never_run(file: Path, line: bytes) -> None:
    file.write_bytes(b"{'id': 0}\n" + line + b"\n")
    with pytest.raises(InputError, match=r"rows\.jsonl, line 2: "):
        values_of(file)


def test_a_stray_backslash_in_a_literal_is_no_warning(file: Path) -> None:
    file.write_bytes(rb"{'text': 'a \d b'}")
    assert values_of(file) == [{"text": r"a \d b"}]


def test_too_long_lines_are_refused_before_they_fill_the_memory(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MAX_LINE_BYTES", 3 << 20)
    monkeypatch.setattr(rows, "MAX_LITERAL_BYTES", 1 << 20)
    long = b"x" * (2 << 20)
    file.write_bytes(b'{"id": 1, "text": "' + long + b'"}\n')
    assert len(values_of(file)) == 1
    file.write_bytes(b"{'id': 0}\n{'id': 1, 'text': '" + long + b"'}\n")
    with pytest.raises(InputError, match="line 2: a Python literal longer than 1 MiB"):
        values_of(file)
    file.write_bytes(b'{"id": 1}\n' + long + long)
    with pytest.raises(InputError, match="line 2: longer than 3 MiB"):
        values_of(file)


def test_a_file_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.jsonl cannot be read: no such file"):
        values_of(tmp_path / "gone.jsonl")
    with pytest.raises(InputError, match="is a directory"):
        values_of(tmp_path)


def test_numbers_keep_their_value(file: Path) -> None:
    file.write_bytes(b'{"a": 123456789012345678901234567890, "b": 1.0, "c": -0.0}')
    (value,) = values_of(file)
    assert value == {"a": 123456789012345678901234567890, "b": 1.0, "c": 0}
    assert math.copysign(1, value["c"]) == -1  # type: ignore[arg-type]
