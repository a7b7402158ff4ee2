"""Marian and M2M100, whole: files, special tokens, language codes, pieces."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from textmill.engines.tokenizing import languages
from textmill.engines.tokenizing.config import TokenizerConfig, fill_roles
from textmill.engines.tokenizing.fast import clean_up, find_language
from textmill.engines.tokenizing.pieces import PieceDecoder, PieceEncoder
from textmill.engines.tokenizing.splitting import Specials
from textmill.engines.tokenizing.spm import SpmModel, read_spm
from textmill.engines.tokenizing.vocabulary import read_vocab
from textmill.errors import CorruptModel, UnsupportedModel
from textmill.words import written

MARIAN_FILES = ("source.spm", "target.spm", "vocab.json")
M2M100_FILES = ("sentencepiece.bpe.model", "vocab.json")
_M2M100_LANGUAGES = {"m2m100": languages.M2M100, "wmt21": languages.WMT21}

CodeSplitter = Callable[[str], tuple[str, str]]


class PieceTokenizer:
    """A tokenizer of pieces: cuts out special tokens, has the rest encoded, puts it together."""

    def __init__(
        self,
        *,
        encoder: PieceEncoder,
        decoder: PieceDecoder,
        specials: Specials,
        eos_id: int,
        code_id: Callable[[str], tuple[list[int], str]],
        language_ids: Mapping[str, int],
        default_language: str,
        clean: bool,
    ) -> None:
        """code_id: takes a language code off the front of a text: (its id or nothing, the rest).

        language_ids: empty when the source language has no token.
        """
        self._encoder = encoder
        self._decoder = decoder
        self._specials = specials
        self._eos_id = eos_id
        self._code_id = code_id
        self._ids = dict(language_ids)
        self._default = default_language
        self._clean = clean

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that have a token."""
        return tuple(self._ids)

    def language_token_id(self, lang: str) -> int:
        """Id of a language's token. Raises `ParameterError` if there is none."""
        return find_language("tgt_lang", lang, self._ids)

    def encode(self, texts: Sequence[str], *, src_lang: str | None = None) -> list[list[int]]:
        """Token ids, special tokens added. Raises `ParameterError` for an unknown language."""
        start: list[int] = []
        if src_lang is not None or self._ids:
            start = [
                find_language(
                    "src_lang", self._default if src_lang is None else src_lang, self._ids
                )
            ]
        parts = [self._parts(text) for text in texts]
        encoded = iter(self._encoder([rest for text in parts for _, rest in text]))
        return [
            [*start, *_flat((ids, next(encoded)) for ids, _ in text), self._eos_id]
            for text in parts
        ]

    def _parts(self, text: str) -> list[tuple[list[int], str]]:
        """(ids that are known without the encoder, text after them), in order."""
        parts: list[tuple[list[int], str]] = []
        for stretch, number in self._specials.split(text):
            parts.append(self._code_id(stretch) if number is None else ([number], ""))
        return parts

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """Texts, special tokens left out."""
        texts = [self._decoder(sequence) for sequence in sequences]
        return [clean_up(text) for text in texts] if self._clean else texts


def _flat(pairs: Iterable[tuple[list[int], list[int]]]) -> list[int]:
    return [number for pair in pairs for ids in pair for number in ids]


def marian(config: TokenizerConfig) -> PieceTokenizer:
    """Marian: text, </s>; a text may start with its target language, `>>fra<<`."""
    folder = config.folder
    vocab = read_vocab(folder / "vocab.json")
    named = fill_roles(config, "eos_token", "unk_token", "pad_token")
    unk_id = _required(vocab, named["unk_token"].content, config)
    separate = config.option("separate_vocabs", bool, default=False)
    target = read_vocab(folder / "target_vocab.json") if separate else vocab
    specials = Specials(config.listed, [*named.values(), *(config.extra or ())], vocab)
    source_spm = read_spm(folder / "source.spm")
    return PieceTokenizer(
        encoder=_encoder(folder / "source.spm", source_spm, vocab, unk_id),
        decoder=PieceDecoder(
            read_spm(folder / "target.spm") if separate else source_spm,
            target,
            added=specials.ids,
            skipped=specials.skipped,
            unk_text=named["unk_token"].content,
            keeps_foreign_marks=False,
        ),
        specials=specials,
        eos_id=specials.ids[named["eos_token"].content],
        code_id=lambda text: _marian_code(text, vocab, unk_id),
        language_ids={},
        default_language="",
        clean=bool(config.option("clean_up_tokenization_spaces", bool, default=False)),
    )


def _marian_code(text: str, vocab: Mapping[str, int], unk_id: int) -> tuple[list[int], str]:
    end = text.find("<<") + 2
    if not text.startswith(">>") or end < 2:
        return [], text
    return [vocab.get(text[:end], unk_id)], text[end:]


def m2m100(config: TokenizerConfig) -> PieceTokenizer:
    """M2M100: source language, text, </s>; the languages' ids follow the vocabulary's."""
    vocab = read_vocab(config.folder / "vocab.json")
    spm_path = config.folder / "sentencepiece.bpe.model"
    spm = read_spm(spm_path)
    roles = ("bos_token", "eos_token", "sep_token", "pad_token", "unk_token")
    named = fill_roles(config, *roles)
    unk_id = _required(vocab, named["unk_token"].content, config)
    name = config.option("language_codes", str, "m2m100")
    if name not in _M2M100_LANGUAGES:
        raise UnsupportedModel(f"{config.folder}: unknown set of languages {written(name)}")
    language_ids = {code: len(vocab) + i for i, code in enumerate(_M2M100_LANGUAGES[name])}
    specials = Specials(config.listed, [*named.values(), *(config.extra or ())], vocab)
    return PieceTokenizer(
        encoder=_encoder(spm_path, spm, vocab, unk_id),
        decoder=PieceDecoder(
            spm,
            vocab,
            added={f"__{code}__": i for code, i in language_ids.items()} | specials.ids,
            skipped=specials.skipped,
            unk_text=named["unk_token"].content,
            keeps_foreign_marks=True,
        ),
        specials=specials,
        eos_id=specials.ids[named["eos_token"].content],
        code_id=lambda text: ([], text),
        language_ids=language_ids,
        default_language=config.option("src_lang", str, "en"),
        clean=bool(config.option("clean_up_tokenization_spaces", bool, default=False)),
    )


def _encoder(path: Path, spm: SpmModel, vocab: Mapping[str, int], unk_id: int) -> PieceEncoder:
    try:
        return PieceEncoder(spm, vocab, unk_id)
    except (UnsupportedModel, CorruptModel) as error:
        raise type(error)(f"{path}: {error.message}", hint=error.hint) from error


def _required(vocab: Mapping[str, int], token: str, config: TokenizerConfig) -> int:
    if token not in vocab:
        raise CorruptModel(f"{config.folder / 'vocab.json'} has no {token}")
    return vocab[token]
