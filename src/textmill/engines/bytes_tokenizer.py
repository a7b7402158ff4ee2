"""Text as its own tokens: one for each byte of UTF-8.

For engines that have no tokenizer here: the echo engine, and servers that take texts.
"""

from __future__ import annotations

from collections.abc import Sequence

from textmill.errors import ParameterError

_NO_LANGUAGES = "this model has no language tokens; name the language in the prompt"


class ByteTokenizer:
    """One token per byte of UTF-8; no special tokens, no languages."""

    languages: tuple[str, ...] = ()

    def encode(self, texts: Sequence[str], *, src_lang: str | None = None) -> list[list[int]]:
        """Byte values of each text."""
        if src_lang is not None:
            raise ParameterError("src_lang", src_lang, _NO_LANGUAGES)
        return [list(text.encode("utf-8", "surrogatepass")) for text in texts]

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """Texts of byte values; a character cut in its middle becomes U+FFFD."""
        return [bytes(ids).decode("utf-8", "replace") for ids in sequences]

    def language_token_id(self, lang: str) -> int:
        """Raise `ParameterError`: there are none."""
        raise ParameterError("tgt_lang", lang, _NO_LANGUAGES)
