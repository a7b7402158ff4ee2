"""Properties of the tokenizers: any text, any damage."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.oracles import sentencepiece
from support.tiny_tokenizers import spm_model, t5_spm
from support.tokenizer_cases import FAMILIES, LOSES_RULES, folder, oracle, ours
from textmill.engines.tokenizing import open_tokenizer
from textmill.engines.tokenizing.bpe import cut, fuse_unknown
from textmill.engines.tokenizing.charsmap import CharsMap, SpmNormalizer
from textmill.engines.tokenizing.spm import SpmModel, read_spm
from textmill.errors import CorruptModel, UnsupportedModel

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
SPECIALS = st.sampled_from(
    ["</s>", "<unk>", "<pad>", "<mask>", "<extra_id_7>", ">>fra<<", "__fr__", "en_XX", " ", "  "]
)
FEW_LETTERS = st.text("ab n-.▁ ", max_size=40)
MIXED = st.lists(ANY_TEXT | SPECIALS | FEW_LETTERS, max_size=6).map("".join)
SPARE = settings(max_examples=25, deadline=None)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in LOSES_RULES])
@SPARE
@given(batch=st.lists(MIXED, min_size=1, max_size=8))
def test_any_text_gets_the_ids_that_transformers_gives_it(family: str, batch: list[str]) -> None:
    ids = oracle(family).encode(batch)
    assert ours(family).encode(batch) == ids
    if family != "marian-separate":
        assert ours(family).decode(ids) == oracle(family).decode(ids)


@pytest.mark.parametrize("family", FAMILIES)
@SPARE
@given(batch=st.lists(MIXED, max_size=6))
def test_a_text_gets_the_same_ids_alone_and_in_a_batch(family: str, batch: list[str]) -> None:
    tokenizer = ours(family)
    assert tokenizer.encode(batch) == [tokenizer.encode([text])[0] for text in batch]


@pytest.mark.parametrize("family", ["bart", "bart-files", "byt5"])
@given(text=ANY_TEXT.filter(lambda text: "<" not in text))
def test_bytes_come_back_as_they_were(family: str, text: str) -> None:
    tokenizer = ours(family)
    assert tokenizer.decode(tokenizer.encode([text])) == [text]


@cache
def rules() -> bytes:
    return read_spm(spm_file("unigram")).charsmap


@cache
def normalizer() -> SpmNormalizer:
    return SpmNormalizer(CharsMap(rules()), add_dummy_prefix=True, remove_extra_whitespaces=True)


@cache
def processor(kind: str) -> Any:
    return sentencepiece(spm_file(kind))


@cache
def scores() -> dict[str, float]:
    spm = processor("bpe")
    return {spm.id_to_piece(i): spm.get_score(i) for i in range(3, spm.get_piece_size())}


def spm_file(kind: str) -> Path:
    return folder("m2m100" if kind == "bpe" else "mbart") / "sentencepiece.bpe.model"


@settings(deadline=None)
@given(text=MIXED)
def test_text_is_normalized_as_sentencepiece_does(text: str) -> None:
    assert normalizer()(text) == processor("unigram").normalize(text)


@settings(deadline=None)
@given(text=MIXED)
def test_byte_pairs_merge_as_in_sentencepiece(text: str) -> None:
    """Also in words that repeat themselves, where ranked merges would go wrong."""
    normal = processor("bpe").normalize(text)
    pieces = fuse_unknown(cut(normal, scores()), scores())
    assert pieces == processor("bpe").encode(text, out_type=str)


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """`data` cut off, with bytes changed, taken out or put in."""
    edit = st.tuples(st.integers(0, len(data) - 1), st.integers(0, 20), st.binary(max_size=20))
    edits = st.lists(edit, min_size=1, max_size=4)

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        result = data
        for at, length, new in changes:
            result = result[:at] + new + result[at + length :]
        return result

    return edits.map(apply) | st.integers(0, len(data)).map(lambda end: data[:end])


def damage(make: Callable[[], bytes]) -> st.SearchStrategy[bytes]:
    """Damaged forms of what `make` gives, which is only made when the test runs."""
    return st.deferred(lambda: damaged(make()))


def read_bytes(data: bytes) -> SpmModel | None:
    with TemporaryDirectory() as place:
        path = Path(place) / "x.model"
        path.write_bytes(data)
        try:
            return read_spm(path)
        except (CorruptModel, UnsupportedModel):
            return None


@settings(max_examples=400, deadline=None)
@given(
    data=damage(lambda: spm_model("bpe", 300, normalization_rule_name="identity"))
    | st.binary(max_size=200)
)
def test_a_damaged_sentencepiece_file_is_read_or_refused(data: bytes) -> None:
    model = read_bytes(data)
    assert model is None or 0 <= model.unk_id < len(model.pieces)


@settings(max_examples=60, deadline=None)
@given(data=damage(lambda: t5_spm(300)))
def test_a_damaged_model_opens_and_works_or_is_refused(data: bytes) -> None:
    """Also where the damage is in the normalization rules, which the library would trust."""
    with TemporaryDirectory() as place:
        Path(place, "spiece.model").write_bytes(data)
        Path(place, "config.json").write_text('{"model_type": "t5"}')
        try:
            tokenizer = open_tokenizer(Path(place))
        except (CorruptModel, UnsupportedModel):
            return
        ids = tokenizer.encode(["Ａ e\u0301 text, 天气 ﬁ \0", "of Perl modules"])
        assert all(isinstance(text, str) for text in tokenizer.decode(ids))


@settings(max_examples=60, deadline=None)
@given(data=damage(rules))
def test_damaged_rules_never_lead_outside_of_the_file(data: bytes) -> None:
    try:
        damaged_rules = CharsMap(data)
    except CorruptModel:
        return
    assert isinstance(damaged_rules("Ａ e\u0301 text, 天气 ﬁ \0 각 ガ"), str)
