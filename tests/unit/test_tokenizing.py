"""Opening tokenizers: which one, what it refuses and how it says so."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import textmill
from support.tiny_tokenizers import build, proto_of, spm_model, t5_spm, write
from support.tokenizer_cases import folder, ours
from textmill.engines.tokenizing import open_tokenizer
from textmill.engines.tokenizing.bpe import cut, repeats_itself
from textmill.engines.tokenizing.charsmap import CharsMap
from textmill.engines.tokenizing.spm import Algorithm, read_spm
from textmill.errors import CorruptModel, ParameterError, UnsupportedModel


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_a_sentencepiece_file_reads_as_protobuf_reads_it(kind: str, tmp_path: Path) -> None:
    write(tmp_path, "x.model", spm_model(kind, 1000))
    proto = proto_of(spm_model(kind, 1000))
    model = read_spm(tmp_path / "x.model")
    assert [(p.text, p.score, p.kind) for p in model.pieces] == [
        (p.piece, p.score, p.type) for p in proto.pieces
    ]
    assert model.algorithm == Algorithm(proto.trainer_spec.model_type)
    assert model.unk_id == proto.trainer_spec.unk_id
    assert model.charsmap == proto.normalizer_spec.precompiled_charsmap
    assert model.byte_fallback == proto.trainer_spec.byte_fallback


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x0a",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x0a\x02\x0a\xff",
        b"\x0b",
        b"\x02\x00",
        b"\xff" * 12,
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4309802\n",
        b"\x0a\x0a\x0a\x01a\x15" + struct.pack("<f", float("nan")) + b"\x18\x02",
    ],
)
def test_what_is_no_sentencepiece_file_is_refused_by_name(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.model").write_bytes(data)
    with pytest.raises(CorruptModel, match=r"x\.model is not a SentencePiece model"):
        read_spm(tmp_path / "x.model")


@pytest.mark.parametrize("kind", ["word", "char"])
def test_sentencepiece_models_of_words_are_unsupported(kind: str, tmp_path: Path) -> None:
    size = 300 if kind == "word" else 100
    write(tmp_path, "x.model", spm_model(kind, size, hard_vocab_limit=False))
    with pytest.raises(UnsupportedModel, match="it cuts text into"):
        read_spm(tmp_path / "x.model")


def test_rules_that_lead_outside_of_the_file_are_refused() -> None:
    good = proto_of(t5_spm()).normalizer_spec.precompiled_charsmap
    assert CharsMap(good)("ﬁ") == "fi"
    for bad in (good[:3], good[:50_000], b"\xff" * 64, b"\x04\0\0\0\0\0\0\x7f" + b"\0" * 8):
        with pytest.raises(CorruptModel, match="normalization rules are damaged"):
            CharsMap(bad)


@pytest.mark.parametrize("word", ["aaa", "ababa", "xanana", "--------", "abcabca"])
def test_words_that_overlap_themselves_are_seen(word: str) -> None:
    assert repeats_itself(word)


@pytest.mark.parametrize("word", ["", "aa", "abab", "letter", "mississippi"[:7], "abcabc"])
def test_words_that_repeat_without_overlap_are_not(word: str) -> None:
    assert not repeats_itself(word)


def test_the_leftmost_of_equal_merges_goes_first() -> None:
    scores = {"a": -9.0, "aa": -1.0, "aaa": -2.0}
    assert cut("aaaa", scores) == ["aa", "aa"]
    assert cut("aaa", scores) == ["aaa"]
    assert cut("", scores) == []


@pytest.mark.parametrize(
    ("model_type", "files"),
    [
        ("t5", ["spiece.model"]),
        ("mt5", ["spiece.model"]),
        ("umt5", ["spiece.model"]),
        ("pegasus", ["spiece.model"]),
        ("bart", ["vocab.json", "merges.txt"]),
        ("mbart", ["sentencepiece.bpe.model"]),
        ("m2m_100", ["sentencepiece.bpe.model", "vocab.json"]),
        ("marian", ["source.spm", "target.spm", "vocab.json"]),
    ],
)
def test_missing_files_are_listed(model_type: str, files: list[str], tmp_path: Path) -> None:
    write(tmp_path, "config.json", {"model_type": model_type})
    with pytest.raises(CorruptModel) as caught:
        open_tokenizer(tmp_path)
    assert all(name in str(caught.value) for name in [*files, str(tmp_path)])


@pytest.mark.parametrize(
    "config", [{}, {"model_type": "bert"}, {"tokenizer_class": "OwnTokenizer"}]
)
def test_an_unknown_tokenizer_without_its_file_is_unsupported(
    config: dict[str, str], tmp_path: Path
) -> None:
    write(tmp_path, "config.json", config)
    with pytest.raises(UnsupportedModel, match=r"tokenizer\.json"):
        open_tokenizer(tmp_path)


def test_an_unknown_tokenizer_with_its_file_is_taken_as_written(tmp_path: Path) -> None:
    build("t5", tmp_path)
    expected = ours("t5").encode(["two words"])
    write(tmp_path, "tokenizer_config.json", {"tokenizer_class": "OwnTokenizer"})
    assert open_tokenizer(tmp_path).encode(["two words"]) == expected


def test_t5_models_with_the_tokenizer_of_bart_get_it(tmp_path: Path) -> None:
    build("bart-files", tmp_path)
    write(tmp_path, "config.json", {"model_type": "t5"})
    write(tmp_path, "tokenizer_config.json", {"tokenizer_class": "RobertaTokenizer"})
    assert open_tokenizer(tmp_path).encode(["x = f(y)"]) == ours("bart").encode(["x = f(y)"])


def test_umt5_with_only_its_sentencepiece_file_is_read_as_t5(tmp_path: Path) -> None:
    build("t5-spm", tmp_path)
    write(tmp_path, "config.json", {"model_type": "umt5"})
    assert open_tokenizer(tmp_path).encode(["a line"]) == ours("t5").encode(["a line"])


@pytest.mark.parametrize("stored", [{"max_length": 4}, {"max_length": 8}])
def test_nothing_is_cut_off_although_the_file_says_so(
    stored: dict[str, int], tmp_path: Path
) -> None:
    build("umt5", tmp_path)
    truncation = {"direction": "Right", "strategy": "LongestFirst", "stride": 0, **stored}
    edit_json(tmp_path / "tokenizer.json", truncation=truncation)
    ids = open_tokenizer(tmp_path).encode(["one " * 50, "one"])
    assert len(ids[0]) > 50
    assert len(ids[1]) < 8


BROKEN = {
    "tokenizer.json": [
        "",
        "[]",
        "{",
        '{"model": 3}',
        '{"model": {"vocab": 3}}',
        "\xff",
        "[" * 9999,
    ],
    "tokenizer_config.json": [
        "[]",
        '{"tokenizer_class": 3}',
        '{"extra_ids": "many"}',
        '{"added_tokens_decoder": {"x": {"content": "a"}}}',
        '{"added_tokens_decoder": {"1": "a"}}',
        '{"added_tokens_decoder": []}',
        '{"extra_special_tokens": [3]}',
        '{"clean_up_tokenization_spaces": "yes"}',
    ],
    "special_tokens_map.json": ["{", '{"eos_token": {"text": "</s>"}}'],
    "added_tokens.json": ["[]", '{"<new>": "last"}'],
    "config.json": ["nothing"],
}


@pytest.mark.parametrize(
    ("name", "content"), [(name, text) for name, texts in BROKEN.items() for text in texts]
)
def test_broken_files_are_refused_with_their_folder(
    name: str, content: str, tmp_path: Path
) -> None:
    build("t5", tmp_path)
    if name in {"special_tokens_map.json", "added_tokens.json"}:
        (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / name).write_text(content, encoding="latin-1")
    with pytest.raises(CorruptModel) as caught:
        open_tokenizer(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("family", "name", "content", "message"),
    [
        ("bart-files", "merges.txt", "#version: 0.2\na b c\n", "line 2: two tokens expected"),
        ("bart-files", "merges.txt", "#version: 0.2\nqq zz\n", "cannot be built"),
        ("bart-files", "vocab.json", '{"a": -1}', "a number of its own"),
        ("bart-files", "vocab.json", '{"a": 1, "b": 1}', "a number of its own"),
        ("bart-files", "vocab.json", "{}", "a number of its own"),
        ("marian", "vocab.json", '{"</s>": 0}', "vocab.json has no <unk>"),
        ("m2m100", "vocab.json", '{"a": 99999999999}', "a number of its own"),
        ("marian", "source.spm", "?", "source.spm is not a SentencePiece model"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(
    family: str, name: str, content: str, message: str, tmp_path: Path
) -> None:
    build(family, tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(CorruptModel, match=message):
        open_tokenizer(tmp_path)


def test_a_vocabulary_without_its_end_token_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "spiece.model", spm_model("unigram", 400, eos_id=-1, bos_id=-1))
    write(tmp_path, "config.json", {"model_type": "pegasus"})
    write(tmp_path, "tokenizer_config.json", {"unk_token": "<nope>"})
    with pytest.raises(CorruptModel, match="its vocabulary has no <nope>"):
        open_tokenizer(tmp_path)


@pytest.mark.parametrize("family", ["t5", "bart", "pegasus", "marian", "byt5"])
def test_models_without_language_tokens_refuse_languages(family: str) -> None:
    tokenizer = ours(family)
    assert tokenizer.languages == ()
    with pytest.raises(ParameterError, match='src_lang="fr": this model has no language tokens'):
        tokenizer.encode(["x"], src_lang="fr")
    with pytest.raises(ParameterError, match='tgt_lang="fr"'):
        tokenizer.language_token_id("fr")


@pytest.mark.parametrize("family", ["mbart", "mbart50", "nllb", "m2m100"])
def test_unknown_languages_are_refused_with_the_known_ones(family: str) -> None:
    tokenizer = ours(family)
    with pytest.raises(ParameterError) as caught:
        tokenizer.encode(["x"], src_lang="tlh")
    with pytest.raises(ParameterError, match=r'src_lang="": not a language'):
        tokenizer.encode(["x"], src_lang="")
    assert 'src_lang="tlh"' in str(caught.value)
    assert tokenizer.languages[0] in str(caught.value)


def test_the_folder_may_set_the_default_source_language(tmp_path: Path) -> None:
    build("nllb", tmp_path)
    edit_json(tmp_path / "tokenizer_config.json", src_lang="deu_Latn")
    tokenizer = open_tokenizer(tmp_path)
    assert tokenizer.encode(["ja"]) == ours("nllb").encode(["ja"], src_lang="deu_Latn")


def test_older_nllb_models_put_the_language_last(tmp_path: Path) -> None:
    build("nllb", tmp_path)
    edit_json(tmp_path / "tokenizer_config.json", legacy_behaviour=True)
    old, new = open_tokenizer(tmp_path).encode(["yes"])[0], ours("nllb").encode(["yes"])[0]
    assert old == [*new[1:], new[0]]


def test_a_target_language_code_starts_a_marian_text() -> None:
    vocab = json.loads((folder("marian") / "vocab.json").read_text())
    plain, marked, unknown = ours("marian").encode(["hello", ">>fra<< hello", ">>xxx<< hello"])
    assert marked == [vocab[">>fra<<"], *plain]
    assert unknown == [vocab["<unk>"], *plain]


def test_no_texts_are_no_ids() -> None:
    for family in ("t5", "nllb", "marian", "byt5"):
        assert ours(family).encode([]) == []
        assert ours(family).decode([]) == []


def test_opening_needs_none_of_the_big_libraries() -> None:
    code = (
        "import sys; from pathlib import Path; "
        "from textmill.engines.tokenizing import open_tokenizer as o; "
        "assert 'tokenizers' not in sys.modules; "
        "[o(Path(p)).decode(o(Path(p)).encode(['a text'])) for p in sys.argv[1:]]; "
        "bad = {'torch', 'transformers', 'sentencepiece', 'google.protobuf'} & set(sys.modules); "
        "sys.exit(str(bad) if bad else 0)"
    )
    paths = [str(folder(family)) for family in ("t5-spm", "marian", "m2m100", "byt5")]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *paths],
        env={"PYTHONPATH": str(Path(textmill.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
