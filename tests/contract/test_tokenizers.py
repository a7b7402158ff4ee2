"""Every family's tokenizer equals transformers' own on the same folder, and SentencePiece's."""

from __future__ import annotations

import os
import random
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import textmill
from support.oracles import HuggingFace, sentencepiece
from support.tiny_tokenizers import MULTILINGUAL, documents, summaries
from support.tokenizer_cases import (
    FAMILIES,
    LOSES_RULES,
    ORACLE_FOLDER,
    folder,
    oracle,
    ours,
    texts,
)
from textmill.engines.tokenizing import open_tokenizer

DEMO = Path(textmill.__file__).parent / "assets/demo/model"

families = pytest.mark.parametrize("family", FAMILIES)
translators = pytest.mark.parametrize(
    ("family", "lang"),
    [
        ("mbart", "ro_RO"),
        ("mbart-spm", "zh_CN"),
        ("mbart50", "sl_SI"),
        ("nllb", "fra_Latn"),
        ("nllb-spm", "zul_Latn"),
        ("m2m100", "fr"),
    ],
)


def comparable(family: str) -> list[str]:
    """The texts on which transformers does not lose what the model's files say."""
    if family not in LOSES_RULES:
        return list(texts())
    spm = sentencepiece(folder(family) / "sentencepiece.bpe.model")
    sample = [*texts(), *documents()[250:700]]
    return [text for text in sample if spm.normalize(text) == bare(text)]


def bare(text: str) -> str:
    """`text` as SentencePiece writes it when no rule changes a character."""
    return "".join("▁" + word for word in re.split("[ \t\r\n]+", text) if word)


@families
def test_ids_equal_those_of_transformers(family: str) -> None:
    """Special tokens included, and nothing cut off although the file stores a truncation."""
    sample = comparable(family)
    assert len(sample) >= 500
    assert ours(family).encode(sample) == oracle(family).encode(sample)


@families
def test_decoded_texts_equal_those_of_transformers(family: str) -> None:
    """For ids of real texts and for random ids, special ones among them."""
    size = 690 if family == "marian-separate" else 384 if family == "byt5" else 1000
    chance = random.Random(7)
    sequences = [[chance.randrange(size) for _ in range(chance.randrange(30))] for _ in range(300)]
    if family != "marian-separate":  # its targets are numbered by another vocabulary
        sequences += oracle(family).encode(comparable(family))
    if family == "byt5":
        sequences = [[i for i in ids if i < 384] for ids in sequences]
    assert ours(family).decode(sequences) == oracle(family).decode(sequences)


@translators
def test_the_source_language_is_marked_as_transformers_marks_it(family: str, lang: str) -> None:
    sample = list(documents()[:20])
    marked = ours(family).encode(sample, src_lang=lang)
    reference = HuggingFace(folder(ORACLE_FOLDER.get(family, family)))
    assert marked == reference.encode(sample, src_lang=lang)
    assert marked != ours(family).encode(sample)


@translators
def test_every_language_has_the_id_that_transformers_gives_it(family: str, lang: str) -> None:
    tokenizer, reference = ours(family), oracle(family).tokenizer
    assert lang in tokenizer.languages
    name = "__{}__" if family == "m2m100" else "{}"
    for code in tokenizer.languages:
        expected = reference.convert_tokens_to_ids(name.format(code))
        assert tokenizer.language_token_id(code) == expected


@pytest.mark.parametrize(
    ("family", "file"),
    [
        ("t5", "spiece.model"),
        ("t5-spm", "spiece.model"),
        ("umt5", "spiece.model"),
        ("pegasus-spm", "spiece.model"),
        ("mbart", "sentencepiece.bpe.model"),
        ("mbart-spm", "sentencepiece.bpe.model"),
        ("mbart50", "sentencepiece.bpe.model"),
        ("nllb", "sentencepiece.bpe.model"),
        ("nllb-spm", "sentencepiece.bpe.model"),
    ],
)
def test_pieces_equal_those_of_sentencepiece(family: str, file: str) -> None:
    """On text that it normalizes too: the second witness, which transformers wraps or rebuilds."""
    spm = sentencepiece(folder(family) / file)
    offset = {"spiece.model": 0, "sentencepiece.bpe.model": 1}[file]
    offset = 103 if family.startswith("pegasus") else offset
    unk = spm.unk_id() if not file.startswith("sent") else 3 - offset
    sample = [*documents()[:300], *MULTILINGUAL, "ＦＵＬＬ　ｗｉｄｔｈ ① ½ ﬁ ™ …", "天气，好。"]
    expected = [
        [(unk if i == spm.unk_id() else i) + offset for i in spm.encode(text)] for text in sample
    ]
    around = {"spiece.model": slice(0, -1)}.get(file, slice(1, -1))
    around = slice(0, -2) if family.startswith("mbart") and family != "mbart50" else around
    assert [ids[around] for ids in ours(family).encode(sample)] == expected


