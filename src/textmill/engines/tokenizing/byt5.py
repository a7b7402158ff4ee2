"""ByT5: the tokens are the UTF-8 bytes. No file is needed."""

from __future__ import annotations

from collections.abc import Sequence

from textmill.engines.tokenizing.config import Added, TokenizerConfig, fill_roles
from textmill.engines.tokenizing.fast import clean_up, find_language
from textmill.engines.tokenizing.splitting import Specials

_FIRST_BYTE_ID = 3
_BYTES = {chr(byte): byte + _FIRST_BYTE_ID for byte in range(256)}


class ByteTokenizer:
    """Ids 0 to 2 are <pad>, </s>, <unk>; then 256 bytes; then the sentinels."""

    def __init__(self, config: TokenizerConfig) -> None:
        roles = ("pad_token", "eos_token", "unk_token")
        stripping = {
            role: Added(content=text, lstrip=True, rstrip=True, normalized=True)
            for role, text in zip(roles, ("<pad>", "</s>", "<unk>"), strict=True)
        }
        named = fill_roles(config, *roles, **stripping)
        count = config.option("extra_ids", int, 125)
        sentinels = tuple(Added(content=f"<extra_id_{i}>") for i in range(count))
        extra = sentinels if config.extra is None else config.extra
        listed = {i: named[role] for i, role in enumerate(roles)} | dict(config.listed)
        vocab = _BYTES | {token.content: i for i, token in listed.items() if i < _FIRST_BYTE_ID}
        self._specials = Specials(listed, [*named.values(), *extra], vocab)
        self._plain = {i: text for text, i in self._specials.ids.items()}
        self._eos = self._specials.ids[named["eos_token"].content]
        self._clean = bool(config.option("clean_up_tokenization_spaces", bool, default=False))

    @property
    def languages(self) -> tuple[str, ...]:
        """None."""
        return ()

    def language_token_id(self, lang: str) -> int:
        """Always raises `ParameterError`."""
        return find_language("tgt_lang", lang, {})

    def encode(self, texts: Sequence[str], *, src_lang: str | None = None) -> list[list[int]]:
        """Byte ids, then </s> unless the text itself ends with it."""
        if src_lang is not None:
            find_language("src_lang", src_lang, {})
        return [self._encode(text) for text in texts]

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for stretch, number in self._specials.split(text):
            if number is not None:
                ids.append(number)
            else:
                ids += [byte + _FIRST_BYTE_ID for byte in stretch.encode("utf-8")]
        return ids if ids[-1:] == [self._eos] else [*ids, self._eos]

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """Texts, special tokens and bytes that are no UTF-8 left out."""
        texts = [self._decode(sequence) for sequence in sequences]
        return [clean_up(text) for text in texts] if self._clean else texts

    def _decode(self, ids: Sequence[int]) -> str:
        out = bytearray()
        for number in ids:
            if number in self._specials.skipped:
                continue
            if number in self._plain:
                out += self._plain[number].encode("utf-8")
            elif _FIRST_BYTE_ID <= number < _FIRST_BYTE_ID + 256:
                out.append(number - _FIRST_BYTE_ID)
        return out.decode("utf-8", errors="ignore")
