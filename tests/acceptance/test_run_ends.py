"""How a job ends when its filter, its disk, its parts or its user get in the way."""

from __future__ import annotations

import json

import pytest

from support.command import read_lines, textmill, write_lines

ROWS = [{"id": i, "title": f"t{i}", "text_inputs": f"text {i}"} for i in range(5)]


def run(source, output, *flags, **kwargs):
    return textmill("run", source, "-o", output, "--engine", "echo", *flags, **kwargs)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- output filters ----------------------------------------------------------------------------

NEVER = {
    "a name": (("--output-filter", "$.text"), "$.text: "),
    "a column that is not kept": (("--keep", "title", "--output-filter", "$['id','body']"), "body"),
    "below a join": (("--join", "input", "--output-filter", "$.SageMakerOutput.text"), "text"),
    "below a text": (("--output-filter", "$.generated_texts[0].x"), "generated_texts"),
}


@pytest.mark.parametrize("case", NEVER)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["run", "dry"])
def test_a_filter_that_no_result_can_satisfy_is_refused_before_the_model_is_loaded(
    tmp_path, case, dry
):
    flags, named = NEVER[case]
    source = write_lines(tmp_path / "in.jsonl", *ROWS)
    model = ("--model", tmp_path / "no-such-model", "--offline")
    ran = textmill("run", source, "-o", tmp_path / "out.jsonl", *model, *flags, *dry)
    assert (ran.code, "no result has what is to be written" in ran.err) == (2, True), ran.err
    assert named in ran.err
    assert 'a result has: "' in ran.err
    assert names(tmp_path) == ["in.jsonl"]


def test_a_row_whose_result_cannot_have_it_is_never_computed(tmp_path):
    rows = [*ROWS, {"id": 5, "title": "other", "text_inputs": "text 5", "tags": ["x"]}]
    source = write_lines(tmp_path / "in.jsonl", *rows)
    flags = ("--join", "input", "--output-filter", "$['id','tags']")
    dry = run(source, tmp_path / "out.jsonl", *flags, "--dry-run")
    assert "5 rows would fail with missing_field" in dry.out, dry.out
    assert run(source, tmp_path / "out.jsonl", *flags).code == 3
    assert read_lines(tmp_path / "out.jsonl") == [{"id": 5, "tags": ["x"]}]
    assert json.loads((tmp_path / "out.manifest.json").read_text())["run"]["requests"] == 1


def test_more_texts_than_a_record_gets_are_noticed_before_it_is_computed(tmp_path):
    source = write_lines(tmp_path / "in.jsonl", *ROWS, {"id": "two", "text_inputs": ["a", "b"]})
    ran = run(source, tmp_path / "out.jsonl", "--output-filter", "$.generated_texts[-2]")
    assert ran.code == 3, ran.err
    assert read_lines(tmp_path / "out.jsonl") == ["a"]
    assert json.loads((tmp_path / "out.manifest.json").read_text())["run"]["requests"] == 2
