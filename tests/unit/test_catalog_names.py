"""What a model's name means: a path, a catalog id, a repository, or an error with a way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from textmill.catalog.artifacts import Source
from textmill.catalog.catalog import interpret, resolve
from textmill.catalog.hub import Hub
from textmill.errors import ModelError, ModelNotFound, UnsupportedModel, UsageError

NOWHERE = Hub(endpoint="http://127.0.0.1:9", offline=True)
"""No test here may need a network."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def model_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    return path


def test_demo_is_inside_of_the_package_and_needs_nothing(tmp_path: Path) -> None:
    artifact = resolve("demo", home=tmp_path / "home", hub=NOWHERE)
    assert artifact.source is Source.EMBEDDED
    assert (artifact.folder / "model.safetensors").is_file()
    assert artifact.entry is not None
    assert artifact.entry.prompt == "Briefly summarize this text: {document}"
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("name", ["./m", "m", "~/here/m", "{abs}"])
def test_a_local_model_folder_is_used_where_it_is(
    name: str, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = model_folder(here / "m")
    artifact = resolve(name.format(abs=folder), home=tmp_path / "home", hub=NOWHERE)
    assert (artifact.source, artifact.folder, artifact.entry) == (Source.FOLDER, folder, None)


@pytest.mark.parametrize("name", ["demo", "google/flan-t5-small", "t5-small"])
def test_a_local_model_folder_hides_other_meanings_and_says_so(
    name: str, here: Path, tmp_path: Path
) -> None:
    folder = model_folder(here / name)
    artifact = resolve(name, home=tmp_path / "home", hub=NOWHERE)
    assert (artifact.source, artifact.folder) == (Source.FOLDER, folder)


def test_a_folder_that_is_no_model_hides_nothing(here: Path, tmp_path: Path) -> None:
    (here / "demo").mkdir()
    (here / "google" / "flan-t5-small").mkdir(parents=True)
    assert resolve("demo", home=tmp_path, hub=NOWHERE).source is Source.EMBEDDED
    assert interpret("google/flan-t5-small").repository == "google/flan-t5-small"


@pytest.mark.parametrize(
    ("name", "version", "repository", "revision", "chosen"),
    [
        ("huggingface-text2text-flan-t5-base", "*", "google/flan-t5-base", "main", "1.3.2"),
        ("flan-t5-base", "1.*", "google/flan-t5-base", "main", "1.3.2"),
        ("flan-t5-base@1.2.*", "*", "google/flan-t5-base", "main", "1.2.2"),
        ("flan-t5-base@1.2.2", "1.2.2", "google/flan-t5-base", "main", "1.2.2"),
        ("google/flan-t5-base", "*", "google/flan-t5-base", "main", None),
        ("google/flan-t5-base@v1", "*", "google/flan-t5-base", "v1", None),
        ("t5-small", "*", "google-t5/t5-small", "main", None),
        ("t5-small@refs/pr/7", "*", "google-t5/t5-small", "refs/pr/7", None),
        ("facebook/bart-large-cnn@abc", "*", "facebook/bart-large-cnn", "abc", None),
        ("some.one/my_model-2", "*", "some.one/my_model-2", "main", None),
    ],
)
def test_ids_and_repositories(
    name: str, version: str, repository: str, revision: str, chosen: str | None
) -> None:
    target = interpret(name, version)
    assert (target.repository, target.revision, target.version) == (repository, revision, chosen)
    assert (target.entry is None) == name.startswith("some.one")


def test_a_repository_named_directly_brings_its_catalog_entry_along() -> None:
    target = interpret("shibing624/bart4csc-base-chinese")
    assert target.entry is not None
    assert target.entry.unsupported


def test_an_unsupported_entry_says_why_and_what_to_do() -> None:
    with pytest.raises(UnsupportedModel, match="WordPiece") as caught:
        interpret("bart4csc-base-chinese")
    assert "shibing624/bart4csc-base-chinese" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "error", "word"),
    [
        ("flan-t5-smal", ModelNotFound, "Did you mean flan-t5-small"),
        ("nothing-like-it", ModelNotFound, "textmill models list"),
        ("flan-t5-small@9.*", ModelNotFound, "1.3.2"),
        ("./absent", ModelNotFound, "does not exist"),
        ("absent.tar.gz", ModelNotFound, "no such file"),
        ("/absent/model.tgz", ModelNotFound, "no such file"),
        ("empty", ModelNotFound, "no config.json"),
        ("./empty", ModelNotFound, "no config.json"),
        ("./weights.bin", ModelNotFound, "neither a model folder nor"),
        ("https://hub.example/x/y", ModelNotFound, "Addresses are not read"),
        ("s3://bucket/model.tar.gz", ModelNotFound, "no model"),
        ("a/b/c", ModelNotFound, 'no model "a/b/c"'),
        ("../../etc/passwd", ModelNotFound, "does not exist"),
        ("org/..", ModelNotFound, "no model"),
        ("", ModelNotFound, 'no model ""'),
        ("localhost:8000", ModelNotFound, "named by its URL: http://localhost:8000"),
        ("127.0.0.1:8000/v1", ModelNotFound, "named by its URL: http://127.0.0.1:8000/v1"),
        ("some/repo", ModelNotFound, "offline"),
    ],
)
def test_names_that_lead_nowhere_say_what_to_do(
    name: str, error: type[ModelError], word: str, here: Path, tmp_path: Path
) -> None:
    (here / "empty").mkdir()
    (here / "weights.bin").write_bytes(b"")
    with pytest.raises(error) as caught:
        resolve(name, home=tmp_path / "home", hub=NOWHERE)
    assert word in str(caught.value)
    assert caught.value.hint
    assert not (tmp_path / "home").exists()


def test_two_different_versions_are_a_contradiction() -> None:
    with pytest.raises(UsageError, match="two versions"):
        interpret("flan-t5-base@1.2.2", "1.3.2")


def test_a_repository_has_revisions_and_no_versions() -> None:
    with pytest.raises(UsageError, match="@REVISION"):
        interpret("some/repo", "1.*")
