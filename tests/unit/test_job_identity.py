"""What makes a job another job, and how a refusal says it."""

from __future__ import annotations

import pytest

from support.jobs import spec
from textmill.batching.scheduler import BatchLimits
from textmill.transform.plan import InputDigest, JobSpec, ModelIdentity, changes

FILE = InputDigest(name="in.jsonl", bytes=5, version="1", sha256="aa", rows=1)
MODEL = ModelIdentity(name="demo", source="here", files=(("model.safetensors", 9, "cc"),))
JOB = spec(inputs=(FILE,), model=MODEL, parameters={"num_beams": (4, "command")})

CHANGED = {
    "inputs": ((FILE, InputDigest(name="more", bytes=1, version="2", sha256="bb")), "input 2"),
    "model": (
        ModelIdentity(name="demo", source="here", files=(("model.safetensors", 9, "dd"),)),
        "model file model.safetensors",
    ),
    "engine": ("openvino", "engine"),
    "precision": ("int8", "precision"),
    "prompt": ("Summarize: {text}", "prompt"),
    "id_field": ("key", "id_field"),
    "keep": (("title",), "keep"),
    "parameters": ({"num_beams": (5, "command")}, "parameter num_beams"),
    "record_params": (False, "record_params"),
    "seed": (7, "seed"),
    "sample": (10, "sample"),
    "max_input_tokens": (128, "max_input_tokens"),
    "truncate": (True, "truncate"),
    "limits": (BatchLimits(max_batch_tokens=41), "max_batch_tokens"),
    "output_format": ("csv", "output_format"),
    "compression": ("gzip", "compression"),
    "input_filter": ("$.body", "input_filter"),
    "output_filter": ("$['id']", "output_filter"),
    "join": (True, "join"),
    "versions": ({"textmill": "2"}, "version of textmill"),
}
"""Another value of each field, and the name that it goes by."""


def test_no_field_is_left_out():
    assert CHANGED.keys() == set(JobSpec.__struct_fields__)


@pytest.mark.parametrize("field", CHANGED)
def test_a_change_of_any_field_makes_another_job_and_is_named(field):
    value, name = CHANGED[field]
    (line,) = changes(JOB.identity(), spec(**fields() | {field: value}).identity())
    assert line.startswith(f"{name}: was ")


def test_what_changes_no_text_makes_no_other_job():
    """Where a file lies, when it was written, and from where a parameter came."""
    moved = InputDigest(name="copy.jsonl", bytes=5, version="9", sha256="aa", rows=1)
    renamed = ModelIdentity(name="other name", source="there", files=MODEL.files)
    same = {"inputs": (moved,), "model": renamed, "parameters": {"num_beams": (4, "model")}}
    assert changes(JOB.identity(), spec(**fields() | same).identity()) == []


@pytest.mark.parametrize(
    ("field", "value"), [("sha256", "bb"), ("format", "csv"), ("span", (0, 3))]
)
def test_an_input_is_its_content_its_format_and_its_shard(field, value):
    digest = {"name": "in.jsonl", "bytes": 5, "version": "1", "sha256": "aa", "rows": 1}
    other = spec(**fields() | {"inputs": (InputDigest(**digest | {field: value}),)})
    (line,) = changes(JOB.identity(), other.identity())
    assert line.startswith("input 1: was ")


def fields():
    return {name: getattr(JOB, name) for name in JobSpec.__struct_fields__}
