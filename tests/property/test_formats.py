"""Formats against models: what is written is read back, and a table is what `csv` says it is."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support.formats import SHAPE, ShortReads, only_record, reader_of, rows_of
from textmill.core import FinishReason, Record, Rejected
from textmill.errors import ErrorCode, InputError
from textmill.records.builder import RecordBuilder
from textmill.records.contents import check_content
from textmill.records.delimited import COMMA, TAB, DelimitedReader
from textmill.records.formats import INPUT_FORMATS, Format, open_reader, open_writer
from textmill.records.openai_request import ANSWER_COLUMN
from textmill.records.prompt import parse_prompt
from textmill.records.quoted import BrokenRow, cut_rows
from textmill.records.results import Details, result_line
from textmill.records.shape import Shape
from textmill.storage.compress import compressor
from textmill.storage.decompress import Stored, decompressed

patient = settings(deadline=None)
"""No limit of time per example: the machine may be busy."""

AWKWARD = st.text('",;\n\r\t\\ aé\u2028\x00[{=', max_size=8)
TEXTS = AWKWARD | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SOME_TEXT = TEXTS.filter(lambda text: text.strip() != "")
OWN = {"id", "text_inputs", "generated_text", "generated_texts"}
NAMES = st.lists(SOME_TEXT.filter(lambda name: name not in OWN), max_size=3, unique=True)
DELIMITERS: dict[Format, bytes] = {"csv": COMMA, "tsv": TAB}
TABLES = st.sampled_from(list(DELIMITERS))
TEXT_FORMATS = st.sampled_from([name for name in INPUT_FORMATS if name != "parquet"])


def as_json(text: str) -> bytes:
    return msgspec.json.encode(text)


@st.composite
def rows_to_write(draw: st.DrawFn, names: list[str]) -> list[list[str]]:
    """Rows of id, text and a cell for each of `names`."""
    cells = st.tuples(TEXTS.filter(bool), SOME_TEXT, *[TEXTS for _ in names])
    return [list(row) for row in draw(st.lists(cells, max_size=5))]


@patient
@given(
    st.data(),
    NAMES,
    TABLES,
    # With rows that end with \n, csv of Python 3.11 leaves a \r in a cell unquoted.
    st.sampled_from([("\r\n", csv.QUOTE_MINIMAL)] + [(e, csv.QUOTE_ALL) for e in ("\n", "\r")]),
    st.booleans(),
)
def test_every_cell_that_csv_writes_comes_back(
    data: st.DataObject, names: list[str], format_: Format, style: tuple[str, int], bom: bool
) -> None:
    rows = data.draw(rows_to_write(names))
    text = io.StringIO(newline="")
    delimiter = DELIMITERS[format_].decode()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=style[0], quoting=style[1])
    writer.writerows([["id", "text_inputs", *names], *rows])
    written = b"\xef\xbb\xbf" * bom + text.getvalue().encode()

    found = rows_of(format_, written, Shape(keep=tuple(names)))

    assert [
        [json.loads(row.id), *row.texts, *(json.loads(value) for _, value in row.kept)]
        for row in found
        if isinstance(row, Record)
    ] == rows
    assert reader_of(format_).count(io.BytesIO(written)) == len(rows) == len(found)


UNTIDY = st.text('a",\n\r\t "é', max_size=40)


def strictly(row: str, delimiter: str) -> list[str] | None:
    """The cells of one row if `csv` finds nothing wrong with it."""
    try:
        found = list(csv.reader(io.StringIO(row, newline=""), delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return found[0] if found else []


@patient
@given(UNTIDY, TABLES)
@example('"a"b,"\n",c\nd,e', "csv")
@example('1,"\r\n', "csv")
@example('a"\n"b', "csv")
def test_rows_end_where_csv_ends_them_and_are_good_just_when_it_says_so(
    text: str, format_: Format
) -> None:
    delimiter = DELIMITERS[format_]
    model = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter.decode())
    found = [
        row
        for block in cut_rows(io.BytesIO(text.encode()), delimiter)
        for row in ([None] if isinstance(block, BrokenRow) else block.rows)
    ]
    for cells, row in zip(model, found, strict=True):
        if row is None:
            continue
        alone = csv.reader(io.StringIO(row.decode(), newline=""), delimiter=delimiter.decode())
        assert next(alone, []) == cells  # no row holds more or less than csv's
        judged = rows_of(format_, b"id,text_inputs\n".replace(b",", delimiter) + row)
        good = strictly(row.decode(), delimiter.decode())
        if good is not None and len(good) == 2 and good[0] and good[1].strip():
            (record,) = judged
            assert isinstance(record, Record)
            assert [json.loads(record.id), *record.texts] == good
        else:
            assert all(isinstance(one, Rejected) for one in judged)
            assert judged or not row.strip()


@patient
@given(UNTIDY, TABLES)
def test_the_lines_of_rows_are_those_of_the_file(text: str, format_: Format) -> None:
    """A row begins on the line that a universal reader of lines counts there."""
    places = []
    at, rows = 0, []
    for block in cut_rows(io.BytesIO(text.encode()), DELIMITERS[format_]):
        if isinstance(block, BrokenRow):
            places.append((block.line, block.head))
        else:
            places += list(zip(block.lines, block.rows, strict=True))
    data = text.encode()
    for line, row in places:
        at = data.index(row, at)
        before = io.TextIOWrapper(io.BytesIO(data[:at]), "utf-8", newline="").readlines()
        ended = [one for one in before if one.endswith(("\n", "\r"))]
        assert line == len(ended) + 1
        at += len(row)
        at += 2 if data[at : at + 2] == b"\r\n" else 1
        rows.append(row)
    assert at >= len(data)


ALPHABET = st.sampled_from(
    [
        *[bytes([one]) for one in b'a,"\t\n\r {}[]:\\\xff'],
        b"id,text_inputs\n",
        b"id\ttext_inputs\r\n",
        b"\xef\xbb\xbf",
        "é".encode(),
        b'{"id": 1, "text_inputs": "a"}\n',
        b'{"custom_id": "a", "body": {"prompt": "b"}}\n',
        b'{"custom_id": "a", "body": {"messages": [{"role": "user", "content": "b"}], "n": 2}}\n',
    ]
)
FILES = st.lists(ALPHABET, max_size=30).map(b"".join)
SIZES = st.lists(st.integers(1, 9), max_size=300)


def outcome(format_: Format, data: bytes, sizes: list[int]) -> Any:
    """The rows and the blank lines, or why the file is refused."""
    builder = RecordBuilder(SHAPE)
    reader = open_reader(format_, builder)
    try:
        rows = [row for rows in reader.read(ShortReads(data, sizes), "in") for row in rows]
    except InputError as error:
        return str(error)
    return rows, builder.blank_lines


@patient
@given(TEXT_FORMATS, FILES, SIZES)
@example("csv", b'id,text_inputs\r\n1,"a""b\r\n"\r\n2,c\r\n', [1] * 40)
def test_reads_of_any_size_give_the_same_rows(
    format_: Format, data: bytes, sizes: list[int]
) -> None:
    assert outcome(format_, data, sizes) == outcome(format_, data, [])


@patient
@given(TEXT_FORMATS, FILES)
def test_rows_are_numbered_without_a_gap_and_count_says_how_many(
    format_: Format, data: bytes
) -> None:
    found = outcome(format_, data, [])
    if isinstance(found, str):
        assert format_ in DELIMITERS  # only a header can spoil a file
        return
    rows, _ = found
    assert [row.ordinal for row in rows] == list(range(len(rows)))
    lines = [row.line for row in rows]
    assert lines == sorted(set(lines))
    count = reader_of(format_).count(io.BytesIO(data))
    assert count == len(rows)


@patient
@given(st.lists(st.binary(max_size=6) | st.just(b'"'), max_size=20), SIZES, st.integers(1, 12))
@example([b"ab\n"], [], 1)
def test_a_limit_rejects_what_is_over_it_and_changes_nothing_else(
    pieces: list[bytes], sizes: list[int], limit: int
) -> None:
    data = b",".join(pieces).replace(b"\xef\xbb\xbf", b"")
    whole = [
        (line, row)
        for block in cut_rows(io.BytesIO(data), COMMA)
        if not isinstance(block, BrokenRow)
        for line, row in zip(block.lines, block.rows, strict=True)
    ]
    found = []
    for block in cut_rows(ShortReads(data, sizes), COMMA, max_row_bytes=limit):
        if not isinstance(block, BrokenRow):
            found += list(zip(block.lines, block.rows, strict=True))
        elif block.opened is None:
            assert block.size_bytes > limit
    assert found == [(line, row) for line, row in whole if len(row) <= limit]


def written(format_: Format, lines: list[bytes], keep: list[str], cuts: list[int]) -> bytes:
    """A whole output, its lines given a few at a time."""
    writer = open_writer(format_, keep, model="m")
    data, at = b"", 0
    for size in [*cuts, len(lines)]:
        data += writer.encode(lines[at : at + size])
        at += size
    return data + writer.finish()


@patient
@given(st.data(), NAMES, TABLES, st.lists(st.integers(0, 3), max_size=3))
def test_a_table_of_results_is_read_back(
    data: st.DataObject, names: list[str], format_: Format, cuts: list[int]
) -> None:
    rows = data.draw(rows_to_write(names))
    more = data.draw(st.lists(st.lists(TEXTS, max_size=2), min_size=len(rows), max_size=len(rows)))
    lines = []
    for (id_, text, *kept), others in zip(rows, more, strict=True):
        columns = tuple((as_json(n), as_json(v)) for n, v in zip(names, kept, strict=True))
        record = Record(ordinal=0, id=as_json(id_), texts=("x",), kept=columns)
        lines.append(result_line(record, [text, *others])[:-1])

    table = written(format_, lines, names, cuts)

    shape = Shape(keep=tuple(names), prompt=parse_prompt("{generated_text}"))
    found = rows_of(format_, table, shape)
    assert [
        [json.loads(row.id), *row.texts, *(json.loads(value) for _, value in row.kept)]
        for row in found
        if isinstance(row, Record)
    ] == rows
    model = csv.DictReader(
        io.StringIO(table.decode(), newline=""), delimiter=DELIMITERS[format_].decode()
    )
    for cells, (_, text, *_kept), others in zip(model, rows, more, strict=True):
        several = cells["generated_texts"]
        assert (json.loads(several) if several else [cells["generated_text"]]) == [text, *others]
    assert table == written(format_, lines, names, [])


@patient
@given(st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), max_size=4))
def test_result_lines_go_through_json_lines_untouched(results: list[tuple[str, list[str]]]) -> None:
    lines = [
        result_line(Record(ordinal=0, id=as_json(id_), texts=("x",)), texts)[:-1]
        for id_, texts in results
    ]
    assert written("jsonl", lines, [], [1, 2]).split(b"\n")[:-1] == lines


@patient
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"))))
def test_texts_without_line_ends_are_read_back_from_lines(texts: list[str]) -> None:
    texts = [text.rstrip("\r") for text in texts]
    texts = [text for text in texts if text.strip()]
    found = rows_of("lines", "\r\n".join(texts).removeprefix("\ufeff").encode())
    if texts:
        texts[0] = texts[0].removeprefix("\ufeff")
    assert [row.texts[0] for row in found if isinstance(row, Record)] == [t for t in texts if t]


@patient
@given(SOME_TEXT, SOME_TEXT, SOME_TEXT, st.lists(TEXTS, min_size=1, max_size=3), st.booleans())
def test_a_request_is_answered_under_its_id_with_its_texts(
    custom_id: str, system: str, text: str, answers: list[str], escaped: bool
) -> None:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": text}]
    request = {"custom_id": custom_id, "body": {"messages": messages, "temperature": 0}}
    data = json.dumps(request, ensure_ascii=escaped).encode()
    record = only_record("openai", data, Shape(parameters=SHAPE.parameters, keep=(ANSWER_COLUMN,)))
    assert record.texts == (f"{system}\n\n{text}",)
    details = Details((FinishReason.EOS,) * len(answers), 1, 2)
    line = result_line(record, answers, details=details)[:-1]
    answer = json.loads(written("openai", [line], [], []))
    assert answer["custom_id"] == custom_id
    choices = answer["response"]["body"]["choices"]
    assert [choice["message"]["content"] for choice in choices] == answers


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["user", "system", "text", "/v1/completions", "/v1/chat/completions", "POST"])
    | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "prompt", "messages", "n", "stop"])
            | st.sampled_from(["temperature", "top_p", "max_tokens", "logprobs", "model", "tools"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@patient
@given(
    st.dictionaries(st.sampled_from(["custom_id", "method", "url", "body"]), JSON_VALUES),
    st.booleans(),
)
@example({"custom_id": "a", "body": {"prompt": [], "n": None}}, True)
def test_any_object_is_a_record_or_says_why_not(request: dict[str, Any], keeps: bool) -> None:
    shape = Shape(parameters=SHAPE.parameters, keep=(ANSWER_COLUMN,) if keeps else ())
    (row,) = rows_of("openai", json.dumps(request).encode(), shape)
    if isinstance(row, Rejected):
        assert row.message
        assert row.code in ErrorCode
    else:
        assert json.loads(row.id) == request["custom_id"]
        assert len(written("openai", [result_line(row, row.texts)[:-1]], [], []).splitlines()) == 1


@patient
@given(st.lists(st.binary(max_size=50) | st.integers(0, 300_000).map(bytes), max_size=6))
def test_what_is_compressed_is_read_back_and_does_not_depend_on_the_cuts(
    pieces: list[bytes],
) -> None:
    for name in ("a.gz", "a.zst"):
        cut, whole = compressor(name), compressor(name)
        stored = b"".join([*map(cut.encode, pieces), cut.finish()])
        assert stored == whole.encode(b"".join(pieces)) + whole.finish()
        stream = decompressed(Stored(io.BytesIO(stored)), name)
        found = b""
        while block := stream.read(65536):
            found += block
        assert found == b"".join(pieces)


def test_a_delimited_reader_is_ready_for_the_next_file_after_a_refused_one() -> None:
    reader = DelimitedReader(RecordBuilder(SHAPE), COMMA)
    for data in (b"id,id\n1,2", b"id,text_inputs\n1,a"):
        try:
            rows = [row for rows in reader.read(io.BytesIO(data), "in") for row in rows]
        except InputError:
            continue
        assert [row.id for row in rows] == [b'"1"']


@patient
@given(
    st.binary(max_size=40) | TEXTS.map(str.encode), st.sampled_from(INPUT_FORMATS), st.booleans()
)
def test_whatever_a_file_begins_with_its_format_is_right_or_refused_in_a_sentence(
    head: bytes, format_: Format, said: bool
) -> None:
    refused = None
    try:
        check_content("in", format_, head, said=said)
    except InputError as error:
        refused = error
    assert refused is None or (refused.message.startswith("in is ") and refused.hint)


@patient
@given(st.lists(st.dictionaries(TEXTS, TEXTS, max_size=3), min_size=1, max_size=3))
def test_no_rows_of_json_are_taken_for_another_format(rows: list[dict[str, str]]) -> None:
    head = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    check_content("in.jsonl", "jsonl", head, said=False)
