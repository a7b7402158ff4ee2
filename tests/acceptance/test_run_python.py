"""`textmill.run` on what Python may give it."""

from __future__ import annotations

import json
import math
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

import textmill
from support.command import read_lines

GOOD = {"id": 0, "text_inputs": "good"}


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_bad_item_costs_its_own_result_only(tmp_path):
    items = [GOOD, b"x", {"id": 1, "text_inputs": "\ud800"}, {"id": float("nan")}, None]
    job = textmill.run(items, "out.jsonl", engine="echo")
    assert (job.counts.rows, job.counts.ok, job.counts.invalid) == (5, 1, 4)
    assert [(error.line, error.code) for error in job.failures] == [
        (line, "bad_record") for line in (2, 3, 4, 5)
    ]
    assert read_lines(tmp_path / "out.jsonl") == [{"id": 0, "generated_texts": ["good"]}]


def test_kept_values_without_json_are_null_and_the_manifest_counts_them():
    items = [{**GOOD, "score": float("nan")}, {"id": 1, "text_inputs": "t", "score": 0.5}]
    job = textmill.run(items, "out.jsonl", engine="echo", keep="score")
    assert [row["score"] for row in job.results] == [None, 0.5]
    (note,) = json.loads(job.manifest_path.read_bytes())["warnings"]
    assert note.startswith('no JSON for 1 value of the column "score", null')


def test_scalars_of_numpy_and_dates_come_through_and_sets_fail_their_row():
    values = [np.float32(0.5), date(2020, 1, 2), {1}, math.inf]
    items = [{"id": n, "text_inputs": "t", "k": value} for n, value in enumerate(values)]
    job = textmill.run(items, "out.jsonl", engine="echo", keep="k")
    assert [(row["id"], row["k"]) for row in job.results] == [(0, 0.5), (1, "2020-01-02")]
    assert [(error.id, error.message[:12]) for error in job.failures] == [
        (2, '"k" is a set'),
        (3, '"k" is inf, '),
    ]


def test_a_number_of_python_that_no_float_holds_fails_its_row():
    items = [GOOD, {"id": 10**400, "text_inputs": "t"}, {"id": 1, "text_inputs": "t", "k": 10**400}]
    job = textmill.run(items, "out.jsonl", engine="echo", keep="k")
    assert [row["id"] for row in job.results] == [0]
    assert [(error.id, error.code) for error in job.failures] == [
        (None, "bad_record"),
        (1, "bad_record"),
    ]


def arrow_shapes():
    table = pa.table({"id": [1, 2, 3], "text_inputs": ["a", "b", "c"], "day": DAYS})
    batches = table.to_batches(max_chunksize=2)
    return {
        "table": table,
        "batch": table.combine_chunks().to_batches()[0],
        "batches": batches,
        "generator": (batch for batch in batches),
        "reader": table.to_reader(),
        "dataset": pyarrow.dataset.dataset(table),
        "stream": OnlyStream(table),
        "array": [OnlyArray(batch) for batch in batches],
    }


DAYS = pa.array([1, 2, 3], pa.date32())


class OnlyStream:
    """A table of another library, which shows what all of them show."""

    def __init__(self, table):
        self.__arrow_c_stream__ = table.__arrow_c_stream__


class OnlyArray:
    def __init__(self, batch):
        self.__arrow_c_array__ = batch.__arrow_c_array__


@pytest.mark.parametrize("shape", arrow_shapes())
def test_tables_of_arrow_are_rows_with_their_types_whatever_their_shape(shape):
    job = textmill.run(arrow_shapes()[shape], "out.parquet", engine="echo", keep="day")
    assert (job.counts.rows, job.counts.ok) == (3, 3)
    assert pq.read_table("out.parquet").column("day").combine_chunks() == DAYS


def test_tables_of_other_columns_than_the_first_are_refused():
    tables = [pa.table({"id": [1], "text_inputs": ["a"]}), pa.table({"id": ["x"]})]
    with pytest.raises(textmill.UsageError, match="id int64, text_inputs string; then id string"):
        textmill.run(tables, "out.jsonl", engine="echo")


@pytest.mark.parametrize("inputs", [None, 5, b"in.jsonl", GOOD], ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("verb", [textmill.run, textmill.preview])
def test_an_argument_that_can_be_no_input_is_a_usage_error(verb, inputs):
    with pytest.raises(textmill.UsageError, match="the input is") as caught:
        verb(inputs, "out.jsonl", engine="echo")
    assert "iterable of dicts" in str(caught.value)


@pytest.mark.parametrize("inputs", [[], iter([]), set()], ids=lambda x: type(x).__name__)
def test_no_items_are_a_job_of_no_rows_as_an_empty_file_is(tmp_path, inputs):
    (tmp_path / "empty.jsonl").touch()
    empty = textmill.run("empty.jsonl", "file.jsonl", engine="echo")
    job = textmill.run(inputs, "out.jsonl", engine="echo")
    assert (job.counts, job.manifest["warnings"]) == (empty.counts, empty.manifest["warnings"])
    assert job.counts.rows == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"output": None},
        {"threads": "4"},
        {"keep": 5},
        {"prompt": 5},
        {"model": 5},
        {"id": None},
        {"seed": "1"},
        {"timeout": "10"},
        {"parameters": [1]},
        {"max_errors": 0.5},
        {"on_transfer": "print"},
        {"stores": None},
    ],
    ids=str,
)
def test_an_argument_of_the_wrong_type_is_a_usage_error_that_names_it(wrong):
    said = {"output": "out.jsonl", "engine": "echo", **wrong}
    (name,) = wrong
    with pytest.raises(textmill.UsageError, match=name):
        textmill.run([GOOD], **said)


@pytest.mark.parametrize("wrong", [{"threads": "4"}, {"seed": 1.5}, {"api_key_file": 3}], ids=str)
def test_load_names_an_argument_of_the_wrong_type_too(wrong):
    (name,) = wrong
    with pytest.raises(textmill.UsageError, match=name):
        textmill.load("demo", **wrong)
