"""SentencePiece `.model` files, read without protobuf or sentencepiece.

The file is one protobuf message. Only the wire format is needed to read it: a run of
(field number, wire type, payload) triples. Every length is checked against the bytes that are
there, so a damaged file ends in `CorruptModel`, never in a wrong vocabulary that looks right.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path

from msgspec import Struct

from textmill.errors import CorruptModel, UnsupportedModel

MAX_FILE_BYTES = 64 * 2**20
MAX_PIECES = 4_000_000
MAX_PIECE_BYTES = 4096

_OTHER_ALGORITHMS = {3: "words", 4: "characters"}
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}


class PieceKind(IntEnum):
    """What a piece is for. Only NORMAL and USER_DEFINED pieces are found in text."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Algorithm(IntEnum):
    """How text is cut into pieces."""

    UNIGRAM = 1
    BPE = 2


class Piece(Struct, frozen=True, gc=False):
    """One entry of the vocabulary; its id is its position."""

    text: str
    score: float
    kind: int


class SpmModel(Struct, frozen=True, kw_only=True):
    """A SentencePiece model.

    charsmap: normalization rules, compiled; empty for none.
    unk_id: position of the unknown piece.
    add_dummy_prefix, remove_extra_whitespaces: what happens to spaces before cutting.
    """

    pieces: tuple[Piece, ...]
    algorithm: Algorithm
    unk_id: int
    charsmap: bytes = b""
    add_dummy_prefix: bool = True
    remove_extra_whitespaces: bool = True
    byte_fallback: bool = False

    def texts(self, *kinds: PieceKind) -> list[str]:
        """Texts of the pieces of these kinds, in id order."""
        return [piece.text for piece in self.pieces if piece.kind in kinds]


class _Damaged(Exception):
    """The bytes are not a SentencePiece model; the message says what was met."""


def read_spm(path: Path) -> SpmModel:
    """Read a `.model` or `.spm` file.

    Raises `CorruptModel` for a file that is damaged or too big, `UnsupportedModel` for a model
    that is neither unigram nor BPE or treats spaces in a way that no published model does.
    """
    try:
        with path.open("rb") as file:
            return parse_spm(file.read(MAX_FILE_BYTES + 1))
    except OSError as error:
        raise CorruptModel(f"{path}: {error.strerror}") from error
    except _Damaged as error:
        raise CorruptModel(
            f"{path} is not a SentencePiece model, or is damaged: {error}",
            hint="Download the file again; `textmill models verify` checks all files of a model.",
        ) from error
    except UnsupportedModel as error:
        raise UnsupportedModel(f"{path}: {error.message}") from error


def parse_spm(data: bytes) -> SpmModel:
    """The model in `data`. Raises `_Damaged` or `UnsupportedModel`."""
    if len(data) > MAX_FILE_BYTES:
        raise _Damaged(f"more than {MAX_FILE_BYTES} bytes")
    pieces: list[Piece] = []
    trainer: dict[int, int | bytes] = {}
    normalizer: dict[int, int | bytes] = {}
    for field, value in _fields(memoryview(data)):
        if field == 1:
            pieces.append(_piece(value))
            if len(pieces) > MAX_PIECES:
                raise _Damaged(f"more than {MAX_PIECES} pieces")
        elif field == 2:
            trainer.update(_scalars(value))
        elif field == 3:
            normalizer.update(_scalars(value))
    return _model(tuple(pieces), trainer, normalizer)


def _model(
    pieces: tuple[Piece, ...], trainer: dict[int, int | bytes], normalizer: dict[int, int | bytes]
) -> SpmModel:
    if not pieces:
        raise _Damaged("it has no pieces")
    unk_id = _int(trainer, 40, 0)
    unknown = [i for i, piece in enumerate(pieces) if piece.kind == PieceKind.UNKNOWN]
    if unknown != [unk_id]:
        raise _Damaged(f"the unknown piece should be number {unk_id}, found {unknown[:3]}")
    if len({piece.text for piece in pieces}) != len(pieces):
        raise _Damaged("two pieces have the same text")
    algorithm = _int(trainer, 3, 1)
    if algorithm in _OTHER_ALGORITHMS:
        raise UnsupportedModel(f"it cuts text into {_OTHER_ALGORITHMS[algorithm]}")
    if algorithm not in (Algorithm.UNIGRAM, Algorithm.BPE):
        raise _Damaged(f"model type {algorithm}")
    if _int(trainer, 24, 0) or not _int(normalizer, 5, 1):
        raise UnsupportedModel("spaces as suffixes, or unescaped spaces, are not supported")
    charsmap = normalizer.get(2, b"")
    return SpmModel(
        pieces=pieces,
        algorithm=Algorithm(algorithm),
        unk_id=unk_id,
        charsmap=bytes(charsmap) if not isinstance(charsmap, int) else b"",
        add_dummy_prefix=bool(_int(normalizer, 3, 1)),
        remove_extra_whitespaces=bool(_int(normalizer, 4, 1)),
        byte_fallback=bool(_int(trainer, 35, 0)),
    )


def _int(fields: dict[int, int | bytes], number: int, default: int) -> int:
    value = fields.get(number, default)
    if not isinstance(value, int):
        raise _Damaged(f"field {number} has the wrong type")
    return value


def _piece(value: int | memoryview) -> Piece:
    text, score, kind = None, 0.0, int(PieceKind.NORMAL)
    for field, item in _fields(_message(value)):
        if field == 1:
            text = _text(item)
        elif field == 2:
            score = _float(item)
        elif field == 3 and isinstance(item, int):
            kind = item
    if not text or kind not in PieceKind._value2member_map_:
        raise _Damaged("a piece without text, or of an unknown kind")
    return Piece(text, score, kind)


def _scalars(value: int | memoryview) -> dict[int, int | bytes]:
    """The last value of each field: how protobuf reads a scalar that is repeated."""
    return {
        field: item if isinstance(item, int) else bytes(item)
        for field, item in _fields(_message(value))
    }


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise _Damaged("a number where a message should be")
    return value


def _text(value: int | memoryview) -> str:
    data = _message(value)
    if len(data) > MAX_PIECE_BYTES:
        raise _Damaged(f"a piece of {len(data)} bytes")
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise _Damaged("a piece that is not UTF-8") from None


def _float(value: int | memoryview) -> float:
    data = _message(value)
    if len(data) != 4:
        raise _Damaged("a score that is not four bytes")
    score: float = struct.unpack("<f", data)[0]
    if not abs(score) < 1e30:  # also refuses NaN
        raise _Damaged(f"a score of {score}")
    return score


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) in file order: an int for a varint, else the payload's bytes."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise _Damaged("field number 0")
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in _FIXED_BYTES:
            length = _FIXED_BYTES[wire]
        else:
            raise _Damaged(f"wire type {wire}")
        if length > end - at:
            raise _Damaged(f"a field of {length} bytes where {end - at} are left")
        yield number, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """An unsigned number and the position after it."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise _Damaged("a number without an end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
