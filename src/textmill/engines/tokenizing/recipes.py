"""One recipe per tokenizer class: a model folder's vocabulary made into a `Blueprint`.

A recipe takes the vocabulary from `tokenizer.json` or from the older files and puts it into the
pipeline that transformers 5 gives that class. It only moves data; nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from textmill.engines.tokenizing import languages, pipeline
from textmill.engines.tokenizing.bpe import merges_by_id
from textmill.engines.tokenizing.config import SPECIAL, Added, TokenizerConfig, fill_roles
from textmill.engines.tokenizing.pipeline import (
    METASPACE,
    NO_NEWLINE,
    ONE_SPACE,
    WORDS_THEN_METASPACE,
    Json,
    Merges,
    Scored,
)
from textmill.engines.tokenizing.spm import read_spm
from textmill.engines.tokenizing.vocabulary import (
    charsmap_of,
    numbered_pieces,
    read_merges,
    read_vocab,
    scored_pieces,
)
from textmill.errors import CorruptModel

LANG = "{lang}"
"""Stands for the source language's token."""


class Blueprint(Struct, frozen=True, kw_only=True):
    """A tokenizer as data.

    pipeline: what tokenizer.json would hold, without added tokens.
    named, extra: special tokens, class defaults filled in.
    prefix, suffix: tokens put around every text; "{lang}" stands for the source language's token.
    uses_file_template: True when the pipeline's own post-processor adds the special tokens.
    languages: codes that are tokens; default_language: the source language when none is given.
    """

    pipeline: Json
    named: Mapping[str, Added]
    extra: tuple[Added, ...] = ()
    prefix: tuple[str, ...] = ()
    suffix: tuple[str, ...] = ()
    uses_file_template: bool = False
    languages: tuple[str, ...] = ()
    default_language: str = ""


class Source(Struct, frozen=True, kw_only=True):
    """What a recipe works from: the config, and tokenizer.json's content if there is one."""

    config: TokenizerConfig
    file: Json | None = None

    def path(self, name: str) -> Path:
        """A file of the model folder."""
        return self.config.folder / name


def t5(source: Source) -> Blueprint:
    """T5, FLAN-T5, mT5, UMT5: unigram; `extra_ids` sentinels end the vocabulary."""
    config = source.config
    extra_ids = [f"<extra_id_{i}>" for i in range(config.option("extra_ids", int, 100))]
    vocab, charsmap = _scored(source, "spiece.model")
    if source.file is None:
        vocab += [(text, 0.0) for text in reversed(extra_ids)]
    named = fill_roles(config, "eos_token", "unk_token", "pad_token")
    plan = pipeline.unigram(vocab, _unk_id(config, vocab, named))
    plan["normalizer"] = pipeline.precompiled(charsmap)
    plan["pre_tokenizer"] = WORDS_THEN_METASPACE
    return Blueprint(
        pipeline=plan,
        named=named,
        extra=_extra(config, extra_ids),
        suffix=(named["eos_token"].content,),
    )


def pegasus(source: Source) -> Blueprint:
    """Pegasus: unigram; 103 ids before the pieces are for pre-training."""
    config = source.config
    mask = Added(content="<mask_2>")
    named = fill_roles(config, "pad_token", "eos_token", "unk_token", "mask_token", mask_token=mask)
    mask_sentence = config.option("mask_token_sent", str, "<mask_1>")
    fillers = [f"<unk_{i}>" for i in range(2, config.option("offset", int, 103))]
    vocab, charsmap = _scored(source, "spiece.model")
    if source.file is None:
        first = [named["pad_token"].content, named["eos_token"].content]
        first += [mask_sentence, named["mask_token"].content]
        vocab = [
            *((text, 0.0) for text in first),
            *((text, -100.0) for text in fillers),
            *vocab[2:],
        ]
    plan = pipeline.unigram(vocab, _unk_id(config, vocab, named))
    rules = [pipeline.precompiled(charsmap)] if charsmap else [NO_NEWLINE]
    plan["normalizer"] = pipeline.sequence(*rules, ONE_SPACE)
    plan["pre_tokenizer"] = METASPACE
    return Blueprint(
        pipeline=plan,
        named=named,
        extra=_extra(config, [mask_sentence, *fillers]),
        suffix=(named["eos_token"].content,),
    )