def test_the_demo_model_tokenizes_all_its_records_as_transformers_does() -> None:
    tokenizer, reference = open_tokenizer(DEMO), HuggingFace(DEMO)
    sample = [*documents(), *summaries()]
    ids = reference.encode(sample)
    assert tokenizer.encode(sample) == ids
    assert tokenizer.decode(ids) == reference.decode(ids)


MEGABYTE = {
    "prose": " ".join(documents())[:1_000_000],
    "one letter": "a" * 1_000_000,
    "spaces": " " * 1_000_000,
    "no spaces": "天气很好，我们去公园吧。" * 30_000,
    "NUL": "\0" * 1_000_000,
    "marks": "e\u0301" * 300_000,
    "special tokens": "</s>" * 100_000,
}


@pytest.mark.full
@pytest.mark.parametrize("family", ["t5", "bart", "nllb", "pegasus", "m2m100", "marian", "byt5"])
@pytest.mark.parametrize("kind", MEGABYTE)
def test_a_megabyte_of_text_is_tokenized_as_transformers_does(family: str, kind: str) -> None:
    if (family, kind) == ("marian", "prose"):
        pytest.skip("sums of 250,000 float32 scores: see the next test")
    text = MEGABYTE[kind]
    assert ours(family).encode([text]) == oracle(family).encode([text])


@pytest.mark.full
def test_where_float32_sums_tie_our_cut_is_at_least_as_likely() -> None:
    """SentencePiece adds float32 scores over the whole text, the tokenizers library float64."""
    text = MEGABYTE["prose"]
    spm = sentencepiece(folder("marian") / "source.spm")
    score = {spm.id_to_piece(i): spm.get_score(i) for i in range(spm.get_piece_size())}
    reference = oracle("marian").tokenizer
    mine, theirs = ours("marian").encode([text])[0], reference([text])["input_ids"][0]
    total = [
        sum(score.get(piece, -30.0) for piece in reference.convert_ids_to_tokens(ids))
        for ids in (mine, theirs)
    ]
    assert total[0] >= total[1] - 1e-6


@families
def test_a_folder_saved_again_by_transformers_reads_the_same(family: str, tmp_path: Path) -> None:
    """With a token added, as after fine-tuning: the newest kind of files."""
    saved = HuggingFace(folder(ORACLE_FOLDER.get(family, family))).tokenizer
    saved.add_tokens(["zzz_new"])
    saved.save_pretrained(str(tmp_path))
    shutil.copy(folder(family) / "config.json", tmp_path)
    reference, tokenizer = HuggingFace(tmp_path), open_tokenizer(tmp_path)
    sample = ["before zzz_new after", "xzzz_newx", *texts()[-150:]]
    ids = reference.encode(sample)
    assert tokenizer.encode(sample) == ids
    if family != "marian-separate":
        assert tokenizer.decode(ids) == reference.decode(ids)


def test_threads_with_different_languages_do_not_disturb_each_other() -> None:
    tokenizer = ours("nllb")
    sample = list(documents()[:100])
    langs = ["eng_Latn", "fra_Latn", "deu_Latn", "zul_Latn"] * 4
    expected = {lang: tokenizer.encode(sample, src_lang=lang) for lang in set(langs)}
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda lang: tokenizer.encode(sample, src_lang=lang), langs))
    assert found == [expected[lang] for lang in langs]


def test_the_environment_is_left_alone() -> None:
    before = dict(os.environ)
    ours("t5").encode(list(documents()[:50]))
    assert dict(os.environ) == before
