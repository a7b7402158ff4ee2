"""Which records are copies, against a plain dict; and that a copy's row is what computing gives."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from textmill.core import (
    Completion,
    Failure,
    FinishReason,
    Params,
    Record,
    Request,
)
from textmill.core import Sequence as Generated
from textmill.errors import ErrorCode
from textmill.transform.duplicates import MAX_REMEMBERED, Copier, Copy, Duplicates
from textmill.transform.parts import Row
from textmill.transform.rows import Piece, RowMaker

TEXTS = st.sampled_from(["a", "b", "é", "\ud800", "東京"])
PARAMS = [
    Params(),
    Params(),  # equal, and another object
    Params(seed=3),
    Params(max_new_tokens=7),
    Params(num_beams=2, seed=3),
    Params(do_sample=True),
    Params(max_time=1.0),
]


def records(texts: Sequence[str | tuple[str, ...]], first: int = 0) -> list[Record]:
    return [
        Record(ordinal=first + n, id=b"%d" % n, texts=(text,) if isinstance(text, str) else text)
        for n, text in enumerate(texts)
    ]


@given(
    st.lists(
        st.lists(st.tuples(TEXTS | st.tuples(TEXTS, TEXTS), st.sampled_from(PARAMS)), max_size=8),
        max_size=5,
    )
)
def test_a_copy_has_the_text_and_the_parameters_of_the_first_such_record(
    windows: list[list[tuple[str | tuple[str, ...], Params]]],
) -> None:
    """Seeds do not count, sampled and timed texts are never copies, nor are several texts."""
    duplicates, first = Duplicates(), dict[tuple[str, int, int], int]()
    ordinal = 0
    for window in windows:
        rows = records([text for text, _ in window], ordinal)
        params = [params for _, params in window]
        wanted = {}
        for row, (text, own) in zip(rows, window, strict=True):
            if isinstance(text, tuple) or own.do_sample or own.max_time is not None:
                continue
            original = first.setdefault((text, own.max_new_tokens, own.num_beams), row.ordinal)
            if original != row.ordinal:
                wanted[row.ordinal] = original
        assert duplicates.find(zip(rows, params, strict=True)) == wanted
        ordinal += len(window)
    assert duplicates.remembered == set(first.values())


def test_beyond_what_is_remembered_only_the_own_window_is_searched() -> None:
    duplicates, params = Duplicates(), Params(max_new_tokens=1)
    rows = records([f"text {n}" for n in range(MAX_REMEMBERED)])
    assert not duplicates.find((row, params) for row in rows)
    later = records(["text 0", "new", "new"], MAX_REMEMBERED)
    end = MAX_REMEMBERED
    assert duplicates.find((row, params) for row in later) == {end: 0, end + 2: end + 1}
    assert len(duplicates.remembered) == MAX_REMEMBERED
    again = records(["text 1", "new"], end + 3)
    assert duplicates.find((row, params) for row in again) == {end + 3: 1}


def test_what_may_be_generated_counts_against_what_is_remembered() -> None:
    """Else the results of long generations, held for later copies, would fill the memory."""
    duplicates, params = Duplicates(), Params(max_new_tokens=1 << 20, num_return_sequences=4)
    rows = records([f"text {n}" for n in range(20)])
    duplicates.find((row, params) for row in rows)
    assert duplicates.remembered == set(range(7))


KEPT = st.lists(st.sampled_from([(b'"k"', b'"' + b"x" * 500 + b'"'), (b'"l"', b"[1]")]), max_size=2)


@given(
    st.lists(st.text(max_size=9), min_size=1, max_size=3),
    KEPT,
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_a_copy_has_the_row_that_computing_it_would_have_given(
    made: list[str],
    kept: list[tuple[bytes, bytes]],
    details: bool,
    opaque: bool,
    remembered: bool,
) -> None:
    """Whether its original is remembered or only waited for, whatever columns both have."""
    maker = RowMaker(with_details=details, opaque=opaque)
    sequences = tuple(Generated([1] * n, FinishReason.LENGTH) for n, _ in enumerate(made))
    original = Record(ordinal=0, id=b'"one"', texts=("t",), kept=tuple(kept))
    record = Record(ordinal=9, id=b'"two"', texts=("t",), kept=((b'"m"', b"null"),))

    def computed(record: Record) -> Piece:
        request = Request(record.ordinal, 0, [1, 2, 3], Params())
        return Piece(Completion(request, sequences), tuple(made))

    copier, copy = Copier({0} if remembered else set(), opaque=opaque), Copy(record, True)
    row = maker.answered(original, [computed(original)], truncated=False)
    if remembered:
        assert copier.originals([row]) == []
        ((_, found),) = copier.copies([copy], {9: 0}, {})
    else:
        assert copier.copies([copy], {9: 0}, {}) == []
        ((_, found),) = copier.originals([row])
    expected = maker.answered(record, [computed(record)], truncated=True)
    expected.copied = True
    assert maker.copied(copy, found) == expected


def test_a_copy_of_a_failed_record_fails_like_it() -> None:
    maker, copier = RowMaker(), Copier({0}, opaque=False)
    failure = Failure(Request(0, 0, [1], Params()), ErrorCode.OOM, "too large", 3)
    row = maker.answered(records(["t"])[0], [Piece(failure, ())], truncated=False)
    assert copier.originals([row]) == []
    copy = Copy(Record(ordinal=1, id=b"1", texts=("t",), line=8), False)
    ((_, found),) = copier.copies([copy], {1: 0}, {})
    line = bytes(maker.copied(copy, found).error)
    assert line.startswith(b'{"id": 1, "line": 8, "code": "oom", "message": "too large"')


def test_an_original_that_tells_nothing_is_mute() -> None:
    """The row of a finished job that was opened again has its line, but not what it was made of."""
    row, failed = Row(0, ok=Raw(b'{"a": 1}')), Row(1, error=Raw(b"{}"), code="oom", failed=True)
    copier = Copier({0, 1}, opaque=True)
    copier.originals([row, failed])
    assert copier.is_mute(0, {})
    assert not copier.is_mute(1, {})
    assert copier.is_mute(2, {2: Row(2, ok=Raw(b"[]"))})
    assert not copier.is_mute(2, {2: Row(2, ok=Raw(b"[]"), made=Raw(b"{}"))})
    assert not Copier(set(), opaque=False).is_mute(2, {2: Row(2, ok=Raw(b"{}"))})