def mbart(source: Source) -> Blueprint:
    """mBART: unigram, ids as fairseq counts them; text, </s>, language."""
    config = source.config
    named = fill_roles(config, *SPECIAL, mask_token=_mask())
    vocab, charsmap = _scored(source, "sentencepiece.bpe.model")
    if source.file is None:
        vocab = _fairseq(vocab, named, languages.MBART)
    plan = pipeline.unigram(vocab, _unk_id(config, vocab, named))
    plan["normalizer"] = pipeline.precompiled(charsmap)
    plan["pre_tokenizer"] = WORDS_THEN_METASPACE
    return Blueprint(
        pipeline=plan,
        named=named,
        extra=_extra(config, languages.MBART),
        suffix=(named["eos_token"].content, LANG),
        languages=tuple(languages.MBART),
        default_language=config.option("src_lang", str, "en_XX"),
    )


def mbart50(source: Source) -> Blueprint:
    """mBART-50: as mBART, more languages; language, text, </s>."""
    config = source.config
    roles = [role for role in SPECIAL if role != "bos_token"]
    named = fill_roles(config, *roles, mask_token=_mask())
    vocab, charsmap = _scored(source, "sentencepiece.bpe.model")
    if source.file is None:
        vocab = _fairseq(vocab, named, languages.MBART50)
    plan = pipeline.unigram(vocab, _unk_id(config, vocab, named))
    rules = [pipeline.precompiled(charsmap)] if charsmap else []
    plan["normalizer"] = pipeline.sequence(*rules, ONE_SPACE)
    plan["pre_tokenizer"] = METASPACE
    return Blueprint(
        pipeline=plan,
        named=named,
        extra=_extra(config, languages.MBART50),
        prefix=(LANG,),
        suffix=(named["eos_token"].content,),
        languages=tuple(languages.MBART50),
        default_language=config.option("src_lang", str, "en_XX"),
    )


def nllb(source: Source) -> Blueprint:
    """NLLB: BPE over SentencePiece's pieces; language, text, </s> (older models: the end)."""
    config = source.config
    named = fill_roles(config, *SPECIAL, mask_token=_mask())
    unk = named["unk_token"].content
    if source.file is None:
        vocab, merges, charsmap = _nllb_pieces(source, named)
    else:
        vocab, merges = numbered_pieces(source.file, source.path("tokenizer.json"))
        charsmap = charsmap_of(source.file)
    plan = pipeline.bpe(vocab, merges, unk_token=unk, fuse_unk=True)
    if charsmap:
        plan["normalizer"] = pipeline.sequence(pipeline.precompiled(charsmap), ONE_SPACE)
    plan["pre_tokenizer"] = METASPACE
    plan["decoder"] = METASPACE
    old = config.option("legacy_behaviour", bool, default=False)
    eos = named["eos_token"].content
    extra = _extra(config, languages.NLLB)
    return Blueprint(
        pipeline=plan,
        named=named,
        extra=extra,
        prefix=() if old else (LANG,),
        suffix=(eos, LANG) if old else (eos,),
        languages=tuple(dict.fromkeys([*languages.NLLB, *(token.content for token in extra)])),
        default_language=config.option("src_lang", str, "eng_Latn"),
    )


