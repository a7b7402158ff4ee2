"""`textmill models` as a user runs it: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import textmill
from support import hub_server
from support.hub_repos import T5_FETCHED, t5_files
from support.hub_server import HubServer

NAME = "acme/tiny-t5"


class Shell:
    """Runs the command with its own cache and hub."""

    def __init__(self, home: Path, hub: HubServer) -> None:
        self.home = home
        self.env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(textmill.__file__).parent.parent),
            "HOME": str(home),
            "TEXTMILL_HOME": str(home / "cache"),
            "HF_ENDPOINT": hub.url,
        }

    def __call__(self, *words: str, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "textmill.cli.models", *words],
            env={**self.env, **env},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server.running() as server:
        yield server


@pytest.fixture
def models(tmp_path: Path, hub: HubServer) -> Shell:
    return Shell(tmp_path, hub)


def test_list_shows_every_model_with_what_one_needs_to_choose(models: Shell) -> None:
    lines = [line.split("\t") for line in models("list").stdout.splitlines()]
    assert lines[0] == ["MODEL", "REPOSITORY", "CACHED", "LICENCE", "RUNS", "FOR"]
    rows = {line[0]: line[1:5] for line in lines[1:]}
    assert rows["demo"] == ["-", "built in", "apache-2.0", "yes"]
    assert rows["flan-t5-large"] == ["google/flan-t5-large", "-", "apache-2.0", "yes"]
    assert rows["bart4csc-base-chinese"][-1] == "no"


def test_list_filters_by_words(models: Shell) -> None:
    listed = json.loads(models("list", "PEGASUS", "paraphrase", "--json").stdout)
    assert [row["id"] for row in listed] == ["huggingface-text2text-pegasus-paraphrase"]
    assert listed[0]["supported"] is True


def test_show_ends_with_the_command_to_run(models: Shell) -> None:
    shown = models("show", "t5-one-line-summary").stdout
    assert "snrspeaks/t5-one-line-summary" in shown
    assert shown.splitlines()[-1].split(maxsplit=1)[1] == (
        "textmill run INPUT.jsonl -o OUTPUT.jsonl --model t5-one-line-summary "
        "--prompt 'summarize: {document}' --set num_beams=5 --set max_length=50 "
        "--set early_stopping=true"
    )
    facts = json.loads(models("show", "t5-one-line-summary", "--json").stdout)
    assert facts["licence"] == "mit"
    assert facts["parameters"]["num_beams"] == 5


def test_the_life_of_a_model(models: Shell, hub: HubServer) -> None:
    """Fetch, list, show, verify, use offline, remove."""
    commit = hub.add(NAME, t5_files())
    folder = models.home / "cache" / "models" / "acme--tiny-t5" / commit
    fetched = models("fetch", NAME)
    assert fetched.stdout.split()[:2] == [NAME, commit]
    assert fetched.stderr == ""
    assert {p.name for p in folder.iterdir()} == T5_FETCHED | {"artifact.json"}

    [row] = json.loads(models("list", "--cached", "--json").stdout)
    assert (row["id"], row["cached_bytes"] > 50_000) == (NAME, True)
    [cached] = json.loads(models("show", NAME, "--json").stdout)["cached"]
    assert (cached["revision"], cached["complete"]) == (commit, True)
    assert models("verify").stdout.split() == ["ok", NAME, commit]

    assert "would remove" in models("remove", NAME, "--dry-run").stdout
    assert folder.is_dir()
    assert str(folder) in models("remove", NAME).stdout
    assert not folder.exists()
    assert models("list", "--cached").stdout.count("\n") == 1


def test_the_hub_is_asked_for_the_model_and_told_nothing_else(
    models: Shell, hub: HubServer
) -> None:
    hub.add(NAME, t5_files())
    models("fetch", NAME)
    assert {s.path for s in hub.seen if NAME not in s.path} == set()
    [agent] = {s.headers["user-agent"] for s in hub.seen}
    assert agent.startswith("textmill/")
    assert "torch" not in agent


def test_a_catalog_id_fetches_the_repository_behind_it(models: Shell, hub: HubServer) -> None:
    hub.add("google/flan-t5-small", t5_files())
    models("fetch", "huggingface-text2text-flan-t5-small@1.*")
    rows = {r["id"]: r for r in json.loads(models("list", "flan-t5-small", "--json").stdout)}
    assert rows["huggingface-text2text-flan-t5-small"]["cached_bytes"] > 50_000
    assert models("remove", "flan-t5-small").stdout.startswith("removed  google/flan-t5-small")


@pytest.mark.parametrize("damaged", [False, True])
def test_what_transformers_already_fetched_is_not_fetched_again(
    damaged: bool, models: Shell, hub: HubServer
) -> None:
    files = t5_files()
    commit = hub.add(NAME, files)
    content = files["model.safetensors"]
    blob = models.home / "hf" / "models--acme--tiny-t5" / "blobs" / "b"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(content[::-1] if damaged else content)
    link = blob.parent.parent / "snapshots" / commit / "model.safetensors"
    link.parent.mkdir(parents=True)
    link.symlink_to(blob)
    before = blob.read_bytes()
    models("fetch", NAME, HF_HUB_CACHE=str(models.home / "hf"))
    assert len(hub.gets("model.safetensors")) == int(damaged)
    assert models("verify", NAME).stdout.startswith("ok")
    models("remove", NAME)
    assert blob.read_bytes() == before


def test_verify_tells_the_damaged_file_and_fails(models: Shell, hub: HubServer) -> None:
    commit = hub.add(NAME, t5_files())
    models("fetch", NAME)
    path = models.home / "cache" / "models" / "acme--tiny-t5" / commit / "config.json"
    path.write_bytes(path.read_bytes().replace(b"t5", b"t6"))
    done = models("verify", NAME, code=2)
    assert done.stdout.split() == ["damaged", NAME, commit]
    assert f"{path}: its content changed" in done.stderr
    assert f"textmill models remove {NAME}" in done.stderr


def test_offline_by_flag_or_environment_asks_nothing(models: Shell, hub: HubServer) -> None:
    hub.add(NAME, t5_files())
    for done in (
        models("fetch", NAME, "--offline", code=2),
        models("fetch", NAME, code=2, TEXTMILL_OFFLINE="1"),
        models("fetch", NAME, code=2, HF_HUB_OFFLINE="1"),
    ):
        assert "offline" in done.stderr
    assert hub.seen == []


def test_the_token_of_the_environment_is_used(models: Shell, hub: HubServer) -> None:
    hub.add(NAME, t5_files(), token="secret")
    assert "HF_TOKEN" in models("fetch", NAME, code=2).stderr
    models("fetch", NAME, HF_TOKEN="secret")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "flan-t5-smal"), "Did you mean flan-t5-small"),
        (("fetch", "flan-t5-smal"), "Did you mean flan-t5-small"),
        (("fetch",), "no model is named"),
        (("fetch", "demo"), "part of textmill itself"),
        (("fetch", "/"), "is a path"),
        (("fetch", "bart4csc-base-chinese"), "WordPiece"),
        (("remove", "demo"), "not in the cache"),
        (("remove", "acme/absent"), "not in the cache"),
        (("remove",), "no model is named"),
        (("verify", "acme/absent"), "not in the cache"),
        (("fetch", "a\x1b[31m/b"), "no model"),
    ],
)
def test_mistakes_end_with_2_and_a_way_out(
    words: tuple[str, ...], said: str, models: Shell
) -> None:
    done = models(*words, code=2)
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert "\x1b" not in done.stderr


def test_a_repository_cannot_write_commands_to_the_terminal(models: Shell, hub: HubServer) -> None:
    hub.add(NAME, {"config.json": b"{}", "evil\x1b[31m.pt": b""})
    done = models("fetch", NAME, code=2)
    assert "evil?[31m.pt" in done.stderr
    assert "\x1b" not in done.stderr


def test_a_bad_setting_is_named(models: Shell) -> None:
    assert 'TEXTMILL_OFFLINE="maybe"' in models("list", code=2, TEXTMILL_OFFLINE="maybe").stderr


def test_a_reader_that_leaves_early_is_no_error(models: Shell) -> None:
    script = f"{sys.executable} -m textmill.cli.models list; echo code $? >&2"
    command = f"({script}) | true"
    done = subprocess.run(
        ["/bin/sh", "-c", command], env=models.env, capture_output=True, text=True, check=True
    )
    assert done.stderr == "code 0\n"


def test_on_a_terminal_there_is_a_table_and_a_progress_bar(models: Shell, hub: HubServer) -> None:
    hub.add(NAME, t5_files())
    text = in_terminal(models, "fetch", NAME) + in_terminal(models, "list", "flan-t5-small")
    assert "100%" in text or "━━━━━━━━━━━━━━━━━━━━" in text
    assert "google/flan-t5-small" in text
    assert "\t" not in text


def in_terminal(models: Shell, *words: str) -> str:
    """What the command writes when its output is a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "textmill.cli.models", *words],
        env={**models.env, "TERM": "xterm", "COLUMNS": "160"},
        stdout=theirs,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
    )
    os.close(theirs)
    text = b""
    try:
        while chunk := os.read(ours, 65536):
            text += chunk
    except OSError:
        pass  # Linux's way of saying that the terminal was closed at the other end.
    finally:
        os.close(ours)
    assert process.wait(timeout=120) == 0
    return text.decode()
