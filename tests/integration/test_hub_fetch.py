"""Fetching from a hub: what arrives, what is refused, what survives an interruption."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import textmill
from support import hub_server
from support.hub_repos import T5_FETCHED, noise, t5_files
from support.hub_server import HubServer, sha256
from support.waiting import wait_for
from textmill.catalog.artifacts import (
    Source,
    find_cached,
    hub_folder,
    partial_folder,
    read_manifest,
)
from textmill.catalog.catalog import resolve
from textmill.catalog.fetch import Transfer, fetch
from textmill.catalog.hub import Hub
from textmill.errors import CorruptModel, ModelError, ModelNotFound, UnsafeModel, UnsupportedModel

NAME = "acme/tiny-t5"
BIG = 25_000_000
"""More than two of the 10 MB pieces in which huggingface_hub writes."""


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server.running() as server:
        yield server


def at(server: HubServer, token: str | None = None) -> Hub:
    return Hub(endpoint=server.url, token=token)


def leftovers(home: Path) -> list[str]:
    return [p.name for p in home.rglob("*") if p.name.endswith((".part", ".partial", ".tmp"))]


def test_fetch_brings_only_what_textmill_reads(hub: HubServer, tmp_path: Path) -> None:
    files = t5_files()
    commit = hub.add(NAME, files)
    artifact = resolve(NAME, home=tmp_path, hub=at(hub))
    assert artifact.source is Source.HUB
    assert artifact.revision == commit
    assert artifact.folder == hub_folder(tmp_path, NAME, commit)
    found = {p.name: p.read_bytes() for p in artifact.folder.iterdir() if p.name != "artifact.json"}
    assert found == {name: files[name] for name in T5_FETCHED}
    assert hub.downloads() == T5_FETCHED
    assert leftovers(tmp_path) == []


def test_manifest_records_every_file_and_where_it_came_from(hub: HubServer, tmp_path: Path) -> None:
    files = t5_files()
    commit = hub.add(NAME, files)
    manifest = read_manifest(fetch(NAME, "main", home=tmp_path, hub=at(hub)))
    assert manifest is not None
    assert (manifest.name, manifest.revision, manifest.origin) == (NAME, commit, hub.url)
    recorded = {file.name: (file.size_bytes, file.sha256) for file in manifest.files}
    assert recorded == {name: (len(files[name]), sha256(files[name])) for name in T5_FETCHED}


def test_pickled_weights_are_fetched_only_where_there_are_no_safetensors(
    hub: HubServer, tmp_path: Path
) -> None:
    files = {name: data for name, data in t5_files().items() if name != "model.safetensors"}
    hub.add(NAME, files)
    fetch(NAME, "main", home=tmp_path, hub=at(hub))
    assert hub.downloads() == T5_FETCHED - {"model.safetensors"} | {"pytorch_model.bin"}


def test_a_cached_model_needs_no_question_to_the_hub(hub: HubServer, tmp_path: Path) -> None:
    hub.add(NAME, t5_files())
    first = resolve(NAME, home=tmp_path, hub=at(hub))
    hub.seen.clear()
    assert resolve(NAME, home=tmp_path, hub=at(hub)) == first
    assert resolve(NAME, home=tmp_path, hub=Hub(endpoint=hub.url, offline=True)) == first
    assert hub.seen == []


def test_fetch_follows_a_branch_and_resolve_stays_where_it_was(
    hub: HubServer, tmp_path: Path
) -> None:
    old = hub.add(NAME, t5_files())
    resolve(NAME, home=tmp_path, hub=at(hub))
    new = hub.add(NAME, t5_files(noise(40_000, 9)))
    assert resolve(NAME, home=tmp_path, hub=at(hub)).revision == old
    assert fetch(NAME, "main", home=tmp_path, hub=at(hub)).name == new
    assert resolve(NAME, home=tmp_path, hub=at(hub)).revision == new
    assert {c.revision for c in find_cached(tmp_path, NAME)} == {old, new}


def test_a_revision_pins_a_commit(hub: HubServer, tmp_path: Path) -> None:
    old = hub.add(NAME, t5_files())
    hub.add(NAME, t5_files(noise(40_000, 9)))
    artifact = resolve(f"{NAME}@{old}", home=tmp_path, hub=at(hub))
    assert artifact.revision == old
    assert (artifact.folder / "model.safetensors").read_bytes() == t5_files()["model.safetensors"]


def test_progress_ends_at_the_total_and_never_goes_beyond(hub: HubServer, tmp_path: Path) -> None:
    hub.add(NAME, t5_files(noise(BIG)))
    hub.cut_once["model.safetensors"] = BIG // 2
    steps: list[Transfer] = []
    folder = fetch(NAME, "main", home=tmp_path, hub=at(hub), progress=steps.append)
    manifest = read_manifest(folder)
    assert manifest is not None
    assert steps[-1].done_bytes == steps[-1].total_bytes == manifest.size_bytes
    assert all(0 <= step.done_bytes <= step.total_bytes for step in steps)


def test_a_cut_connection_is_continued_in_the_same_fetch(hub: HubServer, tmp_path: Path) -> None:
    weights = noise(BIG)
    hub.add(NAME, t5_files(weights))
    hub.cut_once["model.safetensors"] = BIG - 1_000
    folder = fetch(NAME, "main", home=tmp_path, hub=at(hub))
    assert (folder / "model.safetensors").read_bytes() == weights
    ranges = [seen.headers.get("range") for seen in hub.gets("model.safetensors")]
    assert ranges == [None, "bytes=20971520-"]


def spawn_fetch(hub: HubServer, home: Path) -> subprocess.Popen[str]:
    source = Path(textmill.__file__).parent.parent
    env = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(source),
        "HOME": str(home),
        "TEXTMILL_HOME": str(home),
        "HF_ENDPOINT": hub.url,
        "HF_HUB_DOWNLOAD_TIMEOUT": "60",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "textmill.cli.models", "fetch", NAME],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_fetch_is_continued_by_the_next_process(hub: HubServer, tmp_path: Path) -> None:
    weights = noise(BIG)
    commit = hub.add(NAME, t5_files(weights))
    hub.hold_after["model.safetensors"] = BIG - 1_000
    with spawn_fetch(hub, tmp_path) as killed:
        assert hub.held.wait(timeout=120)
        part = partial_folder(hub_folder(tmp_path, NAME, commit)) / "model.safetensors.part"
        wait_for(lambda: ended(killed) or part.stat().st_size >= 20_000_000)
        assert not ended(killed)
        killed.send_signal(signal.SIGKILL)
    hub.hold_after.clear()
    hub.go_on.set()
    assert not hub_folder(tmp_path, NAME, commit).exists()
    have = part.stat().st_size
    hub.seen.clear()

    folder = fetch(NAME, "main", home=tmp_path, hub=at(hub))
    assert (folder / "model.safetensors").read_bytes() == weights
    assert [s.headers.get("range") for s in hub.gets("model.safetensors")] == [f"bytes={have}-"]
    assert hub.downloads() == {"model.safetensors"}
    assert leftovers(tmp_path) == []


def test_an_interrupted_fetch_says_so_and_keeps_what_came(hub: HubServer, tmp_path: Path) -> None:
    hub.add(NAME, t5_files())
    hub.hold_after["model.safetensors"] = 1_000
    with spawn_fetch(hub, tmp_path) as process:
        assert hub.held.wait(timeout=120)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors == "interrupted: the same command goes on where this one stopped\n"
    assert "spiece.model" in {p.name for p in tmp_path.rglob("*")}


def ended(process: subprocess.Popen[str]) -> bool:
    return process.poll() is not None


def asks_for_the_model(hub: HubServer) -> int:
    return sum(seen.path.startswith("/api/models/") for seen in hub.seen)


def test_two_processes_that_fetch_one_model_download_it_once(
    hub: HubServer, tmp_path: Path
) -> None:
    commit = hub.add(NAME, t5_files())
    hub.hold_after["model.safetensors"] = 10
    with spawn_fetch(hub, tmp_path) as first:
        assert hub.held.wait(timeout=120)
        with spawn_fetch(hub, tmp_path) as second:
            wait_for(lambda: ended(second) or asks_for_the_model(hub) >= 2)
            assert not ended(second)
            asked = len(hub.seen)
            time.sleep(0.5)
            assert len(hub.seen) == asked, "the second waits for the first"
            hub.go_on.set()
            outputs = [p.communicate(timeout=120) for p in (first, second)]
    assert [p.returncode for p in (first, second)] == [0, 0], outputs
    assert outputs[0] == outputs[1]
    assert len(hub.gets("model.safetensors")) == 1
    assert hub_folder(tmp_path, NAME, commit).is_dir()


def test_a_damaged_partial_file_is_found_and_fetched_anew(hub: HubServer, tmp_path: Path) -> None:
    files = t5_files()
    commit = hub.add(NAME, files)
    partial = partial_folder(hub_folder(tmp_path, NAME, commit))
    partial.mkdir(parents=True)
    (partial / "model.safetensors.part").write_bytes(b"\0" * 30_000)
    (partial / "spiece.model").write_bytes(b"not it")
    steps: list[Transfer] = []
    folder = fetch(NAME, "main", home=tmp_path, hub=at(hub), progress=steps.append)
    assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]
    assert (folder / "spiece.model").read_bytes() == files["spiece.model"]
    assert steps[-1].done_bytes == steps[-1].total_bytes


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_content_that_is_not_what_the_hub_announced_is_refused(
    name: str, hub: HubServer, tmp_path: Path
) -> None:
    commit = hub.add(NAME, t5_files())
    hub.tampered.add(name)
    with pytest.raises(CorruptModel, match=name):
        fetch(NAME, "main", home=tmp_path, hub=at(hub))
    folder = hub_folder(tmp_path, NAME, commit)
    assert not folder.exists()
    assert not list(partial_folder(folder).glob(f"{name}*"))


def test_the_token_goes_to_the_hub_and_not_to_where_it_redirects(
    hub: HubServer, tmp_path: Path
) -> None:
    files = t5_files()
    hub.add(NAME, files, token="secret")
    with hub_server.running() as cdn:
        hub.cdn = cdn.url
        cdn.blobs = {sha256(data): data for data in files.values()}
        folder = fetch(NAME, "main", home=tmp_path, hub=at(hub, token="secret"))
        assert (folder / "model.safetensors").read_bytes() == files["model.safetensors"]
        assert {s.headers["authorization"] for s in hub.seen} == {"Bearer secret"}
        assert len(cdn.seen) == 2
        assert not any("authorization" in s.headers for s in cdn.seen)


def test_a_redirected_question_does_not_take_the_token_along(
    hub: HubServer, tmp_path: Path
) -> None:
    with hub_server.running() as other:
        other.add(NAME, t5_files())
        hub.api_redirect = other.url
        with pytest.raises(ModelError):
            fetch(NAME, "main", home=tmp_path, hub=at(hub, token="secret"))
        assert len(other.seen) == 1
        assert "authorization" not in other.seen[0].headers


def expect(error: type[ModelError], *words: str, hub: Hub, home: Path, name: str = NAME) -> None:
    with pytest.raises(error) as caught:
        resolve(name, home=home, hub=hub)
    assert type(caught.value) is error
    for word in words:
        assert word in str(caught.value)
    assert caught.value.hint


def test_unknown_repository_names_near_ones(hub: HubServer, tmp_path: Path) -> None:
    name = "google/flan-t5-smal"
    near = "Near names: flan-t5-small"
    expect(ModelNotFound, name, "(401)", near, "HF_TOKEN", hub=at(hub), home=tmp_path, name=name)
    expect(ModelNotFound, name, near, hub=at(hub, "known"), home=tmp_path, name=name)


def test_unknown_revision_is_named(hub: HubServer, tmp_path: Path) -> None:
    hub.add(NAME, t5_files())
    name = f"{NAME}@v9"
    expect(ModelNotFound, name, "no such revision", hub=at(hub), home=tmp_path, name=name)


def test_gated_repository_says_where_to_ask(hub: HubServer, tmp_path: Path) -> None:
    hub.add(NAME, t5_files(), gated=True)
    where = f"{hub.url}/{NAME}"
    expect(ModelError, "gated", where, "HF_TOKEN", hub=at(hub), home=tmp_path)
    expect(ModelError, "gated", where, "HF_TOKEN", hub=at(hub, "stranger"), home=tmp_path)


def test_refused_token_asks_for_another(hub: HubServer, tmp_path: Path) -> None:
    hub.add(NAME, t5_files(), token="right")
    expect(ModelNotFound, "(401)", "HF_TOKEN", hub=at(hub, "wrong"), home=tmp_path)


@pytest.mark.parametrize(("status", "word"), [(403, "refuses"), (500, "500"), (404, NAME)])
def test_other_refusals_give_the_status(
    status: int, word: str, hub: HubServer, tmp_path: Path
) -> None:
    hub.status = status
    error = ModelNotFound if status == 404 else ModelError
    expect(error, word, hub=at(hub), home=tmp_path)


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    nobody = Hub(endpoint=f"http://127.0.0.1:{port}")
    expect(ModelError, "cannot be reached", "--offline", hub=nobody, home=tmp_path)


def test_offline_without_the_model_asks_nothing(hub: HubServer, tmp_path: Path) -> None:
    hub.add(NAME, t5_files())
    offline = Hub(endpoint=hub.url, offline=True)
    expect(ModelNotFound, "offline", "models fetch", hub=offline, home=tmp_path)
    assert hub.seen == []


def test_a_server_that_is_no_hub(hub: HubServer, tmp_path: Path) -> None:
    hub.status = 200
    expect(ModelError, "does not answer like a model hub", hub=at(hub), home=tmp_path)


@pytest.mark.parametrize(
    ("keep", "error", "word"),
    [
        ({"tf_model.h5", "config.json"}, UnsupportedModel, "tf_model.h5"),
        ({"config.json"}, UnsupportedModel, "no weights"),
        ({"model.safetensors"}, UnsupportedModel, "config.json"),
        ({"config.json", "weights.pt"}, UnsafeModel, "weights.pt"),
    ],
)
def test_repositories_without_readable_weights_cost_no_download(
    keep: set[str], error: type[ModelError], word: str, hub: HubServer, tmp_path: Path
) -> None:
    files = {**t5_files(), "weights.pt": b"\x80"}
    hub.add(NAME, {name: files[name] for name in keep})
    expect(error, word, hub=at(hub), home=tmp_path)
    assert hub.downloads() == set()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB; skips where it cannot be made."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if mount is None or umount is None or os.geteuid() != 0:
        pytest.skip("needs root to mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run([umount, folder], check=True)


def test_no_room_is_said_before_the_first_byte(hub: HubServer, small_disk: Path) -> None:
    hub.add(NAME, t5_files(noise(2_000_000)))
    expect(ModelError, "no room", "TEXTMILL_HOME", hub=at(hub), home=small_disk)
    assert hub.downloads() == set()


def test_a_cache_that_cannot_be_written(hub: HubServer, tmp_path: Path) -> None:
    hub.add(NAME, t5_files())
    home = tmp_path / "home"
    home.mkdir()
    (home / "models").write_text("in the way")
    expect(ModelError, "cannot be written", "TEXTMILL_HOME", hub=at(hub), home=home)