def bart(source: Source) -> Blueprint:
    """BART, and T5 models with RoBERTa's tokenizer: byte-level BPE; <s>, text, </s>."""
    config = source.config
    named = fill_roles(config, *SPECIAL)
    if source.file is None:
        vocab = read_vocab(source.path("vocab.json"))
        merges = read_merges(source.path("merges.txt"))
    else:
        vocab, merges = numbered_pieces(source.file, source.path("tokenizer.json"))
    plan = pipeline.bpe(vocab, merges, unk_token=None, fuse_unk=False)
    bytes_ = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    space = config.option("add_prefix_space", bool, default=False)
    plan["pre_tokenizer"] = {**bytes_, "add_prefix_space": space}
    plan["decoder"] = {**bytes_, "add_prefix_space": True}
    return Blueprint(
        pipeline=plan,
        named=named,
        extra=_extra(config, ()),
        prefix=(named["cls_token"].content,),
        suffix=(named["sep_token"].content,),
    )


def as_written(source: Source) -> Blueprint:
    """A tokenizer.json that belongs to no class: what it says is done."""
    if source.file is None:
        raise CorruptModel(f"{source.config.folder}: there is no tokenizer.json")
    return Blueprint(
        pipeline={**source.file, "truncation": None, "padding": None},
        named=source.config.named,
        extra=source.config.extra or (),
        uses_file_template=True,
    )


RECIPES: dict[str, tuple[Callable[[Source], Blueprint], tuple[str, ...]]] = {
    "T5Tokenizer": (t5, ("spiece.model",)),
    "PegasusTokenizer": (pegasus, ("spiece.model",)),
    "MBartTokenizer": (mbart, ("sentencepiece.bpe.model",)),
    "MBart50Tokenizer": (mbart50, ("sentencepiece.bpe.model",)),
    "NllbTokenizer": (nllb, ("sentencepiece.bpe.model",)),
    "RobertaTokenizer": (bart, ("vocab.json", "merges.txt")),
}
"""Class → (recipe, the files it needs when there is no tokenizer.json)."""


def _mask() -> Added:
    return Added(content="<mask>", lstrip=True, normalized=True)


def _extra(config: TokenizerConfig, defaults: Sequence[str]) -> tuple[Added, ...]:
    if config.extra is not None:
        return config.extra
    return tuple(Added(content=text) for text in defaults)


def _scored(source: Source, name: str) -> tuple[Scored, bytes]:
    """(pieces with their scores, normalization rules) of tokenizer.json or of `name`."""
    if source.file is not None:
        return scored_pieces(source.file, source.path("tokenizer.json")), charsmap_of(source.file)
    model = read_spm(source.path(name))
    return [(piece.text, piece.score) for piece in model.pieces], model.charsmap


def _unk_id(config: TokenizerConfig, vocab: Scored, named: Mapping[str, Added]) -> int:
    unk = named["unk_token"].content
    for i, (text, _) in enumerate(vocab):
        if text == unk:
            return i
    raise CorruptModel(f"{config.folder}: its vocabulary has no {unk}")


def _fairseq(vocab: Scored, named: Mapping[str, Added], codes: Sequence[str]) -> Scored:
    """fairseq's order: four special tokens, the pieces, the languages, the mask."""
    roles = ("cls_token", "pad_token", "eos_token", "unk_token")
    return [
        *((named[role].content, 0.0) for role in roles),
        *vocab[3:],
        *((code, 0.0) for code in codes),
        (named["mask_token"].content, 0.0),
    ]


def _nllb_pieces(
    source: Source, named: Mapping[str, Added]
) -> tuple[dict[str, int], Merges, bytes]:
    """(vocabulary, merges, normalization rules) from the SentencePiece file."""
    model = read_spm(source.path("sentencepiece.bpe.model"))
    first = [named[role].content for role in ("bos_token", "pad_token", "eos_token", "unk_token")]
    texts = dict.fromkeys([*first, *(piece.text for piece in model.pieces)])
    merges = merges_by_id({piece.text: i for i, piece in enumerate(model.pieces)})
    codes = [*languages.NLLB, named["mask_token"].content]
    vocab = {text: i for i, text in enumerate(dict.fromkeys([*texts, *codes]))}
    return vocab, merges, model.charsmap
