"""What crosses to an engine's process and back is what was sent."""

from __future__ import annotations

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.core import Batch, Completion, Failure, FinishReason, Params, Request
from textmill.core import Sequence as Generated
from textmill.engines import wire
from textmill.errors import CorruptModel, ErrorCode, ModelError, ParameterError

IDS = st.lists(st.integers(0, 2**31), max_size=5)
PARAMS = st.builds(
    Params,
    early_stopping=st.sampled_from([True, False, "never"]),
    temperature=st.floats(allow_nan=False),
    seed=st.none() | st.integers(0, 2**32 - 1),
    stop=st.lists(st.text(), max_size=2).map(tuple),
    bad_words_ids=st.lists(IDS.map(tuple), max_size=2).map(tuple),
)
SEQUENCES = st.builds(Generated, IDS, st.sampled_from(FinishReason), st.none() | st.floats(-9, 0))


@given(params=st.lists(PARAMS, min_size=1, max_size=3), data=st.data())
def test_a_batch_arrives_whole(params: list[Params], data: st.DataObject) -> None:
    """Ids, parameters, order, number, and what a request is in the job."""
    rows = data.draw(st.lists(st.tuples(st.sampled_from(params), IDS), min_size=1, max_size=6))
    requests = [Request(5 + n, 3, ids, p) for n, (p, ids) in enumerate(rows)]
    batch = Batch(77 << 16, tuple(requests))
    (work,) = wire.decode_work(wire.frame([wire.pack(9, batch)])[4:])
    arrived = wire.unpack(work)
    assert arrived.number == batch.number
    assert work.serial == 9
    assert list(arrived.requests) == requests


@given(answers=st.lists(st.lists(SEQUENCES, max_size=2).map(tuple) | st.text(), max_size=4))
def test_answers_come_back_to_their_requests(answers: list[object]) -> None:
    requests = tuple(Request(n, 0, [n], Params()) for n in range(len(answers)))
    outcomes = [
        Failure(request, ErrorCode.OOM, given)
        if isinstance(given, str)
        else Completion(request, given)
        for request, given in zip(requests, answers, strict=True)
    ]
    sent = wire.Done(3, [wire.answer(outcome) for outcome in outcomes])
    arrived = wire.decode_reply(wire.frame(sent)[4:])
    assert isinstance(arrived, wire.Done)
    assert wire.outcomes(Batch(0, requests), arrived.answers) == outcomes


@given(messages=st.lists(st.text(), max_size=5), cuts=st.lists(st.integers(1, 9), max_size=20))
def test_frames_are_found_however_the_bytes_come(messages: list[str], cuts: list[int]) -> None:
    sent = [wire.Broken(ErrorCode.OOM, message) for message in messages]
    data = b"".join(map(wire.frame, sent))
    buffer, found, at = bytearray(), [], 0
    for size in [*cuts, len(data)]:
        buffer += data[at : at + size]
        at += size
        found += [wire.decode_reply(payload) for payload in wire.frames(buffer)]
    assert found == sent
    assert not buffer
    stream = io.BytesIO(data)
    assert [wire.decode_reply(wire.read_frame(stream.read)) for _ in sent] == sent
    with pytest.raises(EOFError):
        wire.read_frame(stream.read)


@given(data=st.binary(max_size=60))
def test_no_bytes_make_anything_but_a_reply_or_an_error(data: bytes) -> None:
    try:
        reply = wire.decode_reply(data)
    except msgspec.MsgspecError:
        return
    assert isinstance(reply, wire.Reply)


def test_errors_of_loading_keep_class_message_and_hint() -> None:
    for error in (CorruptModel("m", hint="h"), ModelError("m")):
        told = wire.decode_reply(wire.frame(wire.not_loaded(error))[4:])
        assert isinstance(told, wire.NotLoaded)
        again = wire.loading_error(told)
        assert (type(again), again.message, again.hint) == (type(error), "m", error.hint)
    strange = wire.loading_error(wire.not_loaded(ParameterError("top_k", 0, "is wrong")))
    assert type(strange) is ModelError
    assert "top_k=0" in strange.message
