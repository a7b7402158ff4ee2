"""A tokenizer that the `tokenizers` library runs whole: T5, BART, mBART, NLLB, Pegasus, …"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from textmill.engines.tokenizing.charsmap import CharsMap
from textmill.engines.tokenizing.config import Added, TokenizerConfig
from textmill.engines.tokenizing.pipeline import charsmaps_of
from textmill.engines.tokenizing.recipes import LANG, Blueprint
from textmill.errors import CorruptModel, ParameterError, is_panic

if TYPE_CHECKING:
    import tokenizers

_CLEANED = (" .", " ?", " !", " ,", " n't", " 'm", " 's", " 've", " 're")


class FastTokenizer:
    """Encodes and decodes in the library's own threads. Nothing in it changes after `__init__`."""

    def __init__(self, blueprint: Blueprint, config: TokenizerConfig) -> None:
        """Raises `CorruptModel` when the blueprint's parts do not fit together."""
        self._backend = _build(blueprint, config)
        self._ids = {
            code: number
            for code in blueprint.languages
            if (number := self._backend.token_to_id(code)) is not None
        }
        self._default = blueprint.default_language
        self._template = blueprint.uses_file_template
        self._prefix = self._resolve(blueprint.prefix, config)
        self._suffix = self._resolve(blueprint.suffix, config)
        self._clean = _cleans(self._backend, config)

    def _resolve(self, tokens: tuple[str, ...], config: TokenizerConfig) -> tuple[int | None, ...]:
        """Ids of the tokens; None where the source language's goes."""
        ids: list[int | None] = []
        for token in tokens:
            number = None if token == LANG else self._backend.token_to_id(token)
            if number is None and token != LANG:
                raise CorruptModel(f"{config.folder}: its vocabulary has no {token}")
            ids.append(number)
        return tuple(ids)

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that have a token."""
        return tuple(self._ids)

    def language_token_id(self, lang: str) -> int:
        """Id of a language's token. Raises `ParameterError` if there is none."""
        return find_language("tgt_lang", lang, self._ids)

    def encode(self, texts: Sequence[str], *, src_lang: str | None = None) -> list[list[int]]:
        """Token ids, special tokens added. Raises `ParameterError` for an unknown language."""
        prefix, suffix = self._around(src_lang)
        encoded = self._backend.encode_batch_fast(list(texts), add_special_tokens=self._template)
        if not prefix and not suffix:
            return [one.ids for one in encoded]
        if not prefix:
            return [one.ids + suffix for one in encoded]
        return [prefix + one.ids + suffix for one in encoded]

    def _around(self, src_lang: str | None) -> tuple[list[int], list[int]]:
        """(ids before, ids after) every text."""
        lang = -1
        if src_lang is not None or None in self._prefix or None in self._suffix:
            lang = find_language(
                "src_lang", self._default if src_lang is None else src_lang, self._ids
            )
        prefix = [lang if number is None else number for number in self._prefix]
        suffix = [lang if number is None else number for number in self._suffix]
        return prefix, suffix

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """Texts, special tokens left out."""
        texts = self._backend.decode_batch(sequences, skip_special_tokens=True)
        return [clean_up(text) for text in texts] if self._clean else texts


def find_language(name: str, lang: str, ids: Mapping[str, int]) -> int:
    """Id of `lang`; `ParameterError` for parameter `name` when it is not in `ids`."""
    if lang in ids:
        return ids[lang]
    if not ids:
        raise ParameterError(name, lang, "this model has no language tokens")
    raise ParameterError(
        name, lang, "not a language of this model", hint=f"It knows {', '.join(ids)}."
    )


def clean_up(text: str) -> str:
    """The spaces before punctuation and contractions taken out, as older models ask for."""
    for before in _CLEANED[:4]:
        text = text.replace(before, before[1:])
    text = text.replace(" ' ", "'")
    for before in _CLEANED[4:]:
        text = text.replace(before, before[1:])
    return text


def _cleans(backend: tokenizers.Tokenizer, config: TokenizerConfig) -> bool:
    """Whether decoded text is cleaned up. Never for BPE, whose spaces are the text's own."""
    if type(backend.model).__name__ == "BPE":
        name = "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output"
        if not config.option(name, bool, default=False):
            return False
    return bool(config.option("clean_up_tokenization_spaces", bool, default=False))


def _build(blueprint: Blueprint, config: TokenizerConfig) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer

    for charsmap in charsmaps_of(blueprint.pipeline):
        CharsMap(charsmap)  # only checked: damaged rules would abort a job in its middle
    try:
        backend = Tokenizer.from_buffer(msgspec.json.encode(blueprint.pipeline))
        backend.no_truncation()
        backend.no_padding()
        backend.encode_special_tokens = config.option("split_special_tokens", bool, default=False)
        backend.add_tokens([_added_token(token) for token in _to_add(blueprint, config)])
    except CorruptModel:
        raise
    except BaseException as error:
        if not _is_library_failure(error):
            raise
        raise CorruptModel(f"{config.folder}: its tokenizer cannot be built: {error}") from error
    return backend


def _is_library_failure(error: BaseException) -> bool:
    """The library raises plain `Exception`, and for a panic a `BaseException` of its own."""
    return isinstance(error, Exception) or is_panic(error)


def _to_add(blueprint: Blueprint, config: TokenizerConfig) -> list[Added]:
    """Tokens in the order in which those without an id yet get one, each text once."""
    tokens = [config.listed[i] for i in sorted(config.listed)]
    tokens += [*blueprint.named.values(), *blueprint.extra]
    first: dict[str, Added] = {}
    roles = {token.content for token in blueprint.named.values()}
    for token in tokens:
        special = token.special or token.content in roles
        first.setdefault(token.content, msgspec.structs.replace(token, special=special))
    return list(first.values())


def _added_token(token: Added) -> tokenizers.AddedToken:
    from tokenizers import AddedToken

    return AddedToken(**msgspec.structs.asdict(token))
