"""The catalog's data and how it is searched."""

from __future__ import annotations

import re
import string
from collections import Counter
from importlib.resources import files

import pytest

from textmill.catalog.entries import (
    JUMPSTART,
    Entry,
    choose_version,
    entries,
    find,
    near_names,
    search,
    version_key,
)
from textmill.errors import ModelNotFound

JUMPSTART_IDS = {
    JUMPSTART + name
    for name in (
        "bart4csc-base-chinese",
        "bigscience-t0pp",
        "bigscience-t0pp-bnb-int8",
        "bigscience-t0pp-fp16",
        "flan-t5-base",
        "flan-t5-base-samsum",
        "flan-t5-large",
        "flan-t5-small",
        "flan-t5-xl",
        "flan-t5-xxl",
        "flan-t5-xxl-bnb-int8",
        "flan-t5-xxl-fp16",
        "flan-ul2-bf16",
        "pegasus-paraphrase",
        "qcpg-sentences",
        "t5-one-line-summary",
    )
}
MODEL_TYPES = {"t5", "mt5", "umt5", "bart", "mbart", "pegasus", "marian", "m2m_100"}
LICENCES = {"apache-2.0", "mit", "cc-by-4.0", "cc-by-nc-4.0", "not stated"}

every_entry = pytest.mark.parametrize("entry", entries(), ids=lambda e: e.short_id)


def test_jumpstarts_text2text_models_are_all_there() -> None:
    assert {e.id for e in entries() if e.id.startswith(JUMPSTART)} == JUMPSTART_IDS


def test_no_two_entries_answer_to_one_id() -> None:
    ids = Counter(name for e in entries() for name in {e.id, e.short_id})
    assert [name for name, count in ids.items() if count > 1] == []


@every_entry
def test_entry_is_usable(entry: Entry) -> None:
    """Known type and licence, a repository to fetch or the embedded folder, one-line texts."""
    assert entry.model_type in MODEL_TYPES
    assert entry.licence in LICENCES
    assert re.fullmatch(r"\d+(\.\d+)?[MB]", entry.size)
    assert entry.languages
    assert "\n" not in entry.summary + (entry.unsupported or "")
    if entry.id == "demo":
        assert files("textmill").joinpath("assets/demo/model/config.json").is_file()
    else:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", entry.repository or "")


@every_entry
def test_prompt_has_one_field(entry: Entry) -> None:
    fields = [name for _, name, _, _ in string.Formatter().parse(entry.prompt) if name is not None]
    assert fields == ["document"]


@every_entry
def test_versions_are_in_order_and_of_jumpstarts_first_payload(entry: Entry) -> None:
    keys = [version_key(version) for version in entry.versions]
    assert keys == sorted(set(keys))
    assert all(key[0] == 1 and len(key) == 3 for key in keys)
    assert bool(keys) == entry.id.startswith(JUMPSTART)


@every_entry
def test_every_name_finds_an_entry_with_the_same_files(entry: Entry) -> None:
    assert find(entry.id) is entry
    assert find(entry.short_id) is entry
    if entry.repository:
        found = find(entry.repository)
        assert found is not None
        assert found.repository == entry.repository


def entry_with(*versions: str) -> Entry:
    return Entry(
        id="x", summary="", model_type="t5", size="1M", licence="mit", versions=versions,
        repository="o/x",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ("*", "1.10.0"),
        ("1.*", "1.10.0"),
        ("1.2.*", "1.2.11"),
        ("1.2.3", "1.2.3"),
        ("1.1*", None),
        ("1", None),
        ("2.*", None),
        ("1.2.4", None),
        ("", None),
    ],
)
def test_versions_match_by_prefix_and_are_ordered_as_numbers(
    wanted: str, chosen: str | None
) -> None:
    entry = entry_with("1.2.3", "1.2.11", "1.9.0", "1.10.0")
    if chosen is not None:
        assert choose_version(entry, wanted) == chosen
        return
    with pytest.raises(ModelNotFound, match="no version") as caught:
        choose_version(entry, wanted)
    assert "1.10.0" in str(caught.value)


def test_an_entry_without_versions_has_only_the_star() -> None:
    assert choose_version(entry_with(), "*") is None
    with pytest.raises(ModelNotFound, match="no versions"):
        choose_version(entry_with(), "1.*")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("flan-t5-smal", "flan-t5-small"),
        ("FLAN-T5-LARGE", "flan-t5-large"),
        ("google/flan-t5-xxxl", "flan-t5-xxl"),
        ("huggingface-text2text-flan-t5-bas", "flan-t5-base"),
        ("opus-mt", "Helsinki-NLP/opus-mt-en-de"),
        ("nllb", "facebook/nllb-200-distilled-600M"),
    ],
)
def test_a_slip_of_the_pen_finds_the_name_that_was_meant(typed: str, meant: str) -> None:
    assert meant in near_names(typed)


def test_nonsense_has_no_near_names() -> None:
    assert near_names("qqqqqqqqqqqq") == ()


def test_search_wants_every_word_and_ignores_case() -> None:
    assert {e.id for e in search(["PEGASUS", "news"])} == {
        "google/pegasus-xsum",
        "google/pegasus-cnn_dailymail",
    }
    assert search([]) == entries()
    assert search(["no such word"]) == ()
