"""The recipe of the embedded model: what is left out of its data, and that its start copies."""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

sys.path.append(str(Path(__file__).parents[2] / "training"))

data = pytest.importorskip("data")
batches = pytest.importorskip("batches")
start = pytest.importorskip("start")

STANZA = """Package: frobd
Description-md5: 0123
Description-en: daemon  that frobs
 The frob daemon frobs
 every file.
 .
 It needs no configuration.
"""


def test_a_stanza_is_read_with_one_line_for_each_paragraph() -> None:
    document = "The frob daemon frobs every file.\nIt needs no configuration."
    assert data.read_stanza(STANZA) == (document, "daemon that frobs")
    assert data.read_stanza("Package: frobd\nDescription-md5: 0123") is None


READS = "reads mail from a server over a network, one folder at a time, and keeps"
HELD_OUT = [
    {"document": f"Alpha {READS} it in a folder.\nIt is fast.", "summary": "mail reader"},
]


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        (("A tool.\nIt is  FAST", "tool"), "share a paragraph with a held-out record"),
        (
            (f"Now Alpha {READS} it in a folder.", "reader"),
            "resemble a held-out record",
        ),
        (
            (f"Beta {READS} a copy.", "Mail reader"),
            "resemble a held-out record",
        ),
    ],
)
def test_what_stands_in_a_held_out_record_is_left_out(pair: tuple[str, str], why: str) -> None:
    counts: Counter[str] = Counter()
    other = (f"Beta {READS} a copy.", "copy of mail")
    assert list(data.allowed([pair, other], HELD_OUT, counts)) == [other]
    assert counts == {why: 1}


def test_validation_shares_no_paragraph_with_training() -> None:
    pairs = [(f"Text {i}.\nGroup {i // 2 if i % 3 else i}.", f"text {i}") for i in range(2000)]
    train, valid = data.split(pairs, seed=1)
    assert valid
    assert sorted(train + valid) == sorted(pairs)
    trained = {paragraph for document, _ in train for paragraph in data.paragraphs_of(document)}
    assert not any(data.paragraphs_of(document) & trained for document, _ in valid)


def test_a_name_is_exchanged_in_the_description_and_in_the_synopsis_alike() -> None:
    pairs = [batches.Pair(f"name{i} is the tool", f"the tool name{i}") for i in range(30)]
    names = batches.Names(pairs)
    chance = random.Random(3)
    found = [names.exchanged(pair, chance) for pair in pairs]
    assert found != pairs
    for document, summary in found:
        name = document.split()[0]
        assert (document, summary) == (f"{name} is the tool", f"the tool {name}")


def test_siblings_are_few_in_an_epoch() -> None:
    pairs = [batches.Pair(f"Qt is a framework.\nPart {i}.", f"Qt part {i}") for i in range(9)]
    other = batches.Pair("Alone.", "alone")
    chosen = batches.without_siblings([*pairs, other], random.Random(0))
    assert other in chosen
    assert len(chosen) == 1 + batches.SIBLINGS


def test_the_initial_weights_copy() -> None:
    assert start.copying(start.new_model(2000, 0).eval(), rows=8) > 0.95
    assert start.copying(start.new_model(2000, 0, copies=False).eval(), rows=8) < 0.05


def test_tokens_of_names_from_the_description_count_more() -> None:
    tokenizer = Tokenizer(WordLevel({"the": 0, "tool": 1, "frobd": 2, "?": 3}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    found = batches.token_weights(tokenizer, "the tool frobd", {"frobd"}, 3)
    assert found == [1.0, 1.0, batches.NAME_WEIGHT]
    assert batches.token_weights(tokenizer, "the tool frobd", set(), 3) == [1.0, 1.0, 1.0]
