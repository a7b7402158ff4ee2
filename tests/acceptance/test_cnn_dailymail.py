"""The article's job from a hub: `examples/cnn_dailymail/run.sh`, against one on the loopback.

The repositories have the names of the real ones; the model in them is the embedded one.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import textmill as tm
from support import hub_server
from support.command import Ran, environment, read_lines, textmill
from support.hub_repos import ARTICLES, news_files
from support.hub_server import HubServer, commit_of

SCRIPT = Path(__file__).parents[2] / "examples" / "cnn_dailymail" / "run.sh"
DEMO = Path(tm.__file__).parent / "assets" / "demo" / "model"
NEWS = "hf://datasets/abisee/cnn_dailymail"
IDS = [hashlib.sha1(article.encode()).hexdigest() for article, _ in ARTICLES]


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server.running() as server:
        server.add("datasets/abisee/cnn_dailymail", news_files())
        server.add("google/flan-t5-large", {p.name: p.read_bytes() for p in DEMO.iterdir()})
        yield server


@pytest.fixture
def env(hub: HubServer, tmp_path: Path) -> dict[str, str]:
    program = tmp_path / "bin" / "textmill"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m textmill "$@"\n')
    program.chmod(0o755)
    home = str(tmp_path / "home")
    path = f"{program.parent}:/usr/bin:/bin"
    return environment(PATH=path, HOME=home, TEXTMILL_HOME=home, HF_ENDPOINT=hub.url)


def run_script(env: dict[str, str], folder: Path, *flags: str) -> Ran:
    command = ["sh", SCRIPT, folder, *flags]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


def test_the_articles_job_runs_from_data_set_to_rouge(
    hub: HubServer, env: dict[str, str], tmp_path: Path
) -> None:
    ran = run_script(env, tmp_path / "out")
    assert ran.code == 0, ran.err
    rows = read_lines(tmp_path / "out" / "predict.jsonl")
    assert [row["id"] for row in rows] == IDS[2:]
    assert all(row["generated_texts"][0] for row in rows)
    assert "references 3 = scored 3 + failed 0 + missing 0" in ran.out
    assert "rougeLsum" in ran.out
    assert f"against {NEWS}/3.0.0/test" in ran.out
    assert {n for n in hub.downloads() if n.endswith(".parquet")} == {"test-00000-of-00001.parquet"}
    assert "cnn_dailymail.py" not in hub.downloads()
    manifest = json.loads((tmp_path / "out" / "predict.manifest.json").read_text())
    assert manifest["counts"]["rows"] == 3

    hub.seen.clear()  # again, without a network: it is all there
    again = run_script({**env, "HF_HUB_OFFLINE": "1"}, tmp_path / "out", "--offline")
    assert again.code == 0, again.err
    assert hub.seen == []


def test_a_dry_run_takes_data_sets_and_folders(env: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "news"
    folder.mkdir()
    (folder / "part-0.parquet").write_bytes(news_files()["1.0.0/test-00000-of-00001.parquet"])
    out = tmp_path / "out.parquet"
    for source in (f"{NEWS}/1.0.0/test", folder):
        flags = ("--prompt", "{article}", "--engine", "echo", "--dry-run")
        ran = textmill("run", source, "-o", out, *flags, env=env)
        assert ran.code == 0, ran.err
        assert f'id "{IDS[0]}"' in ran.out
        assert "5 rows\n" in ran.out
    assert not list(tmp_path.glob("out*"))


def test_the_manifest_says_what_a_branch_meant(env: dict[str, str], tmp_path: Path) -> None:
    """A branch may move on; a finished job still says which commit its rows were of."""
    run = ("run", f"{NEWS}@main/1.0.0/test", "-o", tmp_path / "out.jsonl", "--engine", "echo")
    assert textmill(*run, "--prompt", "{article}", env=env).code == 0
    manifest = json.loads((tmp_path / "out.manifest.json").read_text())
    (entry,) = manifest["inputs"]
    assert entry["name"] == f"{NEWS}@main/1.0.0/test-00000-of-00001.parquet"
    assert entry["commit"] == commit_of(news_files())
    verified = textmill("status", tmp_path / "out.jsonl", "--verify", env=env)
    assert verified.code == 0
    assert f"not compared: it is of the commit {entry['commit']}" in verified.out


def test_several_shards_make_one_job(env: dict[str, str], tmp_path: Path) -> None:
    """The shards of this small copy overlap, and an id counts once in a job."""
    out = tmp_path / "out.jsonl"
    flags = ("--prompt", "{article}", "--engine", "echo")
    ran = textmill("run", f"{NEWS}/2.0.0/train-*.parquet", "-o", out, *flags, env=env)
    assert ran.code == 3, ran.err
    assert [row["id"] for row in read_lines(out)] == IDS[:3]
    (error,) = read_lines(tmp_path / "out.errors.jsonl")
    assert (error["id"], error["line"], error["code"]) == (IDS[1], 1, "duplicate_id")
    assert error["file"] == f"{NEWS}/2.0.0/train-00001-of-00002.parquet"


def test_a_folder_of_parquet_files_is_a_data_set_too(env: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "news"
    folder.mkdir()
    (folder / "part-0.parquet").write_bytes(news_files()["1.0.0/test-00000-of-00001.parquet"])
    out = tmp_path / "out.jsonl"
    flags = ("--prompt", "{article}", "--engine", "echo")
    assert textmill("run", folder, "-o", out, *flags, env=env).code == 0
    assert [row["id"] for row in read_lines(out)] == IDS
    scored = textmill("score", out, folder, "--ref", "article", env=env)
    assert "scored 5" in scored.out, scored.err


def test_mistakes_in_an_address_are_told_before_any_work(
    env: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    flags = ("-o", out, "--prompt", "{article}", "--engine", "echo")
    wrong = textmill("run", f"{NEWS}/3.0.0/tst", *flags, env=env)
    assert wrong.code == 2
    assert "3.0.0/test" in wrong.err
    assert textmill("run", "hf://datasets/cnn", *flags, env=env).code == 2
    offline = textmill("run", f"{NEWS}/1.0.0/test", *flags, "--offline", env=env)
    assert offline.code == 2
    assert "offline mode" in offline.err
    assert not out.exists()
