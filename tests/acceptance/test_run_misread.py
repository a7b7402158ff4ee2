"""Inputs of the wrong shape: refused before the model is sought, with what mends it."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import textmill as tm
from support.command import textmill
from support.job_files import chat_request, write_input

ROWS = [{"id": 1, "text_inputs": "one"}, {"id": 2, "text_inputs": "two"}]
OTHERS = [{"nr": 1, "body": "one"}, {"nr": 2, "body": "two"}]
JSONL = "".join(json.dumps(row) + "\n" for row in ROWS)
REQUESTS = "".join(json.dumps(chat_request(row)) + "\n" for row in ROWS)
ARRAY = json.dumps(ROWS)
OBJECT = json.dumps(ROWS[0], indent=1)
FORMATS = ("jsonl", "csv", "tsv", "lines", "openai", "parquet")
ENDINGS = {"jsonl": "jsonl", "csv": "csv", "tsv": "tsv", "lines": "txt", "openai": "jsonl"}


def table(mark):
    return f"id{mark}text_inputs\n1{mark}one\n2{mark}two\n"


def refusal(inputs, tmp_path, **options):
    """What is said to inputs with a model that there is not; the folder stays as it is."""
    before = sorted(tmp_path.iterdir())
    with pytest.raises(tm.UsageError) as refused:
        tm.run(inputs, tmp_path / "out.jsonl", model="no-such", **options)
    assert sorted(tmp_path.iterdir()) == before
    assert "no-such" not in str(refused.value)
    return refused.value.message, refused.value.hint


MISREAD = {
    "array in JSON Lines": ("in.jsonl", ARRAY, "one JSON array", "jq -c '.[]'"),
    "array in CSV": ("in.csv", ARRAY, "one JSON array, not CSV", "jq -c '.[]'"),
    "array in TSV": ("in.tsv", ARRAY, "one JSON array, not TSV", "jq -c '.[]'"),
    "array in lines": ("in.txt", ARRAY, "one JSON array, not plain lines", "jq -c '.[]'"),
    "array in .json": ("in.json", json.dumps(ROWS, indent=2), "one JSON array", "jq -c '.[]'"),
    "object over lines": ("in.jsonl", OBJECT, "JSON over several lines", "jq -c ."),
    "object over lines in CSV": ("in.csv", OBJECT, "JSON over several lines", "jq -c ."),
    "JSON Lines in CSV": ("in.csv", JSONL, "JSON Lines, not CSV", "--input-format jsonl"),
    "JSON Lines in TSV": ("in.tsv.gz", JSONL, "JSON Lines, not TSV", "--input-format jsonl"),
    "requests in CSV": ("in.csv", REQUESTS, "batch requests, not CSV", "--input-format openai"),
    "CSV in JSON Lines": ("in.jsonl", table(","), "not JSON Lines", "--input-format csv"),
    "TSV in JSON Lines": ("in.jsonl", table("\t"), "not JSON Lines", "--input-format tsv"),
    "CSV in lines": ("in.txt", table(","), "a table whose header is", "--input-format csv"),
    "TSV in lines": ("in.txt", table("\t"), "a table whose header is", "--input-format tsv"),
    "lines in JSON Lines": ("in.jsonl", "one\ntwo\n", "not JSON Lines", "lines (a text per line)"),
    "lines in CSV": ("in.csv", "one\ntwo\n", 'the column "id"', "--input-format lines"),
    "semicolons in CSV": ("in.csv", table(";"), "by semicolons", "csvformat -d ';'"),
    "semicolons in TSV": ("in.tsv", table(";"), "by semicolons", "csvformat -d ';'"),
    "semicolons in JSON Lines": ("in.jsonl", table(";"), "not JSON Lines", "csvformat -d ';'"),
    "semicolons in lines": ("in.txt", table(";"), "a table", "csvformat -d ';'"),
    "commas in TSV": ("in.tsv", table(","), "by commas", "--input-format csv"),
    "tabs in CSV": ("in.csv", table("\t"), "by tabs", "--input-format tsv"),
    "a row quoted whole": ("in.csv", '"id,text_inputs"\n"1,one"\n', "id", "in the first row"),
    "no Parquet": ("in.parquet", "<!DOCTYPE html>\n<p>", '"<!DOCTYPE html>"', "--input-format"),
    "empty Parquet": ("in.parquet", "", "in.parquet is empty", "write it again"),
}


@pytest.mark.parametrize("case", MISREAD)
def test_what_a_file_is_not_is_said_with_what_it_is(tmp_path, case):
    name, text, what, hint = MISREAD[case]
    data = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    message, mends = refusal(tmp_path / name, tmp_path)
    assert (what in message, hint in mends) == (True, True), (message, mends)


@pytest.mark.parametrize("text", [ARRAY, table(","), "one\ntwo\n"])
def test_rows_that_may_all_fail_are_errors_of_their_own(tmp_path, text):
    """--max-errors 100%: what is wrong with one input costs no other one anything."""
    (tmp_path / "a.jsonl").write_text(text)
    (tmp_path / "b.jsonl").write_text(JSONL)
    inputs = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    job = tm.run(inputs, tmp_path / "out", engine="echo", format="jsonl", max_errors="100%")
    assert [row["id"] for row in job.results] == [1, 2]
    assert job.counts.invalid == len(text.splitlines())


SAID = {
    ("jsonl", "csv"): ("JSON Lines, not CSV", "--input-format jsonl"),
    ("jsonl", "openai"): ("no file of OpenAI's batch requests", "leave --input-format out"),
    ("jsonl", "parquet"): ("no Parquet file", "--input-format"),
    ("csv", "jsonl"): ("not JSON Lines", "--input-format csv"),
    ("csv", "openai"): ("no file of OpenAI's batch requests", "leave --input-format out"),
    ("csv", "tsv"): ("separated by commas", "--input-format csv"),
    ("openai", "jsonl"): ('no row has the column "id"', "--input-format openai"),
    ("openai", "tsv"): ("batch requests, not TSV", "--input-format openai"),
    ("lines", "csv"): ('no row has the column "id"', "--input-format lines"),
    ("parquet", "csv"): ("a Parquet file", "--input-format parquet"),
    ("parquet", "jsonl"): ("a Parquet file", "--input-format parquet"),
    ("parquet", "lines"): ("a Parquet file", "--input-format parquet"),
}


@pytest.mark.parametrize(("is_", "said"), SAID)
def test_a_format_that_is_said_and_wrong_is_told_so(tmp_path, is_, said):
    source = write_input(tmp_path, is_, ROWS)
    message, mends = refusal(source, tmp_path, input_format=said)
    what, hint = SAID[is_, said]
    assert (what in message, hint in mends) == (True, True), (message, mends)


def test_texts_may_be_anything_where_it_is_said_that_they_are_texts(tmp_path):
    for name, text in {"a": ARRAY, "j": JSONL, "t": table(","), "r": REQUESTS}.items():
        (tmp_path / name).write_text(text)
        job = tm.run(
            tmp_path / name, tmp_path / f"{name}.jsonl", engine="echo", input_format="lines"
        )
        texts = [row["generated_texts"] for row in job.results]
        assert texts == [[line] for line in text.splitlines()]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("format_", ENDINGS)
def test_text_of_two_or_four_bytes_a_character_is_told_by_its_encoding(tmp_path, format_, encoding):
    text = {"jsonl": JSONL, "openai": REQUESTS, "csv": table(","), "tsv": table("\t")}
    name = f"in.{ENDINGS[format_]}"
    (tmp_path / name).write_bytes(text.get(format_, "one\ntwo\n").encode(encoding))
    message, mends = refusal(tmp_path / name, tmp_path)
    assert message.endswith(f"{name} is text in {encoding[:6].upper()}")
    assert f"iconv -f {encoding.upper().replace('-LE', 'LE').replace('-BE', 'BE')} " in mends


@pytest.mark.parametrize("format_", FORMATS)
def test_a_field_of_the_prompt_that_no_row_has_is_told_with_those_there_are(tmp_path, format_):
    source = write_input(tmp_path, format_, ROWS)
    message, mends = refusal(source, tmp_path, prompt="Summarize: {bdoy}")
    assert '"bdoy"' in message
    assert "prompt" in message
    assert '"text_inputs"' in message + mends


@pytest.mark.parametrize("format_", ["jsonl", "csv", "tsv", "parquet"])
@pytest.mark.parametrize("flag", ["--id", "--keep", "--input-filter", "--output-filter"])
def test_a_field_of_any_flag_that_no_row_has_is_told_with_the_flag(tmp_path, format_, flag):
    source = write_input(tmp_path, format_, ROWS)
    name = flag.removeprefix("--").replace("-", "_")
    value = {"keep": ("nope",), "id": "nope"}.get(name, "$.nope")
    message, mends = refusal(source, tmp_path, **{name: value})
    assert "nope" in message
    assert flag in message + mends
    assert '"id"' in message + mends


@pytest.mark.parametrize("format_", ["csv", "tsv", "parquet"])
def test_a_table_that_lacks_what_the_others_have_is_named(tmp_path, format_):
    good = write_input(tmp_path, "jsonl", ROWS)
    lacking = write_input(tmp_path, format_, OTHERS)
    message, mends = refusal([good, lacking], tmp_path)
    assert message.startswith(f'{lacking} has no column "id" (--id id); other inputs have it')
    assert "a job of its own" in mends
    assert '"nr", "body"' in mends


def test_rows_of_json_may_lack_what_others_have(tmp_path):
    """They are no table: each is a row of its own."""
    sources = [write_input(tmp_path, "csv", ROWS), tmp_path / "more.jsonl"]
    sources[1].write_text("".join(json.dumps(row) + "\n" for row in OTHERS))
    assert tm.run(sources, tmp_path / "out.jsonl", engine="echo").counts.codes == {
        "missing_field": 2
    }


def test_a_column_to_keep_may_be_in_one_table_only(tmp_path):
    sources = [write_input(tmp_path, "csv", ROWS), tmp_path / "more.parquet"]
    pq.write_table(pa.table({"id": [7], "text_inputs": ["x"], "title": ["T"]}), sources[1])
    job = tm.run(sources, tmp_path / "out.jsonl", engine="echo", keep=["title"])
    assert [row.get("title") for row in job.results] == [None, None, "T"]


def test_tables_and_rows_in_one_list_are_refused_and_the_odd_one_is_named(tmp_path):
    arrow = pa.table({"id": [1], "text_inputs": ["a"]})
    assert refusal([arrow, ROWS[0]], tmp_path) == (
        "item 2 is a dict, and those before it are tables",
        "give tables only, or rows only: [*table.to_pylist(), …]",
    )
    message, _ = refusal([*ROWS, arrow], tmp_path)
    assert message == "item 3 is an Arrow table, and those before it are rows"


@pytest.mark.parametrize("name", ["in.jsonl", "in.csv", "in.txt"])
def test_rows_in_another_encoding_say_how_to_convert_the_file(tmp_path, name):
    text = {
        "in.jsonl": '{"id": 1, "text_inputs": "caf\xe9"}',
        "in.csv": "id,text_inputs\n1,caf\xe9\n",
    }
    (tmp_path / name).write_bytes(text.get(name, "caf\xe9").encode("latin-1"))
    ran = textmill("run", name, "-o", "out.jsonl", "--engine", "echo", cwd=tmp_path)
    assert ran.code == 3
    assert "not UTF-8: byte 0xe9" in ran.out
    assert "iconv -f WINDOWS-1252 -t UTF-8" in ran.out
