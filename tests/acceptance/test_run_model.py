"""`textmill run` on the demo model: sampling, resuming, disks that are full."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import textmill as tm
from support.command import environment, read_lines, textmill, write_lines
from support.waiting import wait_for

ROOT = Path(tm.__file__).parent
RECORDS = [
    json.loads(line)
    for line in (ROOT / "assets" / "demo" / "data" / "packages.jsonl")
    .read_text("utf-8")
    .splitlines()
]
PROMPT = "Briefly summarize this text: {document}"
SAMPLED = ("--set", "do_sample=true", "--set", "top_k=20", "--set", "temperature=0.9")


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    return environment(TEXTMILL_HOME=str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_lines(tmp_path_factory.mktemp("data") / "in.jsonl", *RECORDS[:400])


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return write_lines(tmp_path_factory.mktemp("few") / "in.jsonl", *RECORDS[:100])


def arguments(source, output, *flags):
    return ("run", source, "-o", output, "--model", "demo", "--prompt", PROMPT, *flags)


def test_a_sampled_job_is_repeated_by_its_seed(tmp_path, few, env):
    texts = {}
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        output = tmp_path / f"{name}.jsonl"
        assert textmill(*arguments(few, output, *SAMPLED, "--seed", seed), env=env).code == 0
        texts[name] = output.read_bytes()
    assert texts["a"] == texts["b"]
    assert texts["a"] != texts["c"]


@pytest.mark.parametrize(
    ("rows", "flags"),
    [
        (240, ("--precision", "float32")),
        (240, (*SAMPLED, "--seed", "5")),
        (240, ("--set", "num_beams=4")),
        (600, ("--engine", "openvino", *SAMPLED, "--seed", "5")),
    ],
    ids=["greedy", "sampled", "beams", "openvino, sampled"],
)
def test_a_killed_job_resumes_to_the_same_bytes(tmp_path, env, rows, flags):
    source = write_lines(tmp_path / "in.jsonl", *RECORDS[:rows])
    whole, output = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    assert textmill(*arguments(source, whole, *flags), env=env).code == 0
    kills = 0
    for frames in (2, 4):
        process = subprocess.Popen(
            [sys.executable, "-m", "textmill", *map(str, arguments(source, output, *flags))],
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for_frames(process, output, frames)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 2
    assert textmill(*arguments(source, output, *flags), env=env).code == 0
    assert output.read_bytes() == whole.read_bytes()
    manifest = json.loads((tmp_path / "out.manifest.json").read_text())
    assert 0 < manifest["run"]["resumed_rows"] < rows


@pytest.mark.parametrize(
    ("engine", "libraries"),
    [("ct2", {"ctranslate2"}), ("openvino", {"numpy", "openvino"}), ("echo", set())],
)
def test_another_version_of_what_computes_is_another_job(
    tmp_path, env, monkeypatch, engine, libraries
):
    """Of each engine its own: that of another one changes no text."""
    monkeypatch.setenv("TEXTMILL_HOME", env["TEXTMILL_HOME"])
    named = {} if engine == "echo" else {"model": "demo"}

    def job():
        rows = [{"id": 0, "text_inputs": "a text"}]
        return tm.run(rows, tmp_path / "out.jsonl", engine=engine, **named)

    job()
    path = tmp_path / "out.manifest.json"
    manifest = json.loads(path.read_text())
    found = {name for name in manifest["identity"] if name.startswith("version of ")}
    assert found == {f"version of {one}" for one in libraries | {"textmill", "tokenizers"}}
    for name in sorted(found):
        older = {**manifest, "identity": {**manifest["identity"], name: '"0.1"'}}
        path.write_text(json.dumps(older))
        with pytest.raises(tm.TextmillError, match=f'{name}: was "0.1", is '):
            job()


def wait_for_frames(process, output, frames):
    """Return when so many batches are safe, or the run has ended."""
    wait_for(lambda: process.poll() is not None or count_frames(output) >= frames)


def count_frames(output):
    parts = output.with_name(output.name + ".job") / "parts"
    return sum(part.read_bytes().count(b'{"frame":') for part in parts.glob("*.jsonl"))


def test_a_file_size_limit_is_an_error_and_the_job_goes_on_without_it(tmp_path, source, env):
    output = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "textmill", *map(str, arguments(source, output))]
    limited = subprocess.run(
        command,
        env=env,
        capture_output=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert limited.returncode == 2, limited.stderr
    assert b"cannot be written" in limited.stderr
    assert b"Traceback" not in limited.stderr
    assert not output.exists()
    assert textmill(*arguments(source, output), env=env).code == 0
    assert len(read_lines(output)) == 400


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", folder],
        capture_output=True,
        check=False,
    )
    if os.geteuid() or mounted.returncode:
        pytest.skip("a disk can only be mounted by root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_an_error_and_the_job_goes_on_when_there_is_room(small_disk, source, env):
    output = small_disk / "out.jsonl"
    (small_disk / "ballast").write_bytes(b"x" * 60_000)
    full = textmill(*arguments(source, output), env=env)
    assert full.code == 2
    assert "free some space" in full.err
    assert not output.exists()
    (small_disk / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=10m", small_disk], check=True)
    again = textmill(*arguments(source, output), env=env)
    assert (again.code, len(read_lines(output))) == (0, 400)


def test_records_with_different_parameters_share_a_job(tmp_path, env):
    rows = [
        {"id": i, "text_inputs": f"Briefly summarize this text: {record['document']}", **params}
        for i, record in enumerate(RECORDS[:12])
        for params in [
            [{}, {"num_beams": 3}, {"max_length": 5}, {"num_return_sequences": 2, "num_beams": 2}][
                i % 4
            ]
        ]
    ]
    ran = textmill(
        *("run", write_lines(tmp_path / "in.jsonl", *rows), "-o", tmp_path / "out.jsonl"),
        *("--model", "demo"),
        env=env,
    )
    assert ran.code == 0
    counts = [len(row["generated_texts"]) for row in read_lines(tmp_path / "out.jsonl")]
    assert counts == [1, 1, 1, 2] * 3


def test_a_refused_parameter_of_a_record_fails_that_record_only(tmp_path, env):
    rows = [
        {"id": 0, "text_inputs": "Briefly summarize this text: a tool"},
        {
            "id": 1,
            "text_inputs": "Briefly summarize this text: a tool",
            "num_beams": 2,
            "stop": "x",
        },
    ]
    ran = textmill(
        *("run", write_lines(tmp_path / "in.jsonl", *rows), "-o", tmp_path / "out.jsonl"),
        *("--model", "demo"),
        env=env,
    )
    assert ran.code == 3
    (error,) = read_lines(tmp_path / "out.errors.jsonl")
    assert (error["id"], error["code"]) == (1, "bad_parameter")


def test_the_manifest_names_every_file_and_origin(tmp_path, source, env):
    output = tmp_path / "out.jsonl"
    textmill(*arguments(source, output, "--sample", "5", "--set", "num_beams=2"), env=env)
    manifest = json.loads((tmp_path / "out.manifest.json").read_text())
    assert manifest["counts"]["rows"] == 5
    assert manifest["parameters"]["num_beams"] == {"value": 2, "from": "command"}
    assert manifest["parameters"]["max_new_tokens"] == {"value": 32, "from": "model"}
    assert manifest["command"][:2] == ["textmill", "run"]
    assert {f["name"] for f in manifest["model"]["files"]} > {"model.safetensors", "tokenizer.json"}
    assert all(len(f["sha256"]) == 64 for f in manifest["model"]["files"] + manifest["inputs"])
    assert manifest["versions"]["ctranslate2"]


def test_generate_keeps_order_and_shape(tmp_path):
    with tm.load("demo", threads=1, home=tmp_path) as model:
        texts = [f"Briefly summarize this text: {r['document']}" for r in RECORDS[:9]]
        together = model.generate(texts)
        assert together == [model.generate(text)[0] for text in texts]
        several = model.generate(texts[:2], num_beams=3, num_return_sequences=3)
        assert [len(set(some)) for some in several] == [3, 3]
        assert model.generate([]) == []
        with pytest.raises(tm.UsageError, match="text 1"):
            model.generate(["fine", " "])
        with pytest.raises(tm.UsageError, match="num_beams"):
            model.generate(["fine"], num_beems=2)
