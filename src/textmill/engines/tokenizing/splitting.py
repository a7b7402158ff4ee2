"""Special tokens found in text, for the tokenizers that the `tokenizers` library does not run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from textmill.engines.tokenizing.config import Added


class Specials:
    """Special tokens with their ids.

    ids: of every token that is found in text. skipped: ids that decoding leaves out.
    """

    def __init__(
        self,
        listed: Mapping[int, Added],
        wanted: Sequence[Added],
        vocab: Mapping[str, int],
    ) -> None:
        """Tokens with the ids that the files give them, and tokens that must have one.

        A wanted token that neither `listed` nor `vocab` has gets the next free id.
        """
        self._tokens = {token.content: token for token in listed.values()}
        self.ids = {token.content: i for i, token in sorted(listed.items())}
        following = len({*vocab, *self.ids})
        for token in wanted:
            if token.content in self.ids:
                continue
            self._tokens[token.content] = token
            self.ids[token.content] = vocab.get(token.content, following)
            following += token.content not in vocab
        self.skipped = frozenset(self.ids[token.content] for token in wanted)
        longest_first = sorted(self._tokens, key=len, reverse=True)
        self._found = re.compile("|".join(map(re.escape, longest_first)))

    def split(self, text: str) -> list[tuple[str, int | None]]:
        """(stretch of text, its id if it is a special token), without empty stretches."""
        if self._found.search(text) is None:
            return [(text, None)] if text else []
        stretches = self._stretches(text)
        for at, (stretch, number) in enumerate(stretches):
            if number is not None:
                self._take_spaces(stretches, at, self._tokens[stretch])
        return [(stretch, number) for stretch, number in stretches if stretch]

    def _stretches(self, text: str) -> list[tuple[str, int | None]]:
        found: list[tuple[str, int | None]] = []
        at = 0
        for match in self._found.finditer(text):
            if match.start() > at:
                found.append((text[at : match.start()], None))
            found.append((match[0], self.ids[match[0]]))
            at = match.end()
        if at < len(text):
            found.append((text[at:], None))
        return found

    @staticmethod
    def _take_spaces(stretches: list[tuple[str, int | None]], at: int, token: Added) -> None:
        """Strip the neighbours as the token's flags say."""
        if token.rstrip and at + 1 < len(stretches):
            text, number = stretches[at + 1]
            stretches[at + 1] = (text.lstrip(), number)
        if token.lstrip and at > 0:
            text, number = stretches[at - 1]
            stretches[at - 1] = (text.rstrip(), number)
