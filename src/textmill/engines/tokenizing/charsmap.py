"""SentencePiece's normalization rules: a compiled map from texts to texts.

Layout: 4 bytes, the size of the trie; the trie, a double array of 32-bit units; the replacement
texts, each ended by a NUL. The usual rules (`nmt_nfkc`) have 225,000 entries, so they are looked
up where they lie, for each distinct character once, and never listed.
"""

from __future__ import annotations

import re
from array import array
from sys import byteorder

from textmill.errors import CorruptModel

SPACE = "▁"
_SPACES = re.compile(" {2,}")
_MAX_RULE_CHARS = 32
_LABEL = 0x800000FF
_VALUE = 0x7FFFFFFF


class CharsMap:
    """Longest-match replacement, left to right, as SentencePiece does it.

    Thread-safe: what it remembers only grows, and every thread would remember the same.
    """

    def __init__(self, blob: bytes) -> None:
        """`blob` as in the model file; empty for no rules. Raises `CorruptModel` if damaged."""
        self._units, self._texts = _split(blob)
        self._children = _children(self._units)
        self._check()
        self._singles = _Singles(self)
        self._seconds: dict[str, frozenset[str]] = {}

    def __call__(self, text: str) -> str:
        """`text` with every longest match of a rule replaced."""
        if not self._units:
            return text
        chars = set(text)
        seconds = frozenset[str]().union(*(self._seconds_of(char) for char in chars))
        if chars.isdisjoint(seconds):
            return text.translate(self._singles)
        return self._walk(text, seconds)

    def longest(self, text: str) -> tuple[int, str]:
        """(characters replaced, replacement) at the start of `text`, which is not empty.

        Where no rule matches: the first character, unchanged.
        """
        best = (1, text[0])
        node: int | None = 0
        for length, char in enumerate(text, 1):
            node = self._descend(node, char)
            if node is None:
                break
            replacement = self._replacement(node)
            if replacement is not None:
                best = (length, replacement)
        return best

    def _walk(self, text: str, seconds: frozenset[str]) -> str:
        out = []
        at, end = 0, len(text)
        while at < end:
            if at + 1 < end and text[at + 1] in seconds:
                length, replacement = self.longest(text[at : at + _MAX_RULE_CHARS])
            else:
                length, replacement = 1, self._singles[ord(text[at])]
            out.append(replacement)
            at += length
        return "".join(out)

    def _seconds_of(self, char: str) -> frozenset[str]:
        """Characters that may follow `char` inside of one rule."""
        known = self._seconds.get(char)
        if known is None:
            node = self._descend(0, char)
            known = frozenset() if node is None else frozenset(self._next_chars(node))
            self._seconds[char] = known
        return known

    def _next_chars(self, node: int) -> list[str]:
        found = []
        todo = [(node, b"")]
        while todo:
            node, prefix = todo.pop()
            for child in self._children.get(self._base(node), ()):
                text = prefix + bytes([self._units[child] & 0xFF])
                try:
                    found.append(text.decode("utf-8"))
                except UnicodeDecodeError:
                    if len(text) < 4:
                        todo.append((child, text))
        return found

    def _base(self, node: int) -> int:
        unit = self._units[node]
        return node ^ ((unit >> 10) << ((unit & (1 << 9)) >> 6))

    def _descend(self, node: int | None, char: str) -> int | None:
        """The node after `char`, or None. NUL ends a rule, so no rule has it inside."""
        for byte in char.encode("utf-8", "surrogatepass"):
            if node is None or not byte:
                return None
            child = self._base(node) ^ byte
            inside = child < len(self._units) and self._units[child] & _LABEL == byte
            node = child if inside else None
        return node

    def _replacement(self, node: int) -> str | None:
        """What the rule that ends at `node` puts in place, or None if none ends here."""
        if not (self._units[node] >> 8) & 1:
            return None
        start = self._units[self._base(node)] & _VALUE
        return self._texts[start : self._texts.index(b"\0", start)].decode("utf-8")

    def _check(self) -> None:
        """Walk all rules once: afterwards no text can lead outside of the arrays.

        The `tokenizers` library trusts these numbers and would abort in the middle of a job.
        """
        todo = [0] if self._units else []
        seen = set(todo)  # rules share their endings, so a node can be met many times
        while todo:
            node = todo.pop()
            base = self._base(node)
            if base | 0xFF >= len(self._units):
                raise CorruptModel("the tokenizer's normalization rules are damaged")
            try:
                self._replacement(node)
            except ValueError:  # no NUL, or not UTF-8
                raise CorruptModel("the tokenizer's normalization rules are damaged") from None
            fresh = [child for child in self._children.get(base, ()) if child not in seen]
            seen.update(fresh)
            todo += fresh


class _Singles(dict[int, str]):
    """Replacement of each single character, by code point; found out at its first use."""

    def __init__(self, charsmap: CharsMap) -> None:
        super().__init__()
        self._charsmap = charsmap

    def __missing__(self, point: int) -> str:
        self[point] = replacement = self._charsmap.longest(chr(point))[1]
        return replacement


def _split(blob: bytes) -> tuple[array[int], bytes]:
    """The trie's units and the replacement texts."""
    if not blob:
        return array("I"), b""
    size = int.from_bytes(blob[:4], "little")
    if size % 4 or not 0 < size <= len(blob) - 4:
        raise CorruptModel("the tokenizer's normalization rules are damaged")
    units = array("I", blob[4 : 4 + size])
    if byteorder == "big":
        units.byteswap()
    return units, blob[4 + size :]


def _children(units: array[int]) -> dict[int, list[int]]:
    """Nodes by the base they hang on. Units with the top bit set hold values, not nodes."""
    children: dict[int, list[int]] = {}
    for node, unit in enumerate(units):
        if not unit >> 31 and unit & 0xFF:
            children.setdefault(node ^ (unit & 0xFF), []).append(node)
    return children


class SpmNormalizer:
    """What SentencePiece does to a text before it cuts it into pieces."""

    def __init__(
        self, charsmap: CharsMap, *, add_dummy_prefix: bool, remove_extra_whitespaces: bool
    ) -> None:
        self._charsmap = charsmap
        self._prefix = SPACE if add_dummy_prefix else ""
        self._trim = remove_extra_whitespaces

    def __call__(self, text: str) -> str:
        """The text with rules applied and spaces written as ▁; empty if nothing is left."""
        text = self._charsmap(text)
        if not self._trim:
            return self._prefix + text.replace(" ", SPACE) if text else ""
        text = _SPACES.sub(" ", text.strip(" "))
        return (self._prefix + text.replace(" ", SPACE)).rstrip(SPACE)
