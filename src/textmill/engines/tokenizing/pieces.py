"""Marian and M2M100: SentencePiece cuts the text, a vocab.json numbers the pieces.

The pieces are cut by a `tokenizers` model built from the SentencePiece file, in whose vocabulary
every piece stands at the id that vocab.json gives it. So the ids come out right, but for pieces
that SentencePiece does not know: those are looked up by their text, which vocab.json may hold
because it also covers the other language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from textmill.engines.tokenizing import pipeline
from textmill.engines.tokenizing.bpe import cut, fuse_unknown, merges_by_id, repeats_itself
from textmill.engines.tokenizing.charsmap import SPACE, CharsMap, SpmNormalizer
from textmill.engines.tokenizing.spm import Algorithm, PieceKind, SpmModel
from textmill.errors import CorruptModel, UnsupportedModel

if TYPE_CHECKING:
    import tokenizers

_IN_TEXT = (PieceKind.NORMAL, PieceKind.USER_DEFINED)


class PieceEncoder:
    """Texts to the ids of their pieces. No special tokens, no language codes."""

    def __init__(self, model: SpmModel, vocab: Mapping[str, int], unk_id: int) -> None:
        """vocab: id of each piece. unk_id: what pieces outside of it become.

        Raises `UnsupportedModel` for features that no published model of this kind has.
        """
        _refuse_unknown_features(model)
        self._normalize = SpmNormalizer(
            CharsMap(model.charsmap),
            add_dummy_prefix=model.add_dummy_prefix,
            remove_extra_whitespaces=model.remove_extra_whitespaces,
        )
        self._vocab = vocab
        self._unk_id = unk_id
        self._scores = {p.text: p.score for p in model.pieces if p.kind in _IN_TEXT}
        self._is_bpe = model.algorithm is Algorithm.BPE
        self._slots = _slots(model, vocab)
        self._end = max(vocab.values()) + 1
        self._by_word = not any(SPACE in text[1:] for text in self._scores)
        self._backend = _backend(
            self._slots, self._scores, is_bpe=self._is_bpe, words=self._by_word
        )

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text's pieces; none for a text of which nothing is left."""
        normal = [self._normalize(text) for text in texts]
        exact = [self._is_bpe and repeats_itself(text) for text in normal]
        plain = [text for text, slow in zip(normal, exact, strict=True) if not slow]
        encoded = iter(self._backend.encode_batch_fast(plain, add_special_tokens=False))
        return [
            self._cut(text) if slow else self._resolve(text, next(encoded).ids)
            for text, slow in zip(normal, exact, strict=True)
        ]

    def _resolve(self, text: str, ids: list[int]) -> list[int]:
        """`ids` with those after the vocabulary's end replaced: unknown, or not in vocab.json."""
        if not ids or max(ids) < self._end:
            return ids
        spans = self._backend.encode(text, add_special_tokens=False).offsets
        return [
            number if number < self._end else self._id(text[start:stop])
            for number, (start, stop) in zip(ids, spans, strict=True)
        ]

    def _cut(self, text: str) -> list[int]:
        """Ids of a text whose merges are ambiguous for the backend."""
        words = text.replace(SPACE, " " + SPACE).split(" ") if self._by_word else [text]
        pieces = [piece for word in words for piece in cut(word, self._scores)]
        return [self._id(piece) for piece in fuse_unknown(pieces, self._scores)]

    def _id(self, piece: str) -> int:
        return self._vocab.get(piece, self._unk_id)


def _refuse_unknown_features(model: SpmModel) -> None:
    if model.byte_fallback:
        raise UnsupportedModel("its SentencePiece model falls back to bytes")
    if model.algorithm is Algorithm.BPE and model.texts(PieceKind.USER_DEFINED, PieceKind.UNUSED):
        raise UnsupportedModel("its SentencePiece BPE model has user-defined or unused pieces")


def _slots(model: SpmModel, vocab: Mapping[str, int]) -> list[str]:
    """The text at each id of the backend: vocab.json's pieces, then SentencePiece's others.

    Texts that must never be found (control tokens, ids without a piece) get a name with a space
    in it, which no normalized text has. The last slot is the unknown piece's.
    """
    found = {piece.text for piece in model.pieces if piece.kind in _IN_TEXT}
    slots = [f" {i}" for i in range(max(vocab.values()) + 1)]
    for text, i in vocab.items():
        if text in found:
            slots[i] = text
    others = found - vocab.keys()
    slots += [piece.text for piece in model.pieces if piece.text in others]
    return [*slots, " unknown"]


def _backend(
    slots: list[str], scores: Mapping[str, float], *, is_bpe: bool, words: bool
) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer

    if is_bpe:
        by_score = sorted(scores, key=scores.__getitem__, reverse=True)
        merges = merges_by_id({text: rank for rank, text in enumerate(by_score)})
        ids = {text: i for i, text in enumerate(slots)}
        plan = pipeline.bpe(ids, merges, unk_token=slots[-1], fuse_unk=True)
    else:
        vocab = [(text, scores.get(text, 0.0)) for text in slots]
        plan = pipeline.unigram(vocab, len(slots) - 1)
    plan["pre_tokenizer"] = {
        "type": "Metaspace",
        "replacement": SPACE,
        "prepend_scheme": "never",
        "split": words,
    }
    try:
        return Tokenizer.from_buffer(msgspec.json.encode(plan))
    except Exception as error:
        raise CorruptModel(f"its vocabulary cannot be used: {error}") from error


class PieceDecoder:
    """Ids to text: the pieces' texts joined, ▁ as a space."""

    def __init__(
        self,
        model: SpmModel,
        vocab: Mapping[str, int],
        *,
        added: Mapping[str, int],
        skipped: frozenset[int],
        unk_text: str,
        keeps_foreign_marks: bool,
    ) -> None:
        """added: tokens that `vocab` may lack; they come before it. skipped: ids left out.

        unk_text: the text of ids that neither has.
        keeps_foreign_marks: pieces that `model` does not know keep their ▁.
        """
        own = {piece.text: piece.kind for piece in model.pieces}
        self._texts: dict[int, str] = dict.fromkeys(skipped, "")
        for text, i in (*vocab.items(), *added.items()):
            if i in skipped or own.get(text) == PieceKind.CONTROL:
                self._texts[i] = ""
            elif text not in own and keeps_foreign_marks:
                self._texts[i] = text
            else:
                self._texts[i] = text.replace(SPACE, " ")
        self._unk_text = unk_text

    def __call__(self, ids: Sequence[int]) -> str:
        """The text of `ids`, without spaces at its ends."""
        return "".join([self._texts.get(i, self._unk_text) for i in ids]).strip()
