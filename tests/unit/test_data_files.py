"""Which files a path within a data set means."""

from __future__ import annotations

from pathlib import Path

import pytest

from textmill.catalog.data_files import choose_data_files
from textmill.catalog.datasets import expand_folder, parse_dataset
from textmill.errors import InputError

NEWS = (
    "README.md",
    "cnn.py",
    "3.0.0/test-00000-of-00001.parquet",
    "3.0.0/train-00001-of-00002.parquet",
    "3.0.0/train-00000-of-00002.parquet",
    "3.0.0/train_extra-00000-of-00001.parquet",
    "2.0.0/test-00000-of-00001.parquet",
)
CONVERTED = (
    "default/train/0001.parquet",
    "default/train/0000.parquet",
    "default/test/0000.parquet",
)
PUSHED = ("data/train-00000-of-00001-0123456789abcdef.parquet", "data/train.jsonl.gz")


@pytest.mark.parametrize(
    ("names", "path", "found"),
    [
        (NEWS, "3.0.0/test", ["3.0.0/test-00000-of-00001.parquet"]),
        (
            NEWS,
            "3.0.0/train",
            ["3.0.0/train-00000-of-00002.parquet", "3.0.0/train-00001-of-00002.parquet"],
        ),
        (NEWS, "2.0.0", ["2.0.0/test-00000-of-00001.parquet"]),
        (NEWS, "3.0.0/train-00001-of-00002.parquet", ["3.0.0/train-00001-of-00002.parquet"]),
        (NEWS, "*/test-*", [NEWS[6], NEWS[2]]),
        (NEWS, "**/train_*.parquet", [NEWS[5]]),
        (NEWS, "**", sorted(NEWS[2:])),
        (NEWS, "?.0.0/test-*-of-*.parquet", [NEWS[6], NEWS[2]]),
        (CONVERTED, "default/train", sorted(CONVERTED[:2])),
        (CONVERTED, "default/test/0000", ["default/test/0000.parquet"]),
        (CONVERTED[:2], "", sorted(CONVERTED[:2])),
        (PUSHED, "data/train", [PUSHED[0]]),
        (PUSHED, "data/train.jsonl.gz", [PUSHED[1]]),
        (PUSHED, "data/*.gz", [PUSHED[1]]),
        (PUSHED, "", [PUSHED[0]]),
        (("a[1].parquet", "a1.parquet"), "a[1].parquet", ["a[1].parquet"]),
    ],
)
def test_path_means_files(names: tuple[str, ...], path: str, found: list[str]) -> None:
    assert choose_data_files("hf://datasets/a/b", names, path) == tuple(found)


@pytest.mark.parametrize(
    ("names", "path", "words"),
    [
        (NEWS, "3.0.0/tes", ["no file", "3.0.0/tes", "2.0.0/test, 3.0.0/test, 3.0.0/train"]),
        (NEWS, "*.py", ["no file", "3.0.0/test"]),
        (NEWS, "cnn.py", ["cnn.py is no data file"]),
        (NEWS, "", ["say which one", "hf://datasets/a/b/3.0.0/train_extra", "2.0.0/test"]),
        (CONVERTED, "", ["default/test, default/train"]),
        (("x.py", "data.csv"), "", ["no Parquet", "hf://datasets/a/b@~parquet", "data.csv"]),
        (("x.py",), "train", ["no file", "@~parquet"]),
        (("../../x.parquet",), "**", ["no place in a folder"]),
        (("/x.parquet",), "", ["no place in a folder"]),
        (("a\\..\\x.parquet",), "", ["no place in a folder"]),
    ],
)
def test_path_that_means_nothing_is_told_what_there_is(
    names: tuple[str, ...], path: str, words: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        choose_data_files("hf://datasets/a/b", names, path)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("hf://datasets/a/b", ("a/b", "main", "")),
        ("hf://datasets/a/b/", ("a/b", "main", "")),
        ("hf://datasets/a/b.c@v1.0/x/y", ("a/b.c", "v1.0", "x/y")),
        (
            "hf://datasets/a/b@~parquet/default/train/",
            ("a/b", "refs/convert/parquet", "default/train"),
        ),
        ("hf://datasets/a/b@refs%2Fpr%2F7/x", ("a/b", "refs/pr/7", "x")),
        ("hf://datasets/a/b@refs/convert/parquet/x/y", ("a/b", "refs/convert/parquet", "x/y")),
        ("hf://datasets/a/b@refs/pr/7", ("a/b", "refs/pr/7", "")),
    ],
)
def test_address_has_a_name_a_revision_and_a_path(
    address: str, parts: tuple[str, str, str]
) -> None:
    found = parse_dataset(address)
    assert (found.name, found.revision, found.path) == parts
    assert address.startswith(found.text)


@pytest.mark.parametrize(
    "address",
    [
        "hf://datasets/squad",
        "hf://a/b",
        "hf://models/a/b",
        "hf://datasets/../b",
        "hf://datasets/a--c/b",
        "hf://datasets/a/b@",
        "hf://datasets/a/b@/x",
    ],
)
def test_other_addresses_are_refused_with_an_example(address: str) -> None:
    with pytest.raises(InputError, match="hf://datasets/abisee"):
        parse_dataset(address)


def test_a_folder_is_its_parquet_files(tmp_path: Path) -> None:
    for name in ("b/2.parquet", "b/1.parquet", "a.parquet", "_tmp/x.parquet", ".x.parquet", "_m"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [str(path.relative_to(tmp_path)) for path in expand_folder(tmp_path)] == [
        "a.parquet",
        "b/1.parquet",
        "b/2.parquet",
    ]


def test_a_folder_without_parquet_files_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").touch()
    with pytest.raises(InputError, match=r"rows\.jsonl"):
        expand_folder(tmp_path)
