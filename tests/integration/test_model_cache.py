"""The cache on disk: listing, verifying, removing, leases, archives."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

import textmill
from support.hub_repos import t5_files
from support.hub_server import commit_of, sha256
from textmill.catalog import artifacts
from textmill.catalog.artifacts import ArtifactManifest, Cached, Source
from textmill.catalog.catalog import resolve
from textmill.catalog.hub import Hub
from textmill.catalog.leases import lease
from textmill.errors import CorruptModel, ModelError, ModelNotFound

NAME = "acme/tiny-t5"
OFFLINE = Hub(offline=True)


def put(home: Path, name: str = NAME, files: dict[str, bytes] | None = None) -> Path:
    """A complete folder of the cache, made without a hub."""
    content = files or {"config.json": b"{}", "model.safetensors": b"weights"}
    commit = commit_of(content)
    partial = artifacts.partial_folder(artifacts.hub_folder(home, name, commit))
    partial.mkdir(parents=True)
    for file, data in content.items():
        (partial / file).write_bytes(data)
    manifest = ArtifactManifest(
        source=Source.HUB,
        name=name,
        revision=commit,
        origin="https://hub.example",
        files=artifacts.describe(partial),
    )
    folder = artifacts.seal(partial, manifest)
    artifacts.remember_commit(home, name, "main", commit)
    return folder


def only(home: Path, name: str = NAME) -> Cached:
    [cached] = artifacts.find_cached(home, name)
    return cached


def test_what_is_sealed_is_listed_with_its_size_and_used_offline(tmp_path: Path) -> None:
    folder = put(tmp_path)
    other = put(tmp_path, "acme/a--b--c")
    assert [(c.name, c.folder) for c in artifacts.list_cached(tmp_path)] == [
        ("acme/a--b--c", other),
        (NAME, folder),
    ]
    manifest = only(tmp_path).manifest
    assert manifest is not None
    assert manifest.size_bytes == len(b"{}weights")
    assert resolve(NAME, home=tmp_path, hub=OFFLINE).folder == folder


def test_an_empty_cache_lists_nothing(tmp_path: Path) -> None:
    assert artifacts.list_cached(tmp_path / "absent") == ()


def test_verify_accepts_what_is_whole(tmp_path: Path) -> None:
    put(tmp_path)
    assert artifacts.damages(only(tmp_path)) == ()


def test_verify_finds_one_flipped_bit(tmp_path: Path) -> None:
    path = put(tmp_path) / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    [damage] = artifacts.damages(only(tmp_path))
    assert damage.startswith(f"{path}: its content changed")


def test_verify_finds_missing_short_and_foreign_files(tmp_path: Path) -> None:
    folder = put(
        tmp_path, files={"config.json": b"{}", "model.safetensors": b"w", "vocab.txt": b""}
    )
    (folder / "config.json").unlink()
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "extra.py").write_bytes(b"")
    reasons = [damage.split(": ")[1] for damage in artifacts.damages(only(tmp_path))]
    assert reasons == ["missing", "0 bytes instead of 1", "does not belong there"]


def test_a_model_that_lost_a_file_is_not_used(tmp_path: Path) -> None:
    folder = put(tmp_path)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CorruptModel, match=r"model\.safetensors") as caught:
        resolve(NAME, home=tmp_path, hub=OFFLINE)
    assert f"textmill models remove {NAME}" in str(caught.value)


def test_a_damaged_manifest_is_an_error_of_that_model_only(tmp_path: Path) -> None:
    folder, other = put(tmp_path), put(tmp_path, "acme/other")
    (folder / "artifact.json").write_text("{")
    assert len(artifacts.list_cached(tmp_path)) == 2
    assert artifacts.damages(only(tmp_path))
    with pytest.raises(CorruptModel, match=r"artifact\.json"):
        resolve(NAME, home=tmp_path, hub=OFFLINE)
    artifacts.remove(tmp_path, only(tmp_path))
    assert resolve("acme/other", home=tmp_path, hub=OFFLINE).folder == other


def test_remove_takes_one_model_and_nothing_else(tmp_path: Path) -> None:
    folder, other = put(tmp_path), put(tmp_path, "acme/other")
    artifacts.remove(tmp_path, only(tmp_path))
    assert not folder.parent.exists()
    assert other.is_dir()
    with pytest.raises(ModelNotFound, match="offline"):
        resolve(NAME, home=tmp_path, hub=OFFLINE)


def test_remove_takes_one_revision_of_several(tmp_path: Path) -> None:
    old = put(tmp_path)
    new = put(tmp_path, files={"config.json": b"{ }"})
    artifacts.remove(tmp_path, only(tmp_path, f"{NAME}@{old.name[:8]}"))
    assert only(tmp_path).folder == new


def test_remove_never_leaves_the_cache(tmp_path: Path) -> None:
    home, outside = tmp_path / "home", tmp_path / "outside" / "acme--tiny-t5"
    folder = put(home)
    outside.parent.mkdir()
    folder.parent.rename(outside)
    (home / "models" / "acme--tiny-t5").symlink_to(outside)
    with pytest.raises(ModelError, match="out of the cache"):
        artifacts.remove(home, only(home))
    assert (outside / folder.name / "config.json").is_file()


def test_a_link_to_a_revision_is_not_taken_for_one(tmp_path: Path) -> None:
    folder = put(tmp_path)
    (folder.parent / ("0" * 40)).symlink_to(folder)
    assert only(tmp_path).folder == folder


def test_remove_refuses_while_another_process_uses_the_model(tmp_path: Path) -> None:
    folder = put(tmp_path)
    code = (
        "import sys; from pathlib import Path; from textmill.catalog.leases import lease\n"
        "with lease(Path(sys.argv[1]), Path(sys.argv[2])):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    source = Path(textmill.__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path, folder],
        env={**os.environ, "PYTHONPATH": str(source)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"held\n"
        with pytest.raises(ModelError, match="in use"):
            artifacts.remove(tmp_path, only(tmp_path))
        assert artifacts.damages(only(tmp_path)) == ()
        user.kill()
    artifacts.remove(tmp_path, only(tmp_path))
    assert not folder.exists()


def test_many_may_use_one_model(tmp_path: Path) -> None:
    folder = put(tmp_path)
    with lease(tmp_path, folder), lease(tmp_path, folder):
        pass


def test_a_lease_on_a_removed_model_is_refused(tmp_path: Path) -> None:
    folder = put(tmp_path)
    artifacts.remove(tmp_path, only(tmp_path))
    with pytest.raises(ModelNotFound, match="removed"), lease(tmp_path, folder):
        pass


def test_a_folder_outside_of_the_cache_needs_no_lease(tmp_path: Path) -> None:
    with lease(tmp_path / "home", tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A model.tar.gz as SageMaker has it; skips while nothing unpacks it."""
    path = tmp_path / "model.tar.gz"
    folder = tmp_path / "content"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_bytes(t5_files()[name])
    with tarfile.open(path, "w:gz") as tar:
        for file in sorted(folder.iterdir()):
            tar.add(file, file.name)
    return path


def test_an_archive_is_unpacked_once_for_each_content(archive: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    artifact = resolve(str(archive), home=home, hub=OFFLINE)
    assert artifact.source is Source.ARCHIVE
    assert artifact.revision == sha256(archive.read_bytes())
    assert (artifact.folder / "config.json").read_bytes() == t5_files()["config.json"]
    copy = archive.rename(tmp_path / "renamed.tgz")
    assert resolve(str(copy), home=home, hub=OFFLINE).folder == artifact.folder
    [cached] = artifacts.list_cached(home)
    assert cached.name == f"archive:{artifact.revision[:12]}"
    assert artifacts.damages(cached) == ()
    artifacts.remove(home, cached)
    assert not artifact.folder.exists()


def test_an_archive_that_is_refused_leaves_nothing(archive: Path, tmp_path: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(ModelError):
        resolve(str(archive), home=tmp_path / "home", hub=OFFLINE)
    assert artifacts.list_cached(tmp_path / "home") == ()
