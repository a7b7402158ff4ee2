"""How a text becomes words. The name of the way stands in every signature.

rouge-score: runs of a-z and 0-9 of the lower-cased text, as the package of that name has it.
unicode: runs of letters, marks and digits of any script, normalised (NFKC) and case-folded.
cjk: likewise, but each character of Chinese, Japanese and Korean is a word, and each of Thai,
    Lao, Burmese and Khmer, which are written without spaces; its marks stay with it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from itertools import groupby
from typing import get_args

from textmill.errors import ParameterError
from textmill.evaluation.options import HOW, Tokenizer

Split = Callable[[str], list[str]]
"""Words of a text in order; each line break is one too, as "\\n"."""

Places = Callable[[str], list[tuple[int, int]]]
"""Start and end of each word of a text, in order."""

DEFAULT_TOKENIZER: Tokenizer = HOW.tokenizer
TOKENIZERS: tuple[str, ...] = get_args(Tokenizer)

ASCII_LETTER = re.compile(r"[A-Za-z0-9\u0130\u212a]")  # two more are lower-cased to ASCII
WRITTEN_WORD = re.compile(rf"{ASCII_LETTER.pattern}+")
FOREIGN_LETTER = re.compile(r"[^\W_\x00-\x7f\u0130\u212a]")
LETTER = re.compile(r"[^\W_]")
ASCII_WORD = re.compile(r"[a-z0-9]+|\n")

MISREAD = 0.2
"""From which share of lost letters on scores say little of a text."""

UNSPACED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0x1780, 0x17FF)),
    *((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3021, 0x3029), (0x3031, 0x3035), (0x3038, 0x303C)),
    *((0x3041, 0x3096), (0x309D, 0x309F), (0x30A1, 0x30FA), (0x30FC, 0x30FF), (0x31F0, 0x31FF)),
    *((0x3105, 0x312F), (0x31A0, 0x31BF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF)),
    *((0x1AFF0, 0x1B16F), (0x20000, 0x3FFFD)),
)
"""Thai and Lao, Burmese, Khmer; Han, Hiragana, Katakana, Bopomofo."""
HANGUL = ((0x1100, 0x11FF), (0x3131, 0x318E), (0xA960, 0xA97F), (0xAC00, 0xD7FF))
ONE_BY_ONE = (*UNSPACED, *HANGUL)
"""Whose characters are words of their own to `cjk`. Korean has spaces, but between long words."""

INVISIBLE = dict.fromkeys(
    (
        *(0x00AD, 0x061C, 0x200C, 0x200D, 0x200E, 0x200F, 0x2060, 0xFEFF),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    )
)
"""Soft hyphens, joiners and marks of direction: they come and go without changing a word."""


def tokenizer(name: str) -> Split:
    """The tokenizer called `name`. Raises `ParameterError` for one that is not there."""
    if name == DEFAULT_TOKENIZER:
        return lambda text: ASCII_WORD.findall(text.lower())
    if name not in TOKENIZERS:
        raise ParameterError("tokenizer", name, f"is none of {', '.join(TOKENIZERS)}")
    pattern = _unicode_pattern(single=name == "cjk")
    return lambda text: pattern.findall(folded(text))


def places_of_words(name: str) -> Places:
    """Where the words of `tokenizer(name)` stand in a text as it was written."""
    pattern = WRITTEN_WORD if name == DEFAULT_TOKENIZER else _unicode_pattern(single=name == "cjk")
    return lambda text: [one.span() for one in pattern.finditer(text) if one.group() != "\n"]


def tokenizer_label(name: str) -> str:
    """The name with what it depends on: the version of Unicode that Python knows."""
    return name if name == DEFAULT_TOKENIZER else f"{name}-{unicodedata.unidata_version}"


def is_misread(text: str, name: str) -> bool:
    """Whether `tokenizer(name)` makes no words of a fifth or more of the letters of a text, or one
    word of what has no spaces. Of a text without letters: whether it makes no word at all."""
    if name == DEFAULT_TOKENIZER:
        lost = 0 if text.isascii() else len(FOREIGN_LETTER.findall(text))
        seen = ASCII_LETTER.search(text) is not None
        return not seen or (lost > 0 and lost >= MISREAD * (lost + len(ASCII_LETTER.findall(text))))
    if name == "cjk" or text.isascii():
        return False
    unspaced = sum(map(len, _unspaced_pattern().findall(text)))
    return unspaced > 0 and unspaced >= MISREAD * len(LETTER.findall(text))


@cache
def _unspaced_pattern() -> re.Pattern[str]:
    """Longer than most words that somebody has parted by spaces."""
    return re.compile(f"[{_character_class(UNSPACED)}]{{5,}}")


def folded(text: str) -> str:
    """The text without differences of case, width, composition and invisible characters."""
    visible = unicodedata.normalize("NFKC", text.translate(INVISIBLE))
    return unicodedata.normalize("NFKC", visible.casefold())


@cache
def _unicode_pattern(*, single: bool) -> re.Pattern[str]:
    """A word, or a line break. single: characters of `ONE_BY_ONE` are words."""
    marks = f"[{_ranges_of_marks()}]*+"
    if not single:
        return re.compile(rf"(?:[^\W_]++{marks})++|\n")
    alone = _character_class(ONE_BY_ONE)
    return re.compile(rf"(?=[^\W_])[{alone}]{marks}|(?:[^\W_{alone}]++{marks})++|\n")


def _character_class(ranges: Sequence[tuple[int, int]]) -> str:
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


def _ranges_of_marks() -> str:
    """What `\\w` leaves out: vowel signs and accents, as the inside of a character class."""
    marks = [code for code in range(0x1F000) if unicodedata.category(chr(code))[0] == "M"]
    marks += range(0xE0100, 0xE01F0)
    runs = (list(run) for _, run in groupby(enumerate(marks), lambda at: at[1] - at[0]))
    return "".join(f"{chr(run[0][1])}-{chr(run[-1][1])}" for run in runs)
