"""Reading and writing Parquet: what a row is, what is refused, what a file costs."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

import textmill
from support.parquet_damage import SHAPE as DAMAGE_SHAPE
from support.parquet_damage import cuts, outcome, sample
from support.parquet_files import read_rows, stored, text_columns
from support.records import SHAPE
from textmill.core import Record, Rejected
from textmill.errors import ErrorCode, InputError, OutputError
from textmill.records.arrow_json import NoJson, json_texts
from textmill.records.builder import Nulled, RecordBuilder
from textmill.records.parquet import ParquetReader, read_parquet_values
from textmill.records.parquet_columns import (
    ParquetColumns,
    columns_of_lines,
    common_columns,
    unpacked,
)
from textmill.records.parquet_writer import ParquetWriter
from textmill.records.prompt import parse_prompt
from textmill.records.results import result_line
from textmill.records.shape import ORDINAL_ID, Shape

BASE = {"id": [1, 2], "text_inputs": ["a", "b"]}


def one(value: object, kind: pa.DataType) -> object:
    (text,) = json_texts(pa.array([value], kind))
    return text if isinstance(text, NoJson) else text.decode()


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (2**64 - 1, pa.uint64(), "18446744073709551615"),
        (-(2**63), pa.int64(), "-9223372036854775808"),
        (1.0, pa.float64(), "1.0"),
        (0.1, pa.float32(), "0.10000000149011612"),
        (1.5, pa.float16(), "1.5"),
        (Decimal("1.50"), pa.decimal128(9, 2), "1.50"),
        (Decimal("0E-8"), pa.decimal128(38, 8), "0.00000000"),
        (5, pa.timestamp("ns", "UTC"), '"1970-01-01T00:00:00.000000005Z"'),
        (-1, pa.timestamp("ms"), '"1969-12-31T23:59:59.999"'),
        (0, pa.timestamp("s"), '"1970-01-01T00:00:00"'),
        (1_500, pa.time32("ms"), '"00:00:01.500"'),
        (date(2024, 2, 29), pa.date64(), '"2024-02-29"'),
        ([(1, "x")], pa.map_(pa.int8(), pa.string()), '{"1": "x"}'),
        ([(date(1, 1, 1), None)], pa.map_(pa.date32(), pa.int8()), '{"0001-01-01": null}'),
        ({"a": [None]}, pa.struct([("a", pa.list_(pa.bool_()))]), '{"a": [null]}'),
        ({}, pa.struct([]), "{}"),
        ("\u2028", pa.string(), '"\\u2028"'),
    ],
)
def test_values_have_one_json_text(value: object, kind: pa.DataType, text: str) -> None:
    assert one(value, kind) == text


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        (float("nan"), pa.float64(), "is nan"),
        (float("-inf"), pa.float32(), "is -inf"),
        (b"x", pa.binary(), "holds binary"),
        (1, pa.duration("s"), "holds duration"),
        (10**12, pa.timestamp("s"), "years 1 to 9999"),
        (86_400, pa.time32("s"), "no time of a day"),
        ([("a", 1), ("a", 2)], pa.map_(pa.string(), pa.int8()), "key twice"),
        ([[float("nan")]], pa.list_(pa.list_(pa.float64())), "is nan"),
        ({"a": b"x"}, pa.struct([("a", pa.binary())]), "holds binary"),
    ],
)
def test_values_without_json_say_why(value: object, kind: pa.DataType, reason: str) -> None:
    found = one(value, kind)
    assert isinstance(found, NoJson)
    assert reason in found.reason


def test_uuids_within_other_types_are_text() -> None:
    storage = pa.array([UUID(int=5).bytes], pa.binary(16))
    inside = pa.StructArray.from_arrays(
        [pa.ExtensionArray.from_storage(pa.uuid(), storage)], names=["u"]
    )
    assert json_texts(inside) == [b'{"u": "%b"}' % str(UUID(int=5)).encode()]


def test_text_that_is_not_utf8_spoils_its_own_row_only() -> None:
    text = pa.array([b"\xc3\xa9", b"ab\xff"], pa.binary()).view(pa.string())
    good, bad = read_rows(stored(pa.table({"id": [1, 2], "text_inputs": text})), Shape())
    assert isinstance(good, Record)
    assert good.texts == ("é",)
    assert isinstance(bad, Rejected)
    assert (bad.id, bad.line, bad.code) == (b"2", 2, "bad_record")
    assert bad.message == '"text_inputs" is not UTF-8: byte 0xff at byte 3'


def test_a_value_without_json_is_null_where_it_is_copied_an_error_where_needed() -> None:
    table = pa.table({**BASE, "score": [float("nan"), 1.0], "raw": [b"\xff", b"x"]})
    data = stored(table)
    assert all(isinstance(row, Record) for row in read_rows(data, Shape()))
    reader = ParquetReader(RecordBuilder(Shape(keep=("score",))))
    first, second = read_rows(data, Shape(), reader=reader)
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert (first.kept, second.kept) == (((b'"score"', b"null"),), ((b'"score"', b"1.0"),))
    assert reader.builder.nulled == {"score": Nulled(1, "is nan, not a JSON number")}
    bad, good = read_rows(data, Shape(prompt=parse_prompt("{score}")))
    assert isinstance(bad, Rejected)
    assert (bad.id, bad.message) == (b"1", '"score" is nan, not a JSON number')
    assert isinstance(good, Record)
    by_score = read_rows(data, Shape(id_field="score"))
    assert isinstance(by_score[0], Rejected)
    assert by_score[0].id is None


def test_null_parameters_are_not_set_and_others_are() -> None:
    table = pa.table({**BASE, "top_k": [None, 5], "num_beams": [4, 4]})
    first, second = read_rows(stored(table), SHAPE)
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert first.params == {"num_beams": 4}
    assert second.params == {"top_k": 5, "num_beams": 4}


def test_null_texts_and_ids_are_null_as_in_json_lines() -> None:
    table = pa.table({"id": [None, "x"], "text_inputs": ["a", None]})
    first, second = read_rows(stored(table), Shape())
    assert isinstance(first, Rejected)
    assert (first.id, first.code) == (b"null", ErrorCode.MISSING_FIELD)
    assert isinstance(second, Rejected)
    assert "text_inputs is null" in second.message


def test_columns_that_nothing_reads_are_named_and_not_read() -> None:
    table = pa.table({**BASE, "extra": ["x", "y"], "more": [[1], []]})
    reader = ParquetReader(RecordBuilder(SHAPE))
    assert len(read_rows(stored(table), SHAPE, reader=reader)) == 2
    assert reader.builder.unused_columns == ("extra", "more")
    (row, _) = read_rows(stored(pa.table({**BASE, "max_lenght": [1, 2]})), SHAPE)
    assert isinstance(row, Rejected)
    assert "max_length" in row.message


def test_the_hint_for_a_missing_text_names_a_column_of_text() -> None:
    table = pa.table({"id": [1], "n": [2], "article": ["a"]})
    (row,) = read_rows(stored(table), Shape())
    assert isinstance(row, Rejected)
    assert '--prompt "Summarize: {article}"' in row.message


def test_prompts_reach_into_columns_with_dots_and_into_structs() -> None:
    table = pa.table({"id": [1], "a.b": ["dotted"], "a": [{"b": "in", "c": {"d": 7}}], "e": [0.5]})
    shape = Shape(prompt=parse_prompt("{a.b} {a.c.d} {e}"))
    (row,) = read_rows(stored(table), shape)
    assert isinstance(row, Record)
    assert row.texts == ("dotted 7 0.5",)


def test_whole_rows_are_given_on_request() -> None:
    builder = RecordBuilder(Shape(join=True))
    reader = ParquetReader(builder, whole_rows=True)
    (row, _) = read_rows(stored(pa.table({**BASE, "x": [float("nan"), 1]})), Shape(), reader=reader)
    assert isinstance(row, Record)
    assert row.source == b'{"id": 1, "text_inputs": "a", "x": null}'
    assert builder.nulled["x"].count == 1


@pytest.mark.parametrize("shape", [{"keep": ("x",)}, {"join": True}], ids=["keep", "join"])
def test_an_infinity_that_is_copied_refuses_its_row(shape: dict[str, Any]) -> None:
    reader = ParquetReader(RecordBuilder(Shape(**shape)), whole_rows="join" in shape)
    table = pa.table({**BASE, "x": [float("-inf"), 1]})
    (row, other) = read_rows(stored(table), Shape(), reader=reader)
    assert isinstance(row, Rejected)
    assert (row.id, row.message) == (b"1", '"x" is -inf, not a JSON number')
    assert isinstance(other, Record)


def test_ordinals_and_lines_go_on_over_row_groups_and_files() -> None:
    count = 1_300
    table = pa.table({"text_inputs": [f"t{n}" for n in range(count)]})
    reader = ParquetReader(RecordBuilder(Shape(id_field=ORDINAL_ID)))
    source = io.BytesIO(stored(table, row_group_size=700))
    chunks = list(reader.read(source, "x", 1_000))
    rows = [row for chunk in chunks for row in chunk]
    assert max(map(len, chunks)) <= 512
    assert [row.ordinal for row in rows] == list(range(1_000, 1_000 + count))
    assert [row.line for row in rows] == list(range(1, count + 1))
    assert rows[-1].id == b"2299"
    assert reader.count(source) == count


def test_short_reads_of_the_source_are_no_damage() -> None:
    class Dribble(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size, 7) if size and size > 0 else size)

    reader = ParquetReader(RecordBuilder(DAMAGE_SHAPE))
    rows = [row for chunk in reader.read(Dribble(sample()), "x") for row in chunk]
    assert len(rows) == 60


@pytest.mark.parametrize("rows", [0, 3])
def test_files_without_columns_or_rows(rows: int) -> None:
    assert read_rows(stored(pa.table({"id": pa.array([], pa.int8())})), Shape()) == []
    table = pa.table({"x": [1] * rows}).select([])
    assert read_rows(stored(table), Shape()) == []


def refused(data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read_rows(data, Shape())
    assert caught.value.hint
    return caught.value.message


def test_two_columns_of_one_name_are_refused() -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    assert '"a"' in refused(stored(table))


def test_what_is_no_parquet_is_told_so() -> None:
    for data in (b"", b"PAR1", b'{"id": 1}\n' * 9, sample()[:-9]):
        assert "in.parquet is no" in refused(data) or "in.parquet is damaged" in refused(data)
    assert "no whole Parquet file" in refused(b'{"id": 1}\n' * 9)


class Kms(pe.KmsClient):
    def __init__(self, _: object) -> None:
        super().__init__()

    def wrap_key(self, key: bytes, _: str) -> bytes:
        return base64.b64encode(key)

    def unwrap_key(self, key: bytes, _: str) -> bytes:
        return base64.b64decode(key)


@pytest.mark.parametrize("plain_footer", [False, True])
def test_an_encrypted_file_is_told_so(plain_footer: bool) -> None:
    settings = pe.EncryptionConfiguration(
        footer_key="f", column_keys={"c": ["text_inputs"]}, plaintext_footer=plain_footer
    )
    factory = pe.CryptoFactory(Kms)
    table, sink = pa.table(BASE), io.BytesIO()
    properties = factory.file_encryption_properties(pe.KmsConnectionConfig(), settings)
    with pq.ParquetWriter(sink, table.schema, encryption_properties=properties) as writer:
        writer.write_table(table)
    said = refused(sink.getvalue())
    assert said.startswith("in.parquet")
    assert said.endswith(" is encrypted")


def test_a_file_that_is_cut_anywhere_is_refused() -> None:
    data = sample()
    assert {outcome(cut) for cut in cuts(data)} == {"refused"}
    assert outcome(data) == "rows"


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_damage_is_refused_or_harmless_and_kills_nothing(compression: str) -> None:
    """In a process of its own, which a crash of pyarrow would end."""
    assert_survives(0, 1_500, compression)


@pytest.mark.full
@pytest.mark.parametrize("compression", ["none", "zstd", "snappy", "gzip"])
def test_much_damage_is_refused_or_harmless(compression: str) -> None:
    assert_survives(1_500, 60_000, compression)


def assert_survives(first: int, last: int, compression: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "support.parquet_damage", str(first), str(last), compression],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout[-100:], done.stderr)
    outcomes = done.stdout.splitlines()[1::2]
    assert len(outcomes) == last - first
    assert set(outcomes) == {"refused", "rows"}


def test_a_flipped_bit_in_a_page_with_a_checksum_is_found() -> None:
    data = stored(
        pa.table(BASE), compression="none", write_page_checksum=True, use_dictionary=False
    )
    at = data.index(b"b", data.index(b"\x01\x00\x00\x00a"))
    assert "CRC" in refused(data[:at] + b"c" + data[at + 1 :])


def test_without_pyarrow_the_extra_is_named() -> None:
    script = (
        "import sys, io; sys.modules['pyarrow'] = None\n"
        "from textmill.records.builder import RecordBuilder\n"
        "from textmill.records.parquet import ParquetReader\n"
        "from textmill.records.shape import Shape\n"
        "from textmill.errors import UsageError\n"
        "try: next(ParquetReader(RecordBuilder(Shape())).read(io.BytesIO(), 'x'))\n"
        "except UsageError as error: print(error)\n"
    )
    source = Path(textmill.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pip install 'textmill[parquet]'" in done.stdout


def test_values_for_scoring_are_whole_rows() -> None:
    data = stored(pa.table({"id": ["x"], "highlights": ["h"], "n": [float("nan")]}))
    assert list(read_parquet_values(io.BytesIO(data), "x")) == [
        (1, {"id": b'"x"', "highlights": b'"h"'})
    ]


def write(columns: ParquetColumns, *lines: bytes) -> pa.Table:
    writer = ParquetWriter(columns)
    return pq.read_table(io.BytesIO(writer.encode(lines) + writer.finish()))


def line(id_: object, kept: dict[str, object], texts: list[str]) -> bytes:
    columns = tuple((json.dumps(k).encode(), json.dumps(v).encode()) for k, v in kept.items())
    record = Record(ordinal=0, id=json.dumps(id_).encode(), texts=("x",), kept=columns)
    return result_line(record, texts)


def test_without_declared_types_everything_is_text() -> None:
    found = write(
        text_columns(Shape(keep=("k",))),
        line("x", {"k": 1.5}, ["a"]),
        line(7, {"k": None}, []),
        line([1], {}, ["b", "c"]),
    )
    assert found.to_pylist() == [
        {"id": "x", "k": "1.5", "generated_texts": ["a"]},
        {"id": "7", "k": None, "generated_texts": []},
        {"id": "[1]", "k": None, "generated_texts": ["b", "c"]},
    ]
    assert unpacked(text_columns(Shape(id_field=ORDINAL_ID))).field("id").type == pa.int64()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, -(2**63)], pa.int64()),
        ([1, 2**63], pa.string()),
        ([1, "1"], pa.string()),
        ([1.5, None, 2.0], pa.float64()),
        ([1, 1.5], pa.string()),
        ([True, None], pa.bool_()),
        (["x", None], pa.string()),
        ([None], pa.null()),
        ([{"a": 1}], pa.string()),
    ],
)
def test_types_of_json_lines_are_those_of_all_their_values(
    values: list[object], kind: pa.DataType
) -> None:
    lines = [line(n, {"k": value}, ["t"]) for n, value in enumerate(values)]
    columns = columns_of_lines(lines, Shape(keep=("k",)))
    schema = unpacked(columns)
    assert (schema.field("id").type, schema.field("k").type) == (pa.int64(), kind)
    found = write(columns, *lines).column("k").to_pylist()
    texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
    assert found == (texts if kind == pa.string() else values)


def test_numbers_that_a_column_of_numbers_would_change_stay_text() -> None:
    for value in (b"1.10", b"1e400", b"-0", b"0.1000000000000000055"):
        lines = [b'{"id": %b, "generated_texts": []}' % value]
        columns = columns_of_lines(lines, Shape())
        assert write(columns, *lines).column("id").to_pylist() == [value.decode()]


def test_inputs_of_different_types_lead_to_text() -> None:
    shape = Shape(keep=("k", "m"))
    reader = ParquetReader(RecordBuilder(shape))
    several = [
        reader.columns(io.BytesIO(stored(table)), "x")
        for table in (
            pa.table({"id": [1], "k": [1]}),
            pa.table({"id": [1], "k": ["a"], "m": [date(2020, 1, 1)]}),
        )
    ]
    schema = unpacked(common_columns(several))
    assert [schema.field(name).type for name in ("id", "k", "m")] == [
        pa.int64(),
        pa.string(),
        pa.date32(),
    ]


def test_a_value_of_another_type_is_refused_and_names_its_column() -> None:
    columns = columns_of_lines([line(1, {}, [])], Shape())
    for bad in (line("x", {}, []), line(2**64, {}, []), line(1, {"new": 1}, [])):
        with pytest.raises(OutputError, match=r'"id"|"new"'):
            write(columns, bad)


def test_row_groups_are_bounded_and_independent_of_the_calls() -> None:
    lines = [line(n, {}, ["t"]) for n in range(40_000)]
    columns = columns_of_lines(lines, Shape())
    whole = ParquetWriter(columns)
    file = whole.encode(lines) + whole.finish()
    pieces = ParquetWriter(columns)
    parts = [pieces.encode(lines[start : start + 999]) for start in range(0, len(lines), 999)]
    assert b"".join(parts) + pieces.finish() == file
    metadata = pq.ParquetFile(io.BytesIO(file)).metadata
    assert [metadata.row_group(n).num_rows for n in range(3)] == [16_384, 16_384, 7_232]
    assert metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_file_without_rows_has_its_columns() -> None:
    assert write(text_columns(Shape(keep=("k",)))).schema.names == ["id", "k", "generated_texts"]


@pytest.mark.full
def test_a_large_file_is_read_and_written_in_bounded_memory(tmp_path: Path) -> None:
    """300 MB of text in one row group, and as much in the output."""
    script = Path(__file__).parents[1] / "support" / "parquet_memory.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path / "big.parquet"],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    grown_mb = json.loads(done.stdout)
    assert grown_mb["read"] < 100
    assert grown_mb["write"] < 250
