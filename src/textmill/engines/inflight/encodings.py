"""Texts that were encoded: each is encoded once for all requests that stand near each other."""

from __future__ import annotations

from collections.abc import Sequence

from textmill.engines.inflight.network import Encoded, Network

_Text = tuple[int, ...]


class Encodings:
    """Encodes texts, and keeps those that came last.

    The whole input decides what an encoder makes of it, so equal ids are all that counts: other
    parameters of decoding, another try of the same request, the same text in two records.
    """

    def __init__(self, network: Network, tokens: int) -> None:
        """tokens: of the texts that are kept, together."""
        self._network, self._tokens = network, tokens
        self._kept: dict[_Text, Encoded] = {}
        self._held = 0

    def of(self, texts: Sequence[Sequence[int]]) -> list[Encoded]:
        """What each text is encoded as. Raises what the network raises; then nothing is kept."""
        keys = [tuple(text) for text in texts]
        found = {key: self._kept[key] for key in keys if key in self._kept}
        new = [key for key in dict.fromkeys(keys) if key not in found]
        if new:
            fresh = dict(zip(new, self._network.encode(new), strict=True))
            self._keep(fresh)
            found |= fresh
        return [found[key] for key in keys]

    def clear(self) -> None:
        """Give the memory back."""
        self._kept.clear()
        self._held = 0

    def _keep(self, fresh: dict[_Text, Encoded]) -> None:
        """The oldest go first: texts that were encoded together share their memory."""
        self._kept |= fresh
        self._held += sum(map(len, fresh))
        while self._held > self._tokens:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            self._held -= len(oldest)
