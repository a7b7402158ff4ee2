"""The Porter stemmer, in the variant that published ROUGE numbers were made with.

M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980, with the departures of
NLTK's default mode, because `rouge_score` calls that. The departures are marked "NLTK" below;
equality with it is a test.
"""

from __future__ import annotations

from collections.abc import Callable

IRREGULAR = {
    **dict.fromkeys(("sky", "skies"), "sky"),
    **dict.fromkeys(("inning", "innings"), "inning"),
    **dict.fromkeys(("outing", "outings"), "outing"),
    **dict.fromkeys(("canning", "cannings"), "canning"),
    **{word: word for word in ("news", "howe", "proceed", "exceed", "succeed")},
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
}
"""NLTK: words that the rules would get wrong."""

PLURALS = {"sses": "ss", "ies": "i", "ss": "ss", "s": ""}

DERIVATIONS = {
    "ational": "ate",
    "ization": "ize",
    "iveness": "ive",
    "fulness": "ful",
    "ousness": "ous",
    "tional": "tion",
    "biliti": "ble",
    "entli": "ent",
    "ousli": "ous",
    "ation": "ate",
    "alism": "al",
    "aliti": "al",
    "iviti": "ive",
    "fulli": "ful",
    "enci": "ence",
    "anci": "ance",
    "izer": "ize",
    "alli": "al",
    "ator": "ate",
    "eli": "e",
    "bli": "ble",
}
"""Step 2. Longest suffix first, here and below: the first that fits decides."""

ENDINGS = {
    "icate": "ic",
    "ative": "",
    "alize": "al",
    "iciti": "ic",
    "ical": "ic",
    "ness": "",
    "ful": "",
}
"""Step 3."""

RESIDUES = (
    *("ement", "ance", "ence", "able", "ible", "ment", "ant", "ent", "ion", "ism"),
    *("ate", "iti", "ous", "ive", "ize", "al", "er", "ic", "ou"),
)
"""Step 4: what goes when enough of the word is left."""


def stem(word: str) -> str:
    """The stem of a lower-case word."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if len(word) <= 2:
        return word
    for step in STEPS:
        word = step(word)
    return word


def shape(word: str) -> str:
    """One letter per character: `v` for a vowel, `c` for a consonant.

    A `y` is a vowel after a consonant; digits and foreign letters count as consonants.
    """
    letters: list[str] = []
    for char in word:
        vowel = char in "aeiou" or (char == "y" and letters[-1:] == ["c"])
        letters.append("v" if vowel else "c")
    return "".join(letters)


def measure(word: str) -> int:
    """Porter's m: how many times a consonant follows a vowel."""
    return shape(word).count("vc")


def ends_short(word: str) -> bool:
    """Porter's *o: ends consonant, vowel, consonant, the last not w, x or y. NLTK: or is just
    vowel, consonant."""
    form = shape(word)
    return (form.endswith("cvc") and word[-1] not in "wxy") or form == "vc"


def plural(word: str) -> str:
    """Step 1a: -s."""
    if word.endswith("ies") and len(word) == 4:  # NLTK: dies, not flies
        return word[:-1]
    for suffix, replacement in PLURALS.items():
        if word.endswith(suffix):
            return word.removesuffix(suffix) + replacement
    return word


def past(word: str) -> str:
    """Step 1b: -ed and -ing."""
    if word.endswith("ied"):  # NLTK: died, but spied
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if measure(word[:-3]) > 0 else word
    for suffix in ("ed", "ing"):
        base = word.removesuffix(suffix)
        if base != word and "v" in shape(base):
            return repaired(base)
    return word


def repaired(base: str) -> str:
    """What is left after -ed or -ing, made a word again: hop(p), fil(e), conflat(e)."""
    if base.endswith(("at", "bl", "iz")):
        return base + "e"
    if base[-1:] == base[-2:-1] and shape(base)[-1] == "c":
        return base if base[-1] in "lsz" else base[:-1]
    return base + "e" if measure(base) == 1 and ends_short(base) else base


def final_y(word: str) -> str:
    """Step 1c: -y. NLTK: only after a consonant, and not in words of two letters."""
    if word.endswith("y") and len(word) > 2 and shape(word[:-1])[-1] == "c":
        return word[:-1] + "i"
    return word


def derivation(word: str) -> str:
    """Step 2."""
    if word.endswith("alli") and measure(word[:-4]) > 0:  # NLTK: tried first, and then again
        return derivation(word[:-2])
    if word.endswith("logi"):  # NLTK: the l counts with the stem, so that geologi goes too
        return word[:-1] if measure(word[:-3]) > 0 else word
    return replaced(word, DERIVATIONS)


def ending(word: str) -> str:
    """Step 3."""
    return replaced(word, ENDINGS)


def replaced(word: str, rules: dict[str, str]) -> str:
    """The first rule whose suffix fits, applied when something measurable is left before it."""
    for suffix, replacement in rules.items():
        if word.endswith(suffix):
            base = word.removesuffix(suffix)
            return base + replacement if measure(base) > 0 else word
    return word


def residue(word: str) -> str:
    """Step 4."""
    for suffix in RESIDUES:
        if word.endswith(suffix):
            base = word.removesuffix(suffix)
            goes = measure(base) > 1 and (suffix != "ion" or base[-1] in "st")
            return base if goes else word
    return word


def final_e(word: str) -> str:
    """Step 5a: -e."""
    if not word.endswith("e"):
        return word
    base = word[:-1]
    size = measure(base)
    return base if size > 1 or (size == 1 and not ends_short(base)) else word


def double_l(word: str) -> str:
    """Step 5b: -ll."""
    return word[:-1] if word.endswith("ll") and measure(word[:-1]) > 1 else word


STEPS: tuple[Callable[[str], str], ...] = (
    *(plural, past, final_y),
    *(derivation, ending, residue),
    *(final_e, double_l),
)
